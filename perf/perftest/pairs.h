// A stock ucx_perftest client against our server and against a stock one, in turns in the same minute: what
// it costs that UCX runs on our loop.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "perf/samples.h"

namespace sidecar::perf {

struct PerftestPairsOptions {
  std::string test = "ucp_am_lat";
  std::uint64_t message_bytes = 8;
  std::uint64_t iterations = 100'000;
  int pairs = 9;
  // How our server polls; the stock one never sleeps.
  std::string poll = "adaptive";
  // UCX_...=... for clients and servers alike.
  std::vector<std::string> environment{};
  // Our program, and what it needs before `--port N --once --quiet --poll POLICY`.
  std::vector<std::string> server{};
};

struct PerftestPairs {
  // Latencies: microseconds, half a round trip, the mean of a run. Otherwise MiB/s.
  Samples ours, stock;
  Samples ratio;  // ours / stock, pair by pair
  std::string unit;
};

// kIo: a client got no result; the text says whose server it was.
Result<PerftestPairs> run_perftest_pairs(const PerftestPairsOptions& options);

}  // namespace sidecar::perf
