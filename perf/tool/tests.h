// The tests: what each end does in one run.
#pragma once

#include <functional>

#include "perf/tool/end.h"
#include "perf/tool/recorder.h"
#include "perf/tool/settings.h"

namespace sidecar::perf {

// Told once by the responder when the initiator may begin, with what the initiator must know.
using Ready = std::function<void(const nlohmann::json& facts)>;

// As many as --groups says; as the largest x.
inline constexpr std::size_t kGroups = 1000, kLargestX = 1001;

// What a scaling test measures against: what there is meanwhile at the initiator's first sidecar. The report
// knows such tests by a name that begins with "scale_".
//
// A run with no messages brings it from the last run's x to its own, so that it need not be made anew for
// each run; x is 0 in a session's last one, and nothing stays.
struct Scale {
  const char* name;  // of x
  const char* at;    // by default, as -x takes it
  std::uint64_t least, most;
  bool local_only;                // it is about sidecars that --local starts
  bool of_arena = false;          // x is the arena's size, so that there are sidecars for each
  std::uint64_t arena_each = 0;   // bytes of an arena for each of x, in slots;
  std::uint64_t memory_each = 0;  // of memory beside that

  [[nodiscard]] double shown(std::uint64_t x) const {  // GiB where it is a size
    return of_arena ? static_cast<double>(x) / (1 << 30) : static_cast<double>(x);
  }
};

struct TestKind {
  const char* name;
  const char* what;
  bool latency;                        // the times are of round trips: half of each is shown
  std::size_t initiators, responders;  // sidecars at each end; 0: raw UCX needs none
  const char* sizes;                   // by default, as -s takes them
  std::uint32_t outstanding;           // by default
  void (*initiate)(const End& end, const Job& job, const nlohmann::json& facts, Recorder& recorder);
  void (*respond)(const End& end, const Job& job, const Ready& ready);
  const Scale* scale = nullptr;
};

const std::vector<TestKind>& all_tests();
// Throws, naming those that there are.
const TestKind& find_test(const std::string& name);
// A scaling test's values of x, upwards; one that means nothing for all others. Throws where `at` is not for
// that test.
std::vector<std::uint64_t> values_of_x(const TestKind& test, const std::vector<std::string>& at);

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
SIDECAR_PERF_TEST(scale_ids);
SIDECAR_PERF_TEST(scale_waiting);
SIDECAR_PERF_TEST(scale_peers);
SIDECAR_PERF_TEST(scale_arena);
#undef SIDECAR_PERF_TEST

// object_lat's part of a client that is there already.
void ping_objects(Client& client, const Job& job, Recorder& recorder);
void pong_objects(Client& client, const Job& job);

// What d2h_send is set beside: a plain copy into pinned memory, median of nine.
double plain_gpu_copy_us(std::uint64_t size);

}  // namespace sidecar::perf
