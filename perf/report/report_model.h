// What sidecar-perf writes: one measurement a line, as JSON. Everything but the test's name may be missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

namespace sidecar::perf {

struct Latency {  // microseconds
  std::optional<double> typical, average, overall, p50, p90, p99, p999, max;
  [[nodiscard]] std::optional<double> median() const { return p50 ? p50 : typical; }
  // The figure to show where one must do.
  [[nodiscard]] std::optional<double> middle() const {
    return median() ? median() : overall ? overall : average;
  }
};

struct Throughput {
  std::optional<double> average, overall;
  [[nodiscard]] std::optional<double> best_known() const { return overall ? overall : average; }
};

// The same job done by somebody else, in pairs with ours; values are medians over the pairs.
struct Reference {
  std::string name, unit;
  std::optional<double> value, ours, spread, ratio_p25, ratio_p75;
  std::optional<std::uint64_t> pairs;
  bool noisy = false;
};

// What was promised of the ratio, and whether it holds. No verdict: nothing can be said, as on a busy
// machine.
struct PromisedBar {
  std::string is;
  double value = 0;
  std::optional<bool> holds;
};

// What was measured, and on what. Empty: the line does not say.
struct Setup {
  std::string git, ucx, transports, cpu, cores, kernel, poll;
  std::string settings;  // set by hand; empty: none
};

struct Measurement {
  std::string test, path;
  std::optional<std::uint64_t> size, outstanding, iterations;
  std::string x_name;  // scaling tests: what grows,
  std::optional<double> x;
  Latency latency;
  Throughput bandwidth_mib_s, rate_s;
  std::vector<std::pair<double, std::uint64_t>> histogram;  // upper end in microseconds, how many; ascending
  std::optional<double> ratio;
  std::optional<Reference> reference;
  std::optional<PromisedBar> bar;
  Setup setup;
  std::string time;  // ISO 8601, UTC
};

// The text says what is wrong, and in which field.
tl::expected<Measurement, std::string> parse_measurement(std::string_view line);

// All of `folder`'s *.jsonl, by name. A bad line or an unreadable file is named on `complaints` and skipped.
std::vector<Measurement> read_measurements(const std::filesystem::path& folder, std::ostream& complaints);

}  // namespace sidecar::perf
