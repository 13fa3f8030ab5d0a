#include "perf/tool/tests.h"

#include "perf/tool/take.h"

namespace sidecar::perf {

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

}  // namespace sidecar::perf
