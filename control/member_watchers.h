// Those who watch the membership through gRPC: a queue for each, all of them bounded. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "control/members.h"

namespace sidecar {

class MemberWatchers {
 public:
  static constexpr std::size_t kWatchersMax = 64;
  static constexpr std::size_t kQueuedMax = 1024;  // changes, for each

  class Watcher {
   public:
    enum class Outcome : std::uint8_t {
      kChanges,
      kNothing,  // time is up
      kTooSlow,  // kQueuedMax were not fetched in time: what came since is lost
      kClosed,
    };

    Watcher(MemberWatchers& all, std::vector<MemberRecord>* present);
    ~Watcher();
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

    // Waits for changes and fetches all there are.
    Outcome wait(std::chrono::milliseconds at_most, std::vector<MemberChange>* changes);

   private:
    void take(const MemberChange& change);

    MemberWatchers& all_;
    std::vector<MemberChange> queue_;
    bool too_slow_ = false;
    Members::ListenerId listener_ = 0;
  };

  explicit MemberWatchers(Members& members) : members_(members) {}

  // Hears of every change after *present. Null: there are too many, or all is closed.
  std::unique_ptr<Watcher> add(std::vector<MemberRecord>* present);
  // Everybody stops waiting, for good.
  void close();

 private:
  Members& members_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t watchers_ = 0;
  bool closed_ = false;
};

}  // namespace sidecar
