// What a listener hears of a membership, for tests to wait for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "control/members.h"
#include "fmt/format.h"

namespace sidecar {

// Waits for at most `limit`; what `condition` says in the end.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
  const auto until = std::chrono::steady_clock::now() + limit;
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return condition();
    never.wait_for(lock, std::chrono::milliseconds(5));
  }
  return true;
}

class HeardChanges {
 public:
  explicit HeardChanges(Members& members) : members_(members) {
    listener_ = members_.listen([this](const MemberChange& change) { take(change); }, &present_);
  }
  ~HeardChanges() { members_.stop_listening(listener_); }
  HeardChanges(const HeardChanges&) = delete;
  HeardChanges& operator=(const HeardChanges&) = delete;

  [[nodiscard]] const std::vector<MemberRecord>& present() const { return present_; }
  // "+2:22" joined, "-2:22" gone, "2:22>23" replaced; in their order, with blanks between.
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  bool hears(const std::string& what, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    return eventually([&] { return text().find(what) != std::string::npos; }, limit);
  }

 private:
  void take(const MemberChange& change) {
    const std::lock_guard lock(mutex_);
    if (!text_.empty()) text_ += ' ';
    const MemberRecord& member = change.member;
    switch (change.kind) {
      case MemberChange::Kind::kJoined: text_ += fmt::format("+{}:{}", member.rank, member.instance); break;
      case MemberChange::Kind::kGone: text_ += fmt::format("-{}:{}", member.rank, member.instance); break;
      case MemberChange::Kind::kReplaced:
        text_ += fmt::format("{}:{}>{}", member.rank, change.before, member.instance);
        break;
    }
  }

  Members& members_;
  Members::ListenerId listener_ = 0;
  std::vector<MemberRecord> present_;
  std::mutex mutex_;
  std::string text_;
};

}  // namespace sidecar
