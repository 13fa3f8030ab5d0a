// The members as they are known now, and who wants to hear of changes: for providers whose membership
// changes. Any thread; one of them writes.
#pragma once

#include <map>
#include <mutex>

#include "control/members.h"

namespace sidecar {

class MemberTable {
 public:
  // As Members has them.
  [[nodiscard]] bool knows(Rank rank) const;
  [[nodiscard]] std::optional<MemberRecord> find(Rank rank) const;
  [[nodiscard]] std::vector<MemberRecord> list() const;
  [[nodiscard]] std::string summary() const;
  Members::ListenerId listen(Members::Listener listener, std::vector<MemberRecord>* present);
  void stop_listening(Members::ListenerId listener);

  // What is new is told to the listeners before these return; what was known is not.
  void put(const MemberRecord& record);
  void erase(Rank rank);
  // These are all: who is not among them is gone.
  void replace_all(const std::vector<MemberRecord>& records);

 private:
  using Changes = std::vector<MemberChange>;
  void put_locked(const MemberRecord& record, Changes& changes);
  void erase_locked(Rank rank, Changes& changes);
  void tell(const Changes& changes);
  [[nodiscard]] std::vector<MemberRecord> list_locked() const;

  // Held while listeners are told, so that each hears of every change once and in order. Before mutex_.
  std::mutex telling_;
  std::map<Members::ListenerId, Members::Listener> listeners_;
  Members::ListenerId last_listener_ = 0;

  mutable std::mutex mutex_;
  std::map<Rank, MemberRecord> members_;
};

}  // namespace sidecar
