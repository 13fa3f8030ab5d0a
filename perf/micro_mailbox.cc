// The mailbox: how many functions 1 and 4 threads get through it, and how long one that asks a sleeping loop
// waits for its answer. Wall-clock time: the work is in several threads.
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/loop.h"
#include "core/mailbox.h"

namespace sidecar::perf {
namespace {

// An iteration is one function that ran. Posters that find the box full yield, so the loop never waits long.
void run_posted(benchmark::State& state) {
  const auto posters = static_cast<std::size_t>(state.range(0));
  Loop loop;
  Mailbox mailbox(&loop);
  std::atomic<bool> stop = false;
  std::uint64_t ran = 0;  // by the loop's thread only
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < posters; ++i) {
    threads.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        if (!mailbox.post([&ran] { ++ran; })) std::this_thread::yield();
      }
    });
  }
  std::uint64_t wanted = 0;
  for (auto _ : state) {
    ++wanted;
    while (ran < wanted) loop.run_once(Wait::kNo);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  mailbox.close();
}

void run_until(Loop& loop, const std::uint64_t& ran, std::uint64_t wanted) {
  while (ran < wanted) loop.run_once(Wait::kNo);
}

// What a post costs the poster, while the loop does not run.
void post(benchmark::State& state) {
  Loop loop;
  Mailbox mailbox(&loop);
  std::uint64_t posted = 0, ran = 0;
  for (auto _ : state) {
    if (!mailbox.post([&ran] { ++ran; })) state.SkipWithError("full");
    if (++posted % (Mailbox::kCapacity / 2) != 0) continue;
    state.PauseTiming();
    run_until(loop, ran, posted);
    state.ResumeTiming();
  }
}

// There and back, once for each iteration: the loop has gone to sleep meanwhile.
void ask_sleeping_loop(benchmark::State& state) {
  std::atomic<Mailbox*> door = nullptr;
  std::thread thread([&] {
    Loop loop;
    Mailbox mailbox(&loop);
    door = &mailbox;
    door.notify_one();
    while (door.load() != nullptr) loop.run_once(Wait::kYes);  // the last function that is posted ends it
  });
  door.wait(nullptr);
  Mailbox* const mailbox = door;
  std::atomic<std::uint64_t> answered = 0;
  std::uint64_t asked = 0;
  for (auto _ : state) {
    ++asked;
    if (!mailbox->post([&] {
          answered.fetch_add(1);
          answered.notify_one();
        })) {
      state.SkipWithError("full");
      break;
    }
    while (answered.load() < asked) answered.wait(asked - 1);
  }
  CHECK(mailbox->post([&] { door = nullptr; }));
  thread.join();
}

BENCHMARK(run_posted)->ArgName("posters")->Arg(1)->Arg(4)->UseRealTime();
BENCHMARK(post);
BENCHMARK(ask_sleeping_loop)->UseRealTime();

}  // namespace
}  // namespace sidecar::perf

BENCHMARK_MAIN();
