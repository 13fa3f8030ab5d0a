// One trace of random allocations and frees, played on the slab allocator and on mimalloc by turns in one
// process.
#pragma once

#include <cstdint>
#include <optional>

namespace sidecar::perf {

struct SlabTraceOptions {
  std::uint64_t slots = 2'400'000;
  std::uint64_t unit_bytes = 7168;   // one slot
  double occupancy = 0.90;           // of the slots, held while the trace runs
  std::uint32_t run_slots_max = 64;  // runs of 1 to this many slots, evenly
  std::uint32_t batch_ops = 64;      // operations timed together
  std::uint32_t batches = 3000;      // per allocator and pair
  std::uint32_t pairs = 11;  // each allocator plays the same stretch of the trace, in alternating order
  std::uint64_t seed = 1;
};

struct SlabTraceSide {
  double batch_median_ns = 0;  // medians over the pairs
  double batch_p99_ns = 0;
  std::uint64_t operations = 0;
  std::uint64_t failed = 0;                          // allocations that found no room, the filling included
  std::optional<double> instructions_per_operation;  // where the system lets us count
};

struct SlabTraceResult {
  SlabTraceSide slab;
  SlabTraceSide mimalloc;
  double median_ratio = 0;  // slab / mimalloc: median over the pairs, with the least and the largest
  double median_ratio_min = 0, median_ratio_max = 0;
  double p99_ratio = 0;
  double p99_ratio_min = 0, p99_ratio_max = 0;
  double reference_spread = 0;  // of mimalloc's medians over the pairs: (max - min) / median
  // Single operations of the slab, the clock's own cost taken off.
  double op_median_ns = 0;
  double op_p99_ns = 0;
  double fill = 0;  // part of the slots that the slab had taken when the timed part ended
};

// Neither side's memory is used: the slab never touches it, mimalloc only the first bytes of what it frees.
// About 0.5 GiB of real memory and 16 GiB of address space; a few seconds.
SlabTraceResult run_slab_trace(const SlabTraceOptions& options);

}  // namespace sidecar::perf
