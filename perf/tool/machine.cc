#include "perf/tool/machine.h"

#include <sched.h>
#include <sys/utsname.h>

#include <ctime>
#include <sstream>

#include "am_protocol/transport.h"
#include "git_hash.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

std::string cpu_model() {
  std::istringstream lines(read_file("/proc/cpuinfo"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != line.npos) return line.substr(colon + 2);
  }
  utsname names{};
  uname(&names);
  return names.machine;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.git = SIDECAR_GIT_HASH;
  machine.ucx = ucx_version();
  machine.cpu = cpu_model();
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) machine.cores = CPU_COUNT(&set);
  utsname names{};
  if (uname(&names) == 0) machine.kernel = names.release;
  return machine;
}

std::string time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace sidecar::perf
