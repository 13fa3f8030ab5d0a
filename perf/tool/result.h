// One result: what was measured at one size, as a line of the table, as CSV, and as JSON.
#pragma once

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "perf/bench.h"
#include "perf/tool/machine.h"
#include "perf/tool/recorder.h"
#include "perf/tool/settings.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {

// Beside a reference, in the same minutes: medians of pairs, and their ratio.
struct Compared {
  std::string reference;
  std::string unit;
  Samples ours, theirs, ratio;
  std::optional<double> bar;
  Bar bar_is = Bar::kAtLeast;
};

struct Result {
  const TestKind* test = nullptr;
  std::string path;
  std::uint64_t size = 0;
  std::uint64_t x = 0;  // of a scaling test
  std::uint32_t outstanding = 1;
  std::uint64_t copies = 1;  // each message goes to so many
  std::string poll;
  std::string transports;
  std::string settings;  // set by hand; empty: ours
  Recorder recorder;
  std::optional<Compared> compared;

  [[nodiscard]] const Scale* scale() const { return test->scale; }
  [[nodiscard]] double rate() const;       // messages that arrived, each second
  [[nodiscard]] double bandwidth() const;  // MiB/s of them
};

// The same for every kind of result: see report_model.h for what the report reads.
void add_reference(nlohmann::ordered_json& json, const std::string& name, const std::string& unit,
                   Samples& ours, Samples& theirs, Samples& ratio);
void add_machine(nlohmann::ordered_json& json, const Machine& machine, const std::string& transports,
                 const std::string& poll);

class Output {
 public:
  explicit Output(OutputSettings settings) : settings_(settings), machine_(this_machine()) {}
  void begin(const TestSettings& test);  // the table's head
  // While it goes on, about once a second; only on a terminal.
  void progress(const Result& so_far);
  void show(Result& result);

 private:
  void show_json(Result& result);
  const OutputSettings settings_;
  const Machine machine_;
  bool csv_head_shown_ = false;
};

}  // namespace sidecar::perf
