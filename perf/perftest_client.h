// UCX's own measuring program as a reference: the same transport, size, number of messages under way and
// memory as ours, in the same minutes. Failures end the program (give_up).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "perf/port.h"
#include "perf/process.h"

namespace sidecar::perf {

struct PerftestRun {
  std::string test;  // "ucp_am_bw", "ucp_am_lat"
  std::uint64_t size = 0;
  std::uint64_t count = 0;
  std::uint64_t warmup = 0;
  std::uint32_t outstanding = 1;
  bool sleeps = false;     // -E sleep: waits for events instead of polling
  double percentile = 50;  // of typical_us
};

struct PerftestFigures {
  double typical_us = 0, average_us = 0, overall_us = 0;
  double average_mib_s = 0, overall_mib_s = 0;
  double average_rate = 0, overall_rate = 0;
};

// What a sidecar's network plane uses (am_protocol/settings.cc), with TCP on the loopback device only, and
// huge pages as our arena takes them.
std::vector<std::string> perftest_environment();

// Is it installed here?
bool has_perftest();
// Listens when this returns, and ends with its client.
Process start_perftest_server(const PerftestRun& run, std::uint16_t port,
                              const std::vector<std::string>& environment);
PerftestFigures run_perftest_client(const PerftestRun& run, const std::string& host, std::uint16_t port,
                                    const std::vector<std::string>& environment);
// Both, on this machine.
PerftestFigures run_perftest(const PerftestRun& run, const std::vector<std::string>& environment);
// MiB/s of `many` of them at once, together.
double run_perftests_at_once(const PerftestRun& run, std::size_t many,
                             const std::vector<std::string>& environment);

// Keeps one going as long as it lives; it is under way when the constructor returns.
class PerftestLoad {
 public:
  PerftestLoad(const PerftestRun& run, const std::vector<std::string>& environment);

 private:
  ReservedPort port_;
  Process server_, client_;
};

}  // namespace sidecar::perf
