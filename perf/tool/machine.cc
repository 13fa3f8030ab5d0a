#include "perf/tool/machine.h"

#include <sched.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <ctime>
#include <sstream>

#include "am_protocol/transport.h"
#include "git_hash.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

// What such a file of lines says under a name; empty when it says nothing of that name.
std::string line_of(const char* file, std::string_view name) {
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with(name) && colon != line.npos) return line.substr(colon + 2);
  }
  return "";
}

std::string cpu_model() {
  if (std::string name = line_of("/proc/cpuinfo", "model name"); !name.empty()) return name;
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

std::uint64_t available_memory() {
  return std::strtoull(line_of("/proc/meminfo", "MemAvailable").c_str(), nullptr, 10) * 1024;
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
