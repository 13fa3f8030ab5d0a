// The tests: what each end does in one run.
#pragma once

#include <functional>

#include "perf/tool/end.h"
#include "perf/tool/recorder.h"

namespace sidecar::perf {

// Told once by the responder when the initiator may begin, with what the initiator must know.
using Ready = std::function<void(const nlohmann::json& facts)>;

inline constexpr std::size_t kGroups = 1000;  // as many as --groups says

struct TestKind {
  const char* name;
  const char* what;
  bool latency;                        // the times are of round trips: half of each is shown
  std::size_t initiators, responders;  // sidecars at each end; 0: raw UCX needs none
  const char* sizes;                   // by default, as -s takes them
  std::uint32_t outstanding;           // by default
  void (*initiate)(const End& end, const Job& job, const nlohmann::json& facts, Recorder& recorder);
  void (*respond)(const End& end, const Job& job, const Ready& ready);
};

const std::vector<TestKind>& all_tests();
// Throws, naming those that there are.
const TestKind& find_test(const std::string& name);

#define SIDECAR_PERF_TEST(name)                                                                          \
  void initiate_##name(const End& end, const Job& job, const nlohmann::json& facts, Recorder& recorder); \
  void respond_##name(const End& end, const Job& job, const Ready& ready)
SIDECAR_PERF_TEST(object_lat);
SIDECAR_PERF_TEST(chunk_lat);
SIDECAR_PERF_TEST(allocate_send);
SIDECAR_PERF_TEST(object_rate);
SIDECAR_PERF_TEST(chunk_bw);
SIDECAR_PERF_TEST(fanout);
SIDECAR_PERF_TEST(manytoone);
SIDECAR_PERF_TEST(sharded);
SIDECAR_PERF_TEST(stream);
SIDECAR_PERF_TEST(d2h_send);
SIDECAR_PERF_TEST(am_lat);
SIDECAR_PERF_TEST(am_bw);
#undef SIDECAR_PERF_TEST

// What d2h_send is set beside: a plain copy into pinned memory, median of nine.
double plain_gpu_copy_us(std::uint64_t size);

}  // namespace sidecar::perf
