// The membership that the configuration says: it never changes, and knows of instances and nodes nothing.
#pragma once

#include "control/members.h"
#include "control/peers.h"

namespace sidecar {

class StaticMembers final : public Members {
 public:
  explicit StaticMembers(StaticPeers peers) : peers_(std::move(peers)) {}

  [[nodiscard]] bool knows(Rank rank) const override { return peers_.knows(rank); }
  [[nodiscard]] std::optional<MemberRecord> find(Rank rank) const override;
  [[nodiscard]] std::vector<MemberRecord> list() const override;
  [[nodiscard]] std::string summary() const override { return peers_.summary(); }
  [[nodiscard]] bool may_grow() const override { return false; }
  ListenerId listen(Listener listener, std::vector<MemberRecord>* present) override;
  void stop_listening(ListenerId) override {}
  void join(const MemberRecord&, OnJoined on_joined) override { on_joined({}); }
  void leave() override {}

 private:
  const StaticPeers peers_;
};

}  // namespace sidecar
