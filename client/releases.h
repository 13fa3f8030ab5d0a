// Views and unsent allocations to be given up, collected from all threads and sent in batches.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/messages.h"

namespace sidecar::client_internal {

// Whoever hands out views and buffers is told here that they are not needed any more. Thread-safe.
class Keeper {
 public:
  virtual ~Keeper() = default;
  virtual void give_up_view(std::uint64_t view) = 0;
  virtual void give_up_slot(std::uint64_t slot) = 0;
};

// Thread-safe.
class ReleaseQueue {
 public:
  static constexpr std::size_t kFlushAt = 32;

  // Both return how many are pending now.
  std::size_t add_view(std::uint64_t view);
  std::size_t add_slot(std::uint64_t slot);

  // Moves up to kReleasesMax of each kind into `out`, counting repeated views; false when nothing was
  // pending.
  bool take(Release& out);

 private:
  std::mutex mutex_;
  std::vector<std::uint64_t> views_;
  std::vector<std::uint64_t> slots_;
};

}  // namespace sidecar::client_internal
