// sidecar-perf --serve-perftest: a server for stock ucx_perftest clients; see perf/perftest/server.h.
#pragma once

namespace sidecar::perf {

// The arguments after the program's name begin with --serve-perftest, which argv[0] is here. Returns the exit
// code.
int run_perftest_server(int argc, char** argv);

}  // namespace sidecar::perf
