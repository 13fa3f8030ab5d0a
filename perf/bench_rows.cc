#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "perf/bench.h"

namespace sidecar::perf {

void give_up(const std::string& why) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, why.c_str());
  std::exit(1);
}

void give_up_on(const Failure& failure, const char* what) {
  give_up(std::string(what) + ": " + to_string(failure));
}

std::unique_ptr<Cluster> start_cluster(ClusterOptions options) {
  auto cluster = std::make_unique<Cluster>(std::move(options));
  const std::string wrong = cluster->start();
  if (wrong.empty()) return cluster;
  cluster.reset();
  give_up(wrong);
}

ClientOptions event_driven(const Cluster& cluster, Rank rank) {
  ClientOptions options = cluster.client_options(rank);
  options.progress = Progress::kCaller;
  options.polling = Polling::kEvent;
  return options;
}

double quartile_spread(Samples& samples) {
  const double median = samples.median();
  return median > 0 ? (samples.percentile(75) - samples.percentile(25)) / median : 0;
}

BenchRow judged(BenchRow row, double reference_spread) {
  const bool holds = row.bar_is == Bar::kAtLeast ? row.value >= row.bar : row.value <= row.bar;
  row.verdict = reference_spread > kNoiseMax ? Verdict::kNoisy : holds ? Verdict::kHolds : Verdict::kMissed;
  return row;
}

Pairs run_pairs(int pairs, const std::function<double()>& ours, const std::function<double()>& reference) {
  Pairs result;
  for (int i = 0; i < pairs; ++i) {
    const bool ours_first = i % 2 == 0;
    double mine = ours_first ? ours() : 0;
    const double theirs = reference();
    if (!ours_first) mine = ours();
    result.ours.add(mine);
    result.reference.add(theirs);
    result.ratio.add(theirs > 0 ? mine / theirs : 0);
  }
  return result;
}

BenchRow row_of(std::string name, Pairs& pairs, const std::string& unit, std::string reference, Bar bar_is,
                double bar) {
  BenchRow row;
  row.name = std::move(name);
  row.value = pairs.ratio.median();
  row.unit = "x";
  row.reference = std::move(reference);
  row.reference_value = pairs.reference.median();
  row.bar_is = bar_is;
  row.bar = bar;
  const double spread = quartile_spread(pairs.reference);
  row.numbers = {{"ours_median_" + unit, pairs.ours.median()},
                 {"reference_median_" + unit, pairs.reference.median()},
                 {"pairs", static_cast<double>(pairs.ratio.count())},
                 {"ratio_min", pairs.ratio.min()},
                 {"ratio_max", pairs.ratio.max()},
                 {"ratio_spread", quartile_spread(pairs.ratio)},
                 {"reference_spread", spread},
                 {"reference_range", pairs.reference.spread()}};
  char text[160];
  std::snprintf(text, sizeof text, "%.4g against %.4g %s; ratios %.2f to %.2f", pairs.ours.median(),
                pairs.reference.median(), unit.c_str(), pairs.ratio.min(), pairs.ratio.max());
  row.note = text;
  return judged(std::move(row), spread);
}

}  // namespace sidecar::perf
