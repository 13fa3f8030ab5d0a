// Failures of the tool end a measurement, not always the process: they are thrown, as those of the libraries
// for options and JSON are, and become a message in main() or an answer to the other end.
#pragma once

#include <stdexcept>
#include <string>

#include "sidecar/failure.h"

namespace sidecar::perf {

[[noreturn]] inline void fail_measurement(const std::string& why) { throw std::runtime_error(why); }

// The value of a client's call, or the failure thrown. `what` says which call.
template <class T>
T take(Expected<T> result, const char* what) {
  if (!result) fail_measurement(std::string(what) + ": " + to_string(result.error()));
  return *std::move(result);
}
inline void take(const Expected<void>& result, const char* what) {
  if (!result) fail_measurement(std::string(what) + ": " + to_string(result.error()));
}

}  // namespace sidecar::perf
