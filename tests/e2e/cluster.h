// Real sidecards for one test, and at the end the proof that nothing is left of it: they hold nothing, exit
// with code 0 and leave no file.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "perf/cluster.h"

namespace sidecar::e2e {

using perf::ClusterOptions;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Cluster : public perf::Cluster {
 public:
  explicit Cluster(ClusterOptions options);  // expects that all start
  ~Cluster();                                // expects that all is well

  // A client of that rank, in this process. Fails the test when it cannot connect.
  Client client(Rank rank, ClientOptions options = {}) const;
  void restart(Rank rank);  // a new process under the same rank, at the same gRPC address
  [[nodiscard]] bool becomes_empty(Rank rank, milliseconds wait_max = seconds(10)) const;
  [[nodiscard]] ino_t arena_inode(Rank rank) const;
};

// An executor in a process of its own, driven line by line; see executor.cc for the commands.
class Executor {
 public:
  Executor(const Cluster& cluster, Rank rank, const std::string& options = "");
  // The answer's line, or "gone" when the process ended, or "silent" when nothing came in time.
  std::string ask(const std::string& command, milliseconds wait_max = seconds(30));
  void tell(const std::string& command) { process_.write_line(command); }
  std::string answer(milliseconds wait_max = seconds(30));
  perf::Process& process() { return process_; }

 private:
  perf::Process process_;
};

}  // namespace sidecar::e2e
