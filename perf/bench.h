// What the rows of sidecar-bench share: a row, the way repeated pairs become one, and the settings.
//
// A ratio is taken pair by pair: our side and the reference run one after the other, in alternating order, at
// least nine times, and the median of the ratios is the row's value.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/cluster.h"
#include "perf/samples.h"

namespace sidecar::perf {

struct BenchSettings {
  bool quick = false;  // fewer and shorter repetitions: to see that a row works, not to judge
  [[nodiscard]] int pairs(int wanted = 9) const { return quick ? 3 : wanted; }
};

enum class Bar : std::uint8_t { kAtLeast, kAtMost };
enum class Verdict : std::uint8_t { kHolds, kMissed, kNoisy };

// References that differ by more than this part of their median say that the machine was too busy to tell.
inline constexpr double kNoiseMax = 0.25;

struct BenchRow {
  std::string name;
  double value = 0;
  std::string unit;
  std::string reference;                  // what it is measured against; empty: a bar of its own
  std::optional<double> reference_value;  // its median
  Bar bar_is = Bar::kAtMost;
  double bar = 0;
  Verdict verdict = Verdict::kMissed;
  std::vector<std::pair<std::string, double>> numbers{};  // medians, spreads, counters: for the JSON
  std::string note{};                                     // for the table
};

// The verdict from value and bar; kNoisy when the references differ too much.
BenchRow judged(BenchRow row, double reference_spread = 0);

// (75th - 25th percentile) / median: a few bad moments of a shared machine do not make a row noisy, a bad
// machine does.
double quartile_spread(Samples& samples);

struct Pairs {
  Samples ours, reference, ratio;
};
// `ours` and `reference` each return one measurement.
Pairs run_pairs(int pairs, const std::function<double()>& ours, const std::function<double()>& reference);
// A row of such pairs, with medians and spreads (`unit` names what was measured, the value is the ratio).
BenchRow row_of(std::string name, Pairs& pairs, const std::string& unit, std::string reference, Bar bar_is,
                double bar);

[[noreturn]] void give_up(const std::string& why);
[[noreturn]] void give_up_on(const Failure& failure, const char* what);
// The value, or the end of the program.
template <class T>
T must(Expected<T> result, const char* what) {
  if (!result) give_up_on(result.error(), what);
  return *std::move(result);
}
inline void must(const Expected<void>& result, const char* what) {
  if (!result) give_up_on(result.error(), what);
}

// A started cluster, or the end of the program.
std::unique_ptr<Cluster> start_cluster(ClusterOptions options);
// A client that the calling thread drives and that sleeps when there is nothing to do.
ClientOptions event_driven(const Cluster& cluster, Rank rank);

// Each in a file of its own; several rows where there are several sizes.
std::vector<BenchRow> bench_network(const BenchSettings& settings);
std::vector<BenchRow> bench_forward(const BenchSettings& settings);
std::vector<BenchRow> bench_groups(const BenchSettings& settings);
std::vector<BenchRow> bench_gpu(const BenchSettings& settings);
std::vector<BenchRow> bench_latency(const BenchSettings& settings);
std::vector<BenchRow> bench_slab(const BenchSettings& settings);
std::vector<BenchRow> bench_idle(const BenchSettings& settings);
std::vector<BenchRow> bench_memory(const BenchSettings& settings);

// This program once more, as one process of a measurement: `sidecar-bench --stage NAME ARGUMENT...`.
int latency_stage(const std::vector<std::string>& arguments);

}  // namespace sidecar::perf
