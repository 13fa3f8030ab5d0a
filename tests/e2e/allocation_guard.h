// What the preloaded counter of allocations (allocation_guard.cc) shows to the test, in a file that both map.
#pragma once

#include <atomic>
#include <cstdint>

namespace sidecar::e2e {

struct AllocationCounts {
  std::atomic<std::uint32_t> watching;  // set by the test: from now on, say where the first few come from
  std::atomic<std::uint32_t> told;
  std::atomic<std::uint64_t> steps;      // of the loop: calls of ucp_worker_progress
  std::atomic<std::uint64_t> by_new;     // on the loop's thread: C++, which is ours
  std::atomic<std::uint64_t> by_malloc;  // on the loop's thread: C, which is libuv and the C library
  std::atomic<std::uint64_t> by_ucx;     // on the loop's thread: UCX, for itself
  std::atomic<std::uint64_t> elsewhere;  // on other threads, by either
};

}  // namespace sidecar::e2e
