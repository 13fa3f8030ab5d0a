// The slab allocator against mimalloc on one trace (perf/slab_trace.h).
#include <cstdio>

#include "perf/bench.h"
#include "perf/slab_trace.h"

namespace sidecar::perf {
namespace {

constexpr double kRatioMax = 2;

BenchRow row_for(const SlabTraceResult& result, const char* name, double ratio, double least, double most,
                 double ours, double reference) {
  BenchRow row;
  row.name = name;
  row.value = ratio;
  row.unit = "x";
  row.reference = "mimalloc";
  row.reference_value = reference;
  row.bar = kRatioMax;
  row.numbers = {{"ours_batch_ns", ours},
                 {"reference_batch_ns", reference},
                 {"ratio_min", least},
                 {"ratio_max", most},
                 {"reference_spread", result.reference_spread},
                 {"failed", static_cast<double>(result.slab.failed)},
                 {"reference_failed", static_cast<double>(result.mimalloc.failed)},
                 {"op_median_ns", result.op_median_ns},
                 {"op_p99_ns", result.op_p99_ns},
                 {"fill", result.fill}};
  char text[240];
  std::snprintf(text, sizeof text,
                "%.0f against %.0f ns a batch; ratios %.2f to %.2f; failed %llu, reference %llu", ours,
                reference, least, most, static_cast<unsigned long long>(result.slab.failed),
                static_cast<unsigned long long>(result.mimalloc.failed));
  row.note = text;
  if (result.slab.instructions_per_operation && result.mimalloc.instructions_per_operation) {
    row.numbers.emplace_back("instructions_per_op", *result.slab.instructions_per_operation);
    row.numbers.emplace_back("reference_instructions_per_op", *result.mimalloc.instructions_per_operation);
    std::snprintf(text, sizeof text, "; %.0f instructions an operation, reference %.0f",
                  *result.slab.instructions_per_operation, *result.mimalloc.instructions_per_operation);
    row.note += text;
  } else {
    row.note += "; instructions: the system does not count them";
  }
  return judged(std::move(row), result.reference_spread);
}

}  // namespace

std::vector<BenchRow> bench_slab(const BenchSettings& settings) {
  SlabTraceOptions options;
  if (settings.quick) options.pairs = 3;
  const SlabTraceResult result = run_slab_trace(options);
  return {row_for(result, "slab-median", result.median_ratio, result.median_ratio_min,
                  result.median_ratio_max, result.slab.batch_median_ns, result.mimalloc.batch_median_ns),
          row_for(result, "slab-p99", result.p99_ratio, result.p99_ratio_min, result.p99_ratio_max,
                  result.slab.batch_p99_ns, result.mimalloc.batch_p99_ns)};
}

}  // namespace sidecar::perf
