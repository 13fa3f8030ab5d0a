#include "perf/tool/meanwhile.h"

#include <memory>
#include <string_view>

#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

// By then whoever is not busy polling is asleep: all that belongs to the run is done, and the kernel has
// counted it.
constexpr std::uint64_t kRestNs = 20'000'000;

// `passes`: how many count for each time that was recorded.
Recorder::Meanwhile cpu_time(const char* figure, double passes, std::function<std::uint64_t()> cpu_ns) {
  auto rested = [cpu_ns = std::move(cpu_ns)] {
    sleep_ns(kRestNs);
    return cpu_ns();
  };
  auto before = std::make_shared<std::uint64_t>(0);
  return {[=] { *before = rested(); },
          [=](Recorder& recorder) {
            const auto count = static_cast<double>(recorder.times().count()) * passes;
            recorder.more[figure] = static_cast<double>(rested() - *before) / 1e3 / std::max(count, 1.0);
          }};
}

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1e3; }

Recorder::Meanwhile longest_steps(const Cluster& cluster) {
  return {[&cluster] {
            for (Rank rank = 0; rank < cluster.size(); ++rank) cluster.restart_longest_step(rank);
          },
          [&cluster](Recorder& recorder) {
            double longest = 0, most_cpu = 0;
            for (Rank rank = 0; rank < cluster.size(); ++rank) {
              const auto status = cluster.status(rank);
              const double step = us(counter(status, "loop_longest_step_ns"));
              recorder.more["longest_step_us_rank" + std::to_string(rank)] = step;
              longest = std::max(longest, step);
              most_cpu = std::max(most_cpu, us(counter(status, "loop_longest_step_cpu_ns")));
            }
            recorder.more["longest_step_us"] = longest;
            recorder.more["longest_step_cpu_us"] = most_cpu;
          }};
}

}  // namespace

Recorder::Meanwhile meanwhile(const TestKind& test, Cluster* cluster, const Process& other) {
  const std::string_view name = test.name;
  if (test.initiators == 0) return cpu_time(kOtherEndCpu, 1, [&other] { return other.cpu_ns(); });
  if (name == "stream") return longest_steps(*cluster);
  if (!name.starts_with("object_")) return {};
  // An object passes each of them once; a round trip is two.
  return cpu_time(kSidecarCpu, (test.latency ? 2 : 1) * static_cast<double>(cluster->size()), [cluster] {
    std::uint64_t sum = 0;
    for (Rank rank = 0; rank < cluster->size(); ++rank) sum += cluster->process(rank).cpu_ns();
    return sum;
  });
}

}  // namespace sidecar::perf
