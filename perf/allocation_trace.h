// A sequence of allocations and frees that any allocator can play.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sidecar::perf {

struct Op {
  std::uint32_t id;           // names the run; used again after it was freed
  std::uint32_t slots;        // 0: free
  std::uint32_t freed_slots;  // what a free frees
};

struct Trace {
  std::vector<Op> ops;
  std::uint32_t ids = 0;
  std::size_t fill = 0;  // the first ones only fill up
};

struct TraceOptions {
  std::uint64_t slots;
  double occupancy;             // of the slots, once filled
  std::uint32_t run_slots_max;  // runs of 1 to this many slots, evenly
  std::uint64_t seed;
};

// Fills to the wanted occupancy, then frees a random run whenever the next one does not fit under it:
// `ops_after_fill` operations, or one more.
Trace make_trace(const TraceOptions& options, std::size_t ops_after_fill);

}  // namespace sidecar::perf
