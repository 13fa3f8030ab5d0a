// A transport_peer as a child process; killed when the test is over.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "perf/process.h"

namespace sidecar::testing {

class PeerProcess : public perf::Process {
 public:
  explicit PeerProcess(std::vector<std::string> arguments) : Process(options(std::move(arguments))) {}
  // What it says next. Empty: it has ended, or says nothing.
  std::string line() { return read_line(std::chrono::seconds(20)).value_or(""); }

 private:
  static perf::ProcessOptions options(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), perf::program_folder() + "/transport_peer");
    return {.argv = std::move(arguments), .talk = true};
  }
};

}  // namespace sidecar::testing
