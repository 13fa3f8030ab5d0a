// The end of the demo, however it ends.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace sidecar::demo {

// Runs the command until it ends by itself; SIGINT, SIGTERM, SIGHUP and the time limit kill it. Returns the
// exit code once everything that descends from it is gone, too. If this process is killed, the kernel kills
// the rest.
int supervise(std::vector<std::string> argv, std::chrono::seconds time_limit);

}  // namespace sidecar::demo
