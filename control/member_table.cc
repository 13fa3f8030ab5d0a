#include "control/member_table.h"

#include <set>

#include "control/peers.h"

namespace sidecar {

bool MemberTable::knows(Rank rank) const {
  const std::lock_guard lock(mutex_);
  return members_.contains(rank);
}

std::optional<MemberRecord> MemberTable::find(Rank rank) const {
  const std::lock_guard lock(mutex_);
  const auto it = members_.find(rank);
  if (it == members_.end()) return std::nullopt;
  return it->second;
}

std::vector<MemberRecord> MemberTable::list() const {
  const std::lock_guard lock(mutex_);
  return list_locked();
}

std::vector<MemberRecord> MemberTable::list_locked() const {
  std::vector<MemberRecord> records;
  for (const auto& [rank, record] : members_) {
    if (records.size() == Members::kListedMax) break;
    records.push_back(record);
  }
  return records;
}

std::string MemberTable::summary() const {
  const std::lock_guard lock(mutex_);
  std::vector<Rank> ranks;
  for (const auto& [rank, record] : members_) {
    if (ranks.size() > kRanksShown) break;
    ranks.push_back(rank);
  }
  return ranks_text(ranks);
}

Members::ListenerId MemberTable::listen(Members::Listener listener, std::vector<MemberRecord>* present) {
  const std::lock_guard telling(telling_);
  const std::lock_guard lock(mutex_);
  *present = list_locked();
  listeners_.emplace(++last_listener_, std::move(listener));
  return last_listener_;
}

void MemberTable::stop_listening(Members::ListenerId listener) {
  const std::lock_guard telling(telling_);
  listeners_.erase(listener);
}

void MemberTable::put(const MemberRecord& record) {
  const std::lock_guard telling(telling_);
  Changes changes;
  {
    const std::lock_guard lock(mutex_);
    put_locked(record, changes);
  }
  tell(changes);
}

void MemberTable::erase(Rank rank) {
  const std::lock_guard telling(telling_);
  Changes changes;
  {
    const std::lock_guard lock(mutex_);
    erase_locked(rank, changes);
  }
  tell(changes);
}

void MemberTable::replace_all(const std::vector<MemberRecord>& records) {
  const std::lock_guard telling(telling_);
  Changes changes;
  {
    const std::lock_guard lock(mutex_);
    std::set<Rank> missing;
    for (const auto& [rank, record] : members_) missing.insert(rank);
    for (const MemberRecord& record : records) missing.erase(record.rank);
    for (const Rank rank : missing) erase_locked(rank, changes);
    for (const MemberRecord& record : records) put_locked(record, changes);
  }
  tell(changes);
}

void MemberTable::put_locked(const MemberRecord& record, Changes& changes) {
  const auto [it, is_new] = members_.emplace(record.rank, record);
  if (is_new) {
    changes.push_back({MemberChange::Kind::kJoined, record, 0});
  } else if (it->second != record) {
    changes.push_back({MemberChange::Kind::kReplaced, record, it->second.instance});
    it->second = record;
  }
}

void MemberTable::erase_locked(Rank rank, Changes& changes) {
  const auto it = members_.find(rank);
  if (it == members_.end()) return;
  changes.push_back({MemberChange::Kind::kGone, it->second, 0});
  members_.erase(it);
}

void MemberTable::tell(const Changes& changes) {
  for (const MemberChange& change : changes) {
    for (const auto& [id, listener] : listeners_) listener(change);
  }
}

}  // namespace sidecar
