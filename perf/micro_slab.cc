// The slab against the two obvious ways to do its job: a first-fit scan over the slots, and a general
// allocator. One operation is an allocation or a free of a run of 1 to 64 slots, at a steady occupancy.
#include <benchmark/benchmark.h>
#include <mimalloc.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/slab.h"
#include "perf/allocation_trace.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kUnitBytes = 7168;

struct SlabPlayer {
  explicit SlabPlayer(std::uint64_t slots) : slab(0, slots * kUnitBytes) {}
  std::optional<std::uint64_t> allocate(std::uint32_t slots) {
    return slab.allocate(slots * kUnitBytes, kUnitBytes);
  }
  void free(std::uint64_t place, std::uint32_t slots) { slab.free({place, slots * kUnitBytes}); }
  Slab slab;
};

// One flag for each slot, looked through from the start for enough free ones in a row.
struct FirstFitPlayer {
  explicit FirstFitPlayer(std::uint64_t slots) : used(slots) {}
  std::optional<std::uint64_t> allocate(std::uint32_t slots) {
    std::uint32_t row = 0;
    for (std::size_t i = 0; i < used.size(); ++i) {
      row = used[i] != 0 ? 0 : row + 1;
      if (row < slots) continue;
      const std::size_t first = i + 1 - slots;
      std::fill_n(used.begin() + static_cast<std::ptrdiff_t>(first), slots, std::uint8_t{1});
      return first;
    }
    return std::nullopt;
  }
  void free(std::uint64_t place, std::uint32_t slots) {
    std::fill_n(used.begin() + static_cast<std::ptrdiff_t>(place), slots, std::uint8_t{0});
  }
  std::vector<std::uint8_t> used;
};

struct MimallocPlayer {
  explicit MimallocPlayer(std::uint64_t) {}
  std::optional<std::uint64_t> allocate(std::uint32_t slots) {
    void* const p = mi_malloc(slots * kUnitBytes);
    return p == nullptr ? std::nullopt : std::optional(reinterpret_cast<std::uint64_t>(p));
  }
  void free(std::uint64_t place, std::uint32_t) { mi_free(reinterpret_cast<void*>(place)); }
};

template <class Player>
void steady(benchmark::State& state) {
  constexpr std::size_t kOps = 1 << 16;
  const auto slots = static_cast<std::uint64_t>(state.range(0));
  const Trace trace = make_trace({slots, static_cast<double>(state.range(1)) / 100, 64, 1}, kOps);
  Player player(slots);
  std::vector<std::optional<std::uint64_t>> places(trace.ids);
  std::vector<std::uint32_t> sizes(trace.ids);
  std::uint64_t failed = 0;
  const auto play = [&](const Op& op) {
    std::optional<std::uint64_t>& place = places[op.id];
    if (op.slots != 0) {
      // The trace starts over when it is through, with its runs still there.
      if (place) player.free(*place, sizes[op.id]);
      place = player.allocate(op.slots);
      sizes[op.id] = op.slots;
      failed += place ? 0 : 1;
    } else if (place) {
      player.free(*place, sizes[op.id]);
      place.reset();
    }
  };
  for (std::size_t i = 0; i < trace.fill; ++i) play(trace.ops[i]);
  std::size_t at = trace.fill;
  for (auto _ : state) {
    play(trace.ops[at]);
    if (++at == trace.ops.size()) at = trace.fill;
  }
  state.counters["failed"] = static_cast<double>(failed);
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i]) player.free(*places[i], sizes[i]);
  }
}

void sizes_to(benchmark::internal::Benchmark* benchmark, std::int64_t slots_max) {
  benchmark->ArgNames({"slots", "percent"});
  for (std::int64_t slots = 24'000; slots <= slots_max; slots *= 10) {
    for (const std::int64_t percent : {25, 90}) benchmark->Args({slots, percent});
  }
}
void sizes(benchmark::internal::Benchmark* benchmark) { sizes_to(benchmark, 2'400'000); }
// More slots would take it minutes to fill.
void fewer_sizes(benchmark::internal::Benchmark* benchmark) { sizes_to(benchmark, 240'000); }

BENCHMARK(steady<SlabPlayer>)->Apply(sizes);
BENCHMARK(steady<FirstFitPlayer>)->Apply(fewer_sizes);
BENCHMARK(steady<MimallocPlayer>)->Apply(sizes);

}  // namespace
}  // namespace sidecar::perf

BENCHMARK_MAIN();
