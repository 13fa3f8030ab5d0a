// Our own record in etcd: written under a lease, renewed, written again when it went, given up when another
// instance has the rank. One step at a time, each with a client that is connected; one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "control/etcd_client.h"
#include "control/members.h"

namespace sidecar {

// A record as it lies in etcd, and back; nothing when that is no record of `rank`.
std::string encode_member(const MemberRecord& record);
std::optional<MemberRecord> decode_member(const std::string& value, Rank rank);

class EtcdClaim {
 public:
  using Clock = EtcdClient::Clock;

  enum class State : std::uint8_t {
    kClaiming,  // not written, or not any more
    kHeld,
    kRefused,  // never got it: another instance has the rank, and is alive
    kUsurped,  // had it, and another instance has it now
  };

  EtcdClaim(std::string key, const MemberRecord& own, std::chrono::seconds ttl)
      : key_(std::move(key)), own_(own), ttl_(ttl) {}

  [[nodiscard]] State state() const { return state_; }
  // When step() has something to do next; never, once the state is kRefused or kUsurped.
  [[nodiscard]] Clock::time_point due() const { return due_; }
  [[nodiscard]] const std::string& key() const { return key_; }
  // kRefused, kUsurped: who has the rank, and what to do.
  [[nodiscard]] const std::string& why() const { return why_; }
  [[nodiscard]] std::int64_t lease() const { return lease_; }

  // Renews the lease, or tries to write the record. The error is etcd's: try again with another server.
  EtcdReply<void> step(EtcdClient& etcd);
  // What etcd had under our key at that revision, as a list or a watch told; null: nothing.
  void seen(const std::string* value, std::int64_t revision);

 private:
  EtcdReply<void> renew(EtcdClient& etcd);
  EtcdReply<void> claim(EtcdClient& etcd);
  EtcdReply<void> deal_with(EtcdClient& etcd, const EtcdRecord& other);
  void hold(std::int64_t revision);
  void give_up(State state, const MemberRecord& other, const std::string& what);
  void again_in(Clock::duration delay) { due_ = Clock::now() + delay; }

  const std::string key_;
  const MemberRecord own_;
  const std::chrono::seconds ttl_;
  State state_ = State::kClaiming;
  bool had_it_ = false;
  std::int64_t lease_ = 0;    // 0: none
  std::int64_t older_ = 0;    // the revision of a record of ours that lies there under an older lease
  std::int64_t written_ = 0;  // the revision of the one that is held
  std::chrono::seconds granted_{0};
  Clock::time_point due_ = Clock::now();
  std::string why_;

  // The instance that has the rank while we wait for its lease to end.
  InstanceId holder_ = 0;
  std::chrono::seconds holder_left_{0};
  int holder_renewed_ = 0;
  Clock::time_point holder_until_{};
};

}  // namespace sidecar
