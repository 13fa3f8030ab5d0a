// The membership that lives in etcd: every sidecar keeps its own record there, under a lease, and watches the
// others'. The records are <prefix>members/<rank>, each a serialized v1.Member with rank, instance, gRPC
// address and node.
//
// A thread of its own does all the talking. While etcd is away the members last known stay known; it goes on
// with the next of the servers, or waits ever longer when it has tried them all.
//
// Our record is written only where there is none, so that of two processes which claim one rank the second is
// refused. It first waits for the other's lease to end, in case that one has crashed. Whoever finds, after
// having been away from etcd, that somebody else has its rank now has lost it for good: it writes no more.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "control/members.h"

namespace grpc {
class ChannelCredentials;
}

namespace sidecar {

struct EtcdOptions {
  Rank rank = kNoRank;                 // ours
  std::vector<std::string> endpoints;  // host:port, at least one
  std::string prefix = "/sidecar/";
  std::chrono::seconds ttl{10};  // of our lease: a process that died is gone for the others after so long
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // null: without TLS
  // On our thread: another instance has our rank. The text says which. Once.
  std::function<void(const std::string&)> on_usurped = [](const std::string&) {};
};

class EtcdMembers final : public Members {
 public:
  explicit EtcdMembers(EtcdOptions options);
  // As if the process were killed: the record stays until its lease ends. No callback runs any more.
  ~EtcdMembers() override;

  [[nodiscard]] bool knows(Rank rank) const override;
  [[nodiscard]] std::optional<MemberRecord> find(Rank rank) const override;
  [[nodiscard]] std::vector<MemberRecord> list() const override;
  [[nodiscard]] std::string summary() const override;
  [[nodiscard]] bool may_grow() const override { return true; }
  ListenerId listen(Listener listener, std::vector<MemberRecord>* present) override;
  void stop_listening(ListenerId listener) override;
  // While etcd cannot be reached it goes on trying. The others are known by the time that on_joined is
  // called.
  void join(const MemberRecord& own, OnJoined on_joined) override;
  void leave() override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
