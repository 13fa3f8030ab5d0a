#include "perf/tool/tests.h"

#include <set>

#include "core/limits.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMany = 1'000'000, kGiB = 1 << 30;
// An id that was held took 1.07 KB of the sidecar's own memory.
constexpr Scale kIds{"ids held", "1,100,10K,100K,1M", 0, 100 * kMany, false, false, kSlotAlign, 1100};
constexpr Scale kWaiting{"calls that wait", "1,100,1K,10K,100K", 0, kMany, false};
constexpr Scale kPeers{"peers", "1:16", 1, 64, true};
constexpr Scale kArena{"GiB of arena", "1G:16G", kGiB / 64, 1024 * kGiB, true, true, 0, 1};

}  // namespace

#define SIDECAR_PERF_ENDS(name) initiate_##name, respond_##name
const std::vector<TestKind>& all_tests() {
  static const std::vector<TestKind> tests{
      {"am_lat", "a raw UCX active message there and back, through our loop, half of it", true, 0, 0, "8", 1,
       SIDECAR_PERF_ENDS(am_lat)},
      {"am_bw", "raw UCX active messages one way, through our loop", false, 0, 0, "1M", 32,
       SIDECAR_PERF_ENDS(am_bw)},
      {"object_lat", "an object from executor to executor and back, half of it", true, 1, 1, "64", 1,
       SIDECAR_PERF_ENDS(object_lat)},
      {"object_rate", "objects from executor to executor", false, 1, 1, "64", 64,
       SIDECAR_PERF_ENDS(object_rate)},
      {"object_cpu",
       "objects as object_rate; --compare sets a sidecar's CPU time beside a raw echo's (--local)", false, 1,
       1, "64", 64, SIDECAR_PERF_ENDS(object_rate)},
      {"chunk_lat", "a chunk from executor to executor and back, half of it", true, 1, 1, "64K", 1,
       SIDECAR_PERF_ENDS(chunk_lat)},
      {"chunk_bw", "chunks from executor to executor", false, 1, 1, "1M", 4, SIDECAR_PERF_ENDS(chunk_bw)},
      {"allocate_send", "allocate, send, and the word of who received it", false, 1, 1, "64K,1M,16M", 1,
       SIDECAR_PERF_ENDS(allocate_send)},
      {"fanout", "each chunk to --groups executors", false, 1, kGroups, "1M", 4, SIDECAR_PERF_ENDS(fanout)},
      {"stream", "an object there and back while chunks of 64 MiB flow beside it, half of it", true, 1, 1,
       "64", 1, SIDECAR_PERF_ENDS(stream)},
      {"manytoone", "chunks from --groups executors to one", false, kGroups, 1, "1M", 2,
       SIDECAR_PERF_ENDS(manytoone)},
      {"sharded", "chunks that two members of a group bring together", false, 2, 1, "16M", 2,
       SIDECAR_PERF_ENDS(sharded)},
      {"d2h_send", "chunks out of GPU memory, until it may be written again", false, 1, 1, "16M,256M", 1,
       SIDECAR_PERF_ENDS(d2h_send)},
      {"scale_ids", "object_lat, while the measuring end's sidecar holds x other objects that are not done",
       true, 1, 1, "64", 1, SIDECAR_PERF_ENDS(scale_ids), &kIds},
      {"scale_waiting", "object_lat, while x calls of recv wait there for what does not come", true, 1, 1,
       "64", 1, SIDECAR_PERF_ENDS(scale_waiting), &kWaiting},
      {"scale_peers", "object_lat, while x peers are connected, the measured pair to all; --local only", true,
       1, kLargestX, "64", 1, SIDECAR_PERF_ENDS(scale_peers), &kPeers},
      {"scale_arena",
       "object_lat, with an arena of x at the measuring end's sidecar, which must fit into the machine's "
       "memory; --local only",
       true, 1, 1, "64", 1, SIDECAR_PERF_ENDS(scale_arena), &kArena},
  };
  return tests;
}
#undef SIDECAR_PERF_ENDS

const TestKind& find_test(const std::string& name) {
  std::string names;
  for (const TestKind& test : all_tests()) {
    if (name == test.name) return test;
    names += std::string(names.empty() ? "" : ", ") + test.name;
  }
  fail_measurement("there is no test " + name + "; there are " + names);
}

std::vector<std::uint64_t> values_of_x(const TestKind& test, const std::vector<std::string>& at) {
  const Scale* const scale = test.scale;
  if (scale == nullptr) {
    if (!at.empty()) fail_measurement(std::string("-x is for scaling tests; ") + test.name + " is none");
    return {0};
  }
  std::set<std::uint64_t> values;
  for (const std::string& part : at.empty() ? std::vector<std::string>{scale->at} : at) {
    for (const std::uint64_t x : parse_list(part, "-x", scale->of_arena ? kOfSizes : kOfCounts)) {
      const auto text = [&](std::uint64_t value) {
        return scale->of_arena ? size_text(value) : std::to_string(value);
      };
      if (x < scale->least || x > scale->most)
        fail_measurement("-x " + text(x) + ": " + test.name + " can have " + text(scale->least) + " to " +
                         text(scale->most));
      values.insert(x);
    }
  }
  return {values.begin(), values.end()};
}

}  // namespace sidecar::perf
