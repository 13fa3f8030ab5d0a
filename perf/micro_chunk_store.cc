// The chunk store's operations while it holds 1 to 1,000,000 data of one chunk each: an operation's time must
// not grow with what is held, other than by what caches and pages cost.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "core/chunk_store.h"
#include "perf/micro_ids.h"

namespace sidecar::perf {
namespace {

class Filled {
 public:
  explicit Filled(std::uint64_t data) {
    for (std::uint64_t i = 0; i < data; ++i) make(i);
  }
  ~Filled() {
    while (Datum* const datum = store.all().front()) erase(datum);
  }
  Filled(const Filled&) = delete;
  Filled& operator=(const Filled&) = delete;

  ChunkEntry* make(std::uint64_t number) {
    const DataId id = id_of(number);
    return store.make(*store.make(id, store.hash(id), 0), 0);
  }
  void erase(Datum* datum) {
    while (ChunkEntry* const entry = datum->chunks.front()) store.erase(entry);
    store.erase(datum);
  }
  ChunkEntry* find(std::uint64_t number) {
    const DataId id = id_of(number);
    Datum* const datum = store.find(id, store.hash(id));
    return datum == nullptr ? nullptr : store.find(*datum, 0);
  }

  ChunkStore store{1, 2};
};

void find_held(benchmark::State& state) {
  const auto held = static_cast<std::uint64_t>(state.range(0));
  Filled filled(held);
  std::uint64_t step = 0;
  for (auto _ : state) {
    ChunkEntry* const entry = filled.find(scattered(++step, held));
    if (entry == nullptr) {
      state.SkipWithError("not found");
      break;
    }
    benchmark::DoNotOptimize(entry);
  }
}

void find_absent(benchmark::State& state) {
  const auto held = static_cast<std::uint64_t>(state.range(0));
  Filled filled(held);
  std::uint64_t step = 0;
  for (auto _ : state) benchmark::DoNotOptimize(filled.find(held + scattered(++step, held)));
}

// One datum with its chunk comes and goes beside the others.
void make_and_erase(benchmark::State& state) {
  const auto held = static_cast<std::uint64_t>(state.range(0));
  Filled filled(held);
  std::uint64_t next = held;
  for (auto _ : state) filled.erase(filled.make(next++)->datum);
}

// The oldest goes and a new one comes: the whole index is turned over.
void turn_over(benchmark::State& state) {
  const auto held = static_cast<std::uint64_t>(state.range(0));
  Filled filled(held);
  std::uint64_t next = held;
  for (auto _ : state) {
    filled.erase(filled.store.all().front());
    filled.make(next++);
  }
}

void held(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("held");
  for (const std::int64_t data : {1, 1'000, 100'000, 1'000'000}) benchmark->Arg(data);
}

BENCHMARK(find_held)->Apply(held);
BENCHMARK(find_absent)->Apply(held);
BENCHMARK(make_and_erase)->Apply(held);
BENCHMARK(turn_over)->Apply(held);

}  // namespace
}  // namespace sidecar::perf

BENCHMARK_MAIN();
