// A membership that changes when the test says so.
#pragma once

#include "control/member_table.h"

namespace sidecar {

class FakeMembers final : public Members {
 public:
  [[nodiscard]] bool knows(Rank rank) const override { return table.knows(rank); }
  [[nodiscard]] std::optional<MemberRecord> find(Rank rank) const override { return table.find(rank); }
  [[nodiscard]] std::vector<MemberRecord> list() const override { return table.list(); }
  [[nodiscard]] std::string summary() const override { return table.summary(); }
  [[nodiscard]] bool may_grow() const override { return true; }
  ListenerId listen(Listener listener, std::vector<MemberRecord>* present) override {
    return table.listen(std::move(listener), present);
  }
  void stop_listening(ListenerId listener) override { table.stop_listening(listener); }
  void join(const MemberRecord& own, OnJoined on_joined) override {
    table.put(own);
    on_joined({});
  }
  void leave() override {}

  MemberTable table;
};

}  // namespace sidecar
