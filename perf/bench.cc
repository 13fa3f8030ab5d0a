// sidecar-bench: the speed table. Each row is a ratio to a reference that ran beside it in the same minutes,
// or a bound on what a sidecar costs; a row whose references differ too much among themselves says "noisy",
// which is neither pass nor fail. Exit code 0 when no row missed its bar, 1 when one did or a measurement
// failed.
#include "perf/bench.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

struct Part {
  const char* name;
  const char* what;
  std::vector<BenchRow> (*run)(const BenchSettings&);
};
const std::vector<Part> kParts{
    {"network", "a chunk to another node, TCP on loopback, against ucx_perftest", bench_network},
    {"forward", "a same-node chunk of 64 MiB against one of 64 KiB", bench_forward},
    {"groups", "broadcast to several groups, and a chunk brought by several members", bench_groups},
    {"gpu", "copies out of GPU memory, only where there is a GPU", bench_gpu},
    {"latency", "64 bytes over three hops, against raw_chain", bench_latency},
    {"slab", "the slab allocator against mimalloc", bench_slab},
    {"idle", "CPU time of an idle sidecar with 8 peers", bench_idle},
    {"memory", "private memory of a sidecar", bench_memory},
};

const char* verdict_text(Verdict verdict) {
  return verdict == Verdict::kHolds ? "holds" : verdict == Verdict::kMissed ? "MISSED" : "noisy";
}

nlohmann::ordered_json json_of(const BenchRow& row) {
  nlohmann::ordered_json json = {{"name", row.name}, {"value", row.value}, {"unit", row.unit}};
  json["reference"] =
      row.reference.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(row.reference);
  if (row.reference_value) json["reference_value"] = *row.reference_value;
  json["bar"] = row.bar;
  json["bar_is"] = row.bar_is == Bar::kAtLeast ? "at least" : "at most";
  if (row.verdict == Verdict::kNoisy) {
    json["holds"] = "noisy";
  } else {
    json["holds"] = row.verdict == Verdict::kHolds;
  }
  for (const auto& [name, value] : row.numbers) json[name] = value;
  return json;
}

void print(const BenchRow& row) {
  std::printf("%-26s %9.3f %-6s %s %-8.4g %-7s %s\n", row.name.c_str(), row.value, row.unit.c_str(),
              row.bar_is == Bar::kAtLeast ? ">=" : "<=", row.bar, verdict_text(row.verdict),
              row.note.c_str());
  std::fflush(stdout);
}

int run(const BenchSettings& settings, const std::vector<std::string>& only, const std::string& jsonl) {
  std::ofstream file;
  if (!jsonl.empty()) {
    file.open(jsonl, std::ios::trunc);
    if (!file) give_up("cannot write " + jsonl);
  }
  std::printf("%-26s %9s %-6s %-11s %-7s\n", "row", "value", "unit", "bar", "");
  bool missed = false;
  for (const Part& part : kParts) {
    if (!only.empty() && std::find(only.begin(), only.end(), part.name) == only.end()) continue;
    for (const BenchRow& row : part.run(settings)) {
      print(row);
      if (file) file << json_of(row).dump() << std::endl;
      missed |= row.verdict == Verdict::kMissed;
    }
  }
  return missed ? 1 : 0;
}

int run_main(int argc, char** argv) {
  if (argc > 2 && std::string(argv[1]) == "--stage") return latency_stage({argv + 2, argv + argc});
  CLI::App app("Measures the service against references that run beside it.", "sidecar-bench");
  BenchSettings settings;
  std::vector<std::string> only;
  std::string jsonl;
  std::string names;
  for (const Part& part : kParts) names += std::string("\n  ") + part.name + ": " + part.what;
  app.add_option("--only", only, "only these rows:" + names)->check([](const std::string& name) {
    for (const Part& part : kParts) {
      if (name == part.name) return std::string();
    }
    return "there is no row " + name;
  });
  app.add_option("--jsonl", jsonl, "also write one JSON object a row to this file");
  app.add_flag("--quick", settings.quick, "few short repetitions: shows that a row works, proves nothing");
  CLI11_PARSE(app, argc, argv);
  return run(settings, only, jsonl);
}

}  // namespace
}  // namespace sidecar::perf

int main(int argc, char** argv) { return sidecar::perf::run_main(argc, argv); }
