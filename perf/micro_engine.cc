// One object of 64 bytes through an engine: what the logic alone costs, while it holds 1 to 1,000,000 other
// data, or as many calls wait for what does not come, or 1 to 256 peers are connected.
#include <benchmark/benchmark.h>

#include <cstdint>

#include "perf/micro_sidecar.h"

namespace sidecar::perf {
namespace {

// A call waits, the object comes, the call is answered, the object is marked done: both answers and the
// acknowledgement are made.
void receive_one(benchmark::State& state, MicroSidecar& sidecar, std::uint64_t next) {
  const std::uint64_t replies = sidecar.world.replies, acks = sidecar.world.acks;
  for (auto _ : state) {
    sidecar.recv(next);
    sidecar.arrive(next);
    sidecar.mark_done(next);
    sidecar.step();
    ++next;
  }
  const auto times = static_cast<std::uint64_t>(state.iterations());
  if (sidecar.world.replies - replies != 2 * times) state.SkipWithError("a call was not answered");
  if (sidecar.world.acks - acks != times) state.SkipWithError("an object was not acknowledged");
}

void receive_beside_held(benchmark::State& state) {
  MicroSidecar sidecar;
  const auto held = static_cast<std::uint64_t>(state.range(0));
  for (std::uint64_t i = 0; i < held; ++i) sidecar.arrive(i);
  if (sidecar.world.acks != held) return state.SkipWithError("not all are held");
  receive_one(state, sidecar, held);
}

void receive_beside_waiting(benchmark::State& state) {
  MicroSidecar sidecar;
  const auto waiting = static_cast<std::uint64_t>(state.range(0));
  for (std::uint64_t i = 0; i < waiting; ++i) sidecar.recv(i);
  receive_one(state, sidecar, waiting);
}

// A client sends, the object leaves for the peer, the peer acknowledges, the client is answered.
void send_beside_held(benchmark::State& state) {
  MicroSidecar sidecar;
  sidecar.connect();
  const auto held = static_cast<std::uint64_t>(state.range(0));
  for (std::uint64_t i = 0; i < held; ++i) sidecar.arrive(i);
  const std::uint64_t replies = sidecar.world.replies;
  std::uint64_t next = held;
  for (auto _ : state) {
    sidecar.send(next++);
    sidecar.acknowledge();
    sidecar.step();
  }
  if (sidecar.world.replies - replies != static_cast<std::uint64_t>(state.iterations()))
    state.SkipWithError("a send was not answered");
}

// The same to one peer after the other.
void send_among_peers(benchmark::State& state) {
  MicroSidecar sidecar;
  const auto peers = static_cast<Rank>(state.range(0));
  for (Rank rank = 1; rank <= peers; ++rank) sidecar.connect(rank);
  const std::uint64_t replies = sidecar.world.replies;
  std::uint64_t next = 0;
  for (auto _ : state) {
    const Rank rank = static_cast<Rank>(next) % peers + 1;
    sidecar.send(next++, rank);
    sidecar.acknowledge(rank);
    sidecar.step();
  }
  if (sidecar.world.replies - replies != static_cast<std::uint64_t>(state.iterations()))
    state.SkipWithError("a send was not answered");
}

void idle_step_among_peers(benchmark::State& state) {
  MicroSidecar sidecar;
  for (Rank rank = 1; rank <= static_cast<Rank>(state.range(0)); ++rank) sidecar.connect(rank);
  for (auto _ : state) sidecar.step(0);  // with time the peers, which say nothing, would be lost
}

// Nothing is due: what each round of the loop pays.
void idle_step(benchmark::State& state) {
  MicroSidecar sidecar;
  const auto held = static_cast<std::uint64_t>(state.range(0));
  for (std::uint64_t i = 0; i < held; ++i) sidecar.arrive(i);
  for (auto _ : state) sidecar.step();
}

void sizes(benchmark::internal::Benchmark* benchmark, const char* name) {
  benchmark->ArgName(name);
  for (const std::int64_t size : {1, 1'000, 100'000, 1'000'000}) benchmark->Arg(size);
}
void held(benchmark::internal::Benchmark* benchmark) { sizes(benchmark, "held"); }
void waiting(benchmark::internal::Benchmark* benchmark) { sizes(benchmark, "waiting"); }
void peers(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("peers")->RangeMultiplier(4)->Range(1, 256);
}

BENCHMARK(receive_beside_held)->Apply(held);
BENCHMARK(receive_beside_waiting)->Apply(waiting);
BENCHMARK(send_beside_held)->Apply(held);
BENCHMARK(send_among_peers)->Apply(peers);
BENCHMARK(idle_step)->Apply(held);
BENCHMARK(idle_step_among_peers)->Apply(peers);

}  // namespace
}  // namespace sidecar::perf

BENCHMARK_MAIN();
