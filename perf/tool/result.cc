#include "perf/tool/result.h"

#include <unistd.h>

namespace sidecar::perf {
namespace {

constexpr double kMiB = 1 << 20;
constexpr const char* kRule =
    "+--------+--------------+------------------------------+---------------------+-----------------------+"
    "---------------------------------------+";

double us(std::uint64_t ns) { return static_cast<double>(ns) / 1e3; }

// A round trip is two messages, each of half the time.
double messages(const Result& result) {
  const auto counted = static_cast<double>(result.recorder.times().count() * result.copies);
  return result.test->latency ? 2 * counted : counted;
}

// What one message took on the whole, as ucx_perftest counts it: the time over the messages.
double overall_us(const Result& result) {
  return messages(result) > 0 ? result.recorder.seconds() * 1e6 / messages(result) : 0;
}

// Empty where the test has none.
std::string x_text(const Result& result) {
  char text[32] = "";
  if (result.scale() != nullptr) std::snprintf(text, sizeof text, "%.10g", result.scale()->shown(result.x));
  return text;
}

void print_line(const Result& result) {
  const Histogram& times = result.recorder.times();
  std::printf("%8s %14llu %10.3f %9.3f %9.3f %10.2f %10.2f %11.0f %11.0f %9.2f %9.2f %9.2f %9.2f",
              size_text(result.size).c_str(), static_cast<unsigned long long>(times.count()),
              us(times.percentile(50)), times.average() / 1e3, overall_us(result), result.bandwidth(),
              result.bandwidth(), result.rate(), result.rate(), us(times.percentile(90)),
              us(times.percentile(99)), us(times.percentile(99.9)), us(times.max()));
  if (result.scale() != nullptr) std::printf("  %s %s", x_text(result).c_str(), result.scale()->name);
  std::printf("\n");
}

}  // namespace

double Result::rate() const { return recorder.seconds() > 0 ? messages(*this) / recorder.seconds() : 0; }
double Result::bandwidth() const { return rate() * static_cast<double>(size) / kMiB; }

void Output::begin(const TestSettings& test) {
  if (settings_.json || settings_.csv) return;
  const TestKind& kind = find_test(test.test);
  const std::string settings = hand_set(test);
  std::printf("# %s (%s): %s; poll %s; %s, UCX %s, %d cores, %s\n", kind.name, test.path.c_str(), kind.what,
              (settings.empty() ? test.poll : test.poll + "; " + settings).c_str(), machine_.git.c_str(),
              machine_.ucx.c_str(), machine_.cores, machine_.cpu.c_str());
  std::printf("%s\n", kRule);
  std::printf("%8s %14s | %28s | %19s | %21s | %37s\n", "", "", "latency (usec)", "bandwidth (MB/s)",
              "message rate (msg/s)", "latency (usec)");
  std::printf("%8s %14s %10s %9s %9s %10s %10s %11s %11s %9s %9s %9s %9s\n%s\n", "size", "# iterations",
              "50.0%ile", "average", "overall", "average", "overall", "average", "overall", "90%", "99%",
              "99.9%", "max", kRule);
  std::fflush(stdout);
}

void Output::progress(const Result& so_far) {
  if (settings_.json || settings_.csv || settings_.final_only || isatty(STDOUT_FILENO) == 0) return;
  print_line(so_far);
  std::fflush(stdout);
}

void Output::show(Result& result) {
  if (settings_.json) return show_json(result);
  const Histogram& times = result.recorder.times();
  if (settings_.csv) {
    if (!std::exchange(csv_head_shown_, true))
      std::printf(
          "test,path,size,x,iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,"
          "overall_mr,90,99,99.9,max,ratio\n");
    std::printf("%s,%s,%llu,%s,%llu,%.3f,%.3f,%.3f,%.2f,%.2f,%.0f,%.0f,%.3f,%.3f,%.3f,%.3f,",
                result.test->name, result.path.c_str(), static_cast<unsigned long long>(result.size),
                x_text(result).c_str(), static_cast<unsigned long long>(times.count()),
                us(times.percentile(50)), times.average() / 1e3, overall_us(result), result.bandwidth(),
                result.bandwidth(), result.rate(), result.rate(), us(times.percentile(90)),
                us(times.percentile(99)), us(times.percentile(99.9)), us(times.max()));
    if (result.compared) std::printf("%.3f", result.compared->ratio.median());
    std::printf("\n");
  } else {
    print_line(result);
    for (const auto& [name, value] : result.recorder.more)
      std::printf("%8s %s: %.*g\n", "", name.c_str(), value < 1e4 ? 4 : 12, value);
    if (Compared* const with = result.compared ? &*result.compared : nullptr; with != nullptr) {
      std::printf("%8s %.3f of %s: %.4g against %.4g %s, medians of %zu pairs; ratios %.3f to %.3f%s\n", "",
                  with->ratio.median(), with->reference.c_str(), with->ours.median(), with->theirs.median(),
                  with->unit.c_str(), with->ratio.count(), with->ratio.min(), with->ratio.max(),
                  quartile_spread(with->theirs) > kNoiseMax ? "; noisy" : "");
    }
  }
  std::fflush(stdout);
}

void add_reference(nlohmann::ordered_json& json, const std::string& name, const std::string& unit,
                   Samples& ours, Samples& theirs, Samples& ratio) {
  const double spread = quartile_spread(theirs);
  json["ratio"] = ratio.median();
  json["reference"] = {{"name", name},
                       {"value", theirs.median()},
                       {"unit", unit},
                       {"ours", ours.median()},
                       {"pairs", ratio.count()},
                       {"spread", spread},
                       {"ratio_p25", ratio.percentile(25)},
                       {"ratio_p75", ratio.percentile(75)},
                       {"noisy", spread > kNoiseMax}};
}

void add_machine(nlohmann::ordered_json& json, const Machine& machine, const std::string& transports,
                 const std::string& poll) {
  json["git"] = machine.git;
  json["ucx"] = machine.ucx;
  json["transports"] = transports;
  json["cpu"] = machine.cpu;
  json["cores"] = machine.cores;
  json["kernel"] = machine.kernel;
  json["poll"] = poll;
  json["time"] = time_now();
}

void Output::show_json(Result& result) {
  const Histogram& times = result.recorder.times();
  nlohmann::ordered_json json{{"test", result.test->name},
                              {"path", result.path},
                              {"size", result.size},
                              {"outstanding", result.outstanding},
                              {"iterations", times.count()}};
  if (result.scale() != nullptr) {
    json["x"] = result.scale()->shown(result.x);
    json["x_name"] = result.scale()->name;
  }
  json["latency_us"] = {{"typical", us(times.percentile(50))}, {"average", times.average() / 1e3},
                        {"overall", overall_us(result)},       {"p50", us(times.percentile(50))},
                        {"p90", us(times.percentile(90))},     {"p99", us(times.percentile(99))},
                        {"p999", us(times.percentile(99.9))},  {"max", us(times.max())}};
  json["bandwidth_mib_s"] = {{"average", result.bandwidth()}, {"overall", result.bandwidth()}};
  json["rate_s"] = {{"average", result.rate()}, {"overall", result.rate()}};
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  times.for_each([&](std::uint64_t highest, std::uint64_t count) { steps.push_back({us(highest), count}); });
  json["histogram"] = std::move(steps);
  for (const auto& [name, value] : result.recorder.more) json[name] = value;
  if (result.compared) {
    Compared& with = *result.compared;
    const double ratio = with.ratio.median();
    add_reference(json, with.reference, with.unit, with.ours, with.theirs, with.ratio);
    if (with.bar) {
      const bool least = with.bar_is == Bar::kAtLeast;
      json["bar"] = {{"is", least ? "at least" : "at most"},
                     {"value", *with.bar},
                     {"holds", least ? ratio >= *with.bar : ratio <= *with.bar}};
    }
  }
  if (!result.settings.empty()) json["settings"] = result.settings;
  add_machine(json, machine_, result.transports, result.poll);
  std::printf("%s\n", json.dump().c_str());
  std::fflush(stdout);
}

}  // namespace sidecar::perf
