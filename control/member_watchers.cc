#include "control/member_watchers.h"

#include <utility>

namespace sidecar {

MemberWatchers::Watcher::Watcher(MemberWatchers& all, std::vector<MemberRecord>* present) : all_(all) {
  listener_ = all_.members_.listen([this](const MemberChange& change) { take(change); }, present);
}

MemberWatchers::Watcher::~Watcher() {
  all_.members_.stop_listening(listener_);
  const std::lock_guard lock(all_.mutex_);
  --all_.watchers_;
}

void MemberWatchers::Watcher::take(const MemberChange& change) {
  const std::lock_guard lock(all_.mutex_);
  if (too_slow_) return;
  if (queue_.size() == kQueuedMax) {
    too_slow_ = true;
    queue_.clear();
  } else {
    queue_.push_back(change);
  }
  all_.changed_.notify_all();
}

MemberWatchers::Watcher::Outcome MemberWatchers::Watcher::wait(std::chrono::milliseconds at_most,
                                                               std::vector<MemberChange>* changes) {
  changes->clear();
  std::unique_lock lock(all_.mutex_);
  all_.changed_.wait_for(lock, at_most, [&] { return all_.closed_ || too_slow_ || !queue_.empty(); });
  if (all_.closed_) return Outcome::kClosed;
  if (too_slow_) return Outcome::kTooSlow;
  std::swap(*changes, queue_);
  return changes->empty() ? Outcome::kNothing : Outcome::kChanges;
}

std::unique_ptr<MemberWatchers::Watcher> MemberWatchers::add(std::vector<MemberRecord>* present) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || watchers_ == kWatchersMax) return nullptr;
    ++watchers_;
  }
  return std::make_unique<Watcher>(*this, present);
}

void MemberWatchers::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace sidecar
