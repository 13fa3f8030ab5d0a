// Views and unsent allocations to be given up, collected from all threads and sent in batches.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "core/messages.h"

namespace sidecar::client_internal {

// Counts a client's connections. What came on one is given back on that one only: on the next, the same
// numbers name other views and other slots.
using Epoch = std::uint32_t;

// Whoever hands out views and buffers is told here that they are not needed any more. Thread-safe.
class Keeper {
 public:
  virtual ~Keeper() = default;
  virtual void give_up_view(std::uint64_t view, Epoch epoch) = 0;
  virtual void give_up_slot(std::uint64_t slot, Epoch epoch) = 0;
};

// One connection, as what came on it remembers it. When it has ended, and nothing that came on it is left,
// its sidecar may be told so.
class Connection {
 public:
  Connection(InstanceId instance, std::function<void(InstanceId)> let_go)
      : instance_(instance), let_go_(std::move(let_go)) {}
  // On the thread of whoever let go last.
  ~Connection() {
    if (ended_ && let_go_) let_go_(instance_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  void end() { ended_ = true; }

 private:
  const InstanceId instance_;
  const std::function<void(InstanceId)> let_go_;
  std::atomic<bool> ended_{false};
};

// Of one connection at a time. Thread-safe.
class ReleaseQueue {
 public:
  static constexpr std::size_t kFlushAt = 32;

  // A new connection: of the one before, nothing is told any more.
  void begin(Epoch epoch);
  // Both return how many are pending now; 0 for one of an earlier connection.
  std::size_t add_view(std::uint64_t view, Epoch epoch);
  std::size_t add_slot(std::uint64_t slot, Epoch epoch);

  // Moves up to kReleasesMax of each kind into `out`, counting repeated views; false when nothing was
  // pending.
  bool take(Release& out);

 private:
  std::mutex mutex_;
  Epoch epoch_ = 0;
  std::vector<std::uint64_t> views_;
  std::vector<std::uint64_t> slots_;
};

}  // namespace sidecar::client_internal
