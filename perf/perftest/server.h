// A server for stock ucx_perftest clients (ucp_am_lat, ucp_am_bw) whose UCX runs on our loop: what the loop
// costs, measured with a tool that is not ours. One client after the other.
#pragma once

#include "perf/perftest/session.h"

namespace sidecar::perf {

struct PerftestServerOptions {
  std::uint16_t port = 13337;  // ucx_perftest's own; 0: any free one
  PerftestSessionOptions session;
  bool once = false;   // ends after the first client
  bool quiet = false;  // says only what went wrong
};

// Serves until SIGTERM or SIGINT (with `once`: until the first client is served), and says on standard error
// what it does. Returns the program's exit code; with `once` 1 when that client's test failed.
//
// Each client is served by a process of its own: UCX trusts its peers, so a hostile client's address or
// message may end it, and what UCX still holds after a failure goes with it. That process is forked, not
// started anew: call this before the program has other threads, a loop or a UCX context.
int serve_perftest(const PerftestServerOptions& options);

}  // namespace sidecar::perf
