#include "control/membership.h"

#include "control/etcd_members.h"
#include "control/static_members.h"

namespace sidecar {

std::shared_ptr<Members> make_members(const Options& options,
                                      const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                      std::function<void()> on_usurped) {
  if (options.membership == MembershipKind::kStatic) return std::make_shared<StaticMembers>(options.peers);
  EtcdOptions etcd;
  etcd.rank = options.rank;
  etcd.endpoints = options.etcd;
  if (options.etcd_tls) etcd.credentials = credentials;
  etcd.on_usurped = [tell = std::move(on_usurped)](const std::string&) { tell(); };
  etcd.prefix = options.etcd_prefix;
  etcd.ttl = std::chrono::seconds(options.member_ttl_ns / kSecond);
  return std::make_shared<EtcdMembers>(std::move(etcd));
}

void tell_engine(Engine& engine, Rank own, const MemberChange& change) {
  const MemberRecord& member = change.member;
  if (member.rank == own) return;
  switch (change.kind) {
    case MemberChange::Kind::kJoined: return engine.member_joined(member.rank, member.instance);
    case MemberChange::Kind::kReplaced:
      return engine.member_replaced(member.rank, change.before, member.instance);
    case MemberChange::Kind::kGone: return engine.member_gone(member.rank, member.instance);
  }
}

}  // namespace sidecar
