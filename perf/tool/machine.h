// Where and of what a figure was measured: belongs to every figure that is kept.
#pragma once

#include <cstdint>
#include <string>

namespace sidecar::perf {

struct Machine {
  std::string git;     // the commit, "-dirty" with changes on top
  std::string ucx;     // version of the library in use
  std::string cpu;     // its model's name
  int cores = 0;       // that this process may use
  std::string kernel;  // release
};
Machine this_machine();
std::string time_now();            // UTC, ISO 8601
std::uint64_t available_memory();  // bytes, as the kernel estimates them

}  // namespace sidecar::perf
