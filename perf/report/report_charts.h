// Which charts a group of measurements makes.
#pragma once

#include <vector>

#include "perf/report/report_groups.h"
#include "perf/report/svg_chart.h"

namespace sidecar::perf {

// Bandwidth, latency, rate and ratio against size, each where something was measured; of a scaling test,
// latency against what grows. `id` begins the charts' ids.
std::vector<Chart> charts_of(const Group& group, const std::string& id);

// How latencies are distributed: one chart for each measurement that has a histogram.
std::vector<Chart> distributions_of(const Group& group, const std::string& id);

// A reference's value, or ours beside it, in the unit of our own figures: MiB/s, us or /s. Nothing: another
// unit.
enum class Metric : std::uint8_t { kBandwidth, kLatency, kRate };
std::optional<double> reference_as(Metric metric, const Reference& reference, std::optional<double> value);

}  // namespace sidecar::perf
