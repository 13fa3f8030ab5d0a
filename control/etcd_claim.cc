#include "control/etcd_claim.h"

#include "control/sidecar.pb.h"
#include "core/log.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kClaimsAgain{250};
// Beyond what is left of the other's lease: etcd ends leases once a second or so.
constexpr seconds kLeaseSlack{3};
// Leases are also prolonged when etcd elects a leader: once proves nothing.
constexpr int kRenewedAlive = 2;

}  // namespace

std::string encode_member(const MemberRecord& record) {
  v1::Member member;
  member.set_rank(record.rank);
  member.set_instance(record.instance);
  member.set_grpc_address(record.grpc_address);
  member.set_node(record.node);
  return member.SerializeAsString();
}

std::optional<MemberRecord> decode_member(const std::string& value, Rank rank) {
  v1::Member member;
  if (!member.ParseFromString(value) || member.rank() != rank || member.instance() == 0 ||
      member.grpc_address().empty() || member.grpc_address().size() > kNameBytesMax ||
      member.node().size() > kNameBytesMax) {
    return std::nullopt;
  }
  return MemberRecord{rank, member.instance(), member.grpc_address(), member.node()};
}

EtcdReply<void> EtcdClaim::step(EtcdClient& etcd) {
  switch (state_) {
    case State::kHeld: return renew(etcd);
    case State::kClaiming: return claim(etcd);
    case State::kRefused:
    case State::kUsurped: break;
  }
  return {};
}

EtcdReply<void> EtcdClaim::renew(EtcdClient& etcd) {
  const auto lease = etcd.keep_alive(lease_);
  if (!lease) return tl::unexpected(lease.error());
  if (lease->left > seconds(0)) {
    again_in(milliseconds(granted_) / 3);
    return {};
  }
  LOG_WARN("etcd: our lease has ended, and our record with it: writing it again");
  lease_ = 0;
  state_ = State::kClaiming;
  return claim(etcd);
}

EtcdReply<void> EtcdClaim::claim(EtcdClient& etcd) {
  if (lease_ != 0) {
    const auto lease = etcd.keep_alive(lease_);
    if (!lease) return tl::unexpected(lease.error());
    if (lease->left <= seconds(0)) lease_ = 0;
  }
  if (lease_ == 0) {
    const auto lease = etcd.grant(ttl_);
    if (!lease) return tl::unexpected(lease.error());
    lease_ = lease->id;
    granted_ = lease->granted;
  }
  const auto written = etcd.write({key_, encode_member(own_), older_, lease_});
  if (!written) return tl::unexpected(written.error());
  older_ = 0;
  if (written->done) {
    hold(written->revision);
    return {};
  }
  again_in(kClaimsAgain);
  if (written->instead.empty()) return {};  // it has just gone
  return deal_with(etcd, written->instead.front());
}

// Somebody has the rank: we ourselves, somebody who crashed, or somebody who is alive.
EtcdReply<void> EtcdClaim::deal_with(EtcdClient& etcd, const EtcdRecord& there) {
  const MemberRecord other =
      decode_member(there.value, own_.rank).value_or(MemberRecord{own_.rank, 0, "an unreadable record", {}});
  if (other.instance == own_.instance) {
    if (there.lease !=
        lease_) {  // from a lease of ours that we have given up, or a write whose answer was lost
      older_ = there.revision;
      again_in({});
    } else {
      hold(there.revision);
    }
    return {};
  }
  if (had_it_) {
    give_up(State::kUsurped, other, "took it while we were cut off from etcd");
    return {};
  }
  if (there.lease == 0) {
    give_up(State::kRefused, other, "has a record without a lease, which never ends");
    return {};
  }
  const auto lease = etcd.time_to_live(there.lease);
  if (!lease) return tl::unexpected(lease.error());
  if (holder_ != other.instance) {
    LOG_INFO("rank {} is held by instance {:016x} at {}: waiting at most {} s for its lease to end",
             own_.rank, other.instance, other.grpc_address, (lease->granted + kLeaseSlack).count());
    holder_ = other.instance;
    holder_renewed_ = 0;
    holder_until_ = Clock::now() + lease->granted + kLeaseSlack;
  } else if (lease->left > holder_left_) {
    ++holder_renewed_;
  }
  holder_left_ = lease->left;
  if (holder_renewed_ >= kRenewedAlive || Clock::now() > holder_until_)
    give_up(State::kRefused, other, "has it, and is alive");
  return {};
}

void EtcdClaim::hold(std::int64_t revision) {
  state_ = State::kHeld;
  had_it_ = true;
  written_ = revision;
  again_in(milliseconds(granted_) / 3);
}

void EtcdClaim::give_up(State state, const MemberRecord& other, const std::string& what) {
  state_ = state;
  due_ = Clock::time_point::max();
  why_ = fmt::format(
      "rank {}: another process, instance {:016x} at {}{}, {}: end it, or choose another --rank or "
      "--etcd-prefix",
      own_.rank, other.instance, other.grpc_address,
      other.node.empty() ? std::string() : fmt::format(" on node {}", other.node), what);
}

void EtcdClaim::seen(const std::string* value, std::int64_t revision) {
  if (state_ != State::kHeld || revision < written_) return;
  if (value == nullptr) {
    LOG_WARN("etcd: our record was removed: writing it again");
    state_ = State::kClaiming;
    again_in({});
    return;
  }
  const auto other = decode_member(*value, own_.rank);
  if (other && other->instance == own_.instance) return;
  give_up(State::kUsurped, other.value_or(MemberRecord{own_.rank, 0, "an unreadable record", {}}),
          "took it from us");
}

}  // namespace sidecar
