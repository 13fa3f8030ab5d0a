// Real sidecards on this machine for one test: started on free ports with a shared-memory directory of their
// own, and at the end drained, with proof that nothing is left: arenas empty, exit code 0, directory empty.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "control/sidecar.pb.h"
#include "perf/port.h"
#include "perf/process.h"
#include "sidecar/client.h"

namespace sidecar::e2e {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct ClusterOptions {
  std::vector<std::string> nodes;  // rank r lies on node nodes[r]; other names use the network
  std::string shm_size = "64M";
  std::vector<std::string> flags{};  // for every sidecard
};

class Cluster {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster();  // expects that all is well, see end()
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] std::string address(Rank rank) const;
  [[nodiscard]] pid_t pid(Rank rank) const { return sidecards_[index(rank)].process.pid(); }
  [[nodiscard]] const std::string& arena_path(Rank rank) const { return sidecards_[index(rank)].arena; }
  [[nodiscard]] ino_t arena_inode(Rank rank) const;
  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] std::string data_address(Rank rank) const { return sidecards_[index(rank)].data; }
  [[nodiscard]] std::string log(Rank rank) const { return sidecards_[index(rank)].process.log_text(); }

  // A client of that rank, in this process. Fails the test when it cannot connect.
  Client client(Rank rank, ClientOptions options = {}) const;

  void signal(Rank rank, int number) { sidecards_[index(rank)].process.signal(number); }
  void kill(Rank rank);     // SIGKILL
  void restart(Rank rank);  // a new process under the same rank, at the same gRPC address

  [[nodiscard]] v1::StatsResponse stats(Rank rank) const;
  [[nodiscard]] std::vector<v1::PeerRow> peers(Rank rank) const;
  // Polls until that sidecar holds nothing for anybody: arena, views, waits, sends. False: it still does
  // after the time.
  [[nodiscard]] bool becomes_empty(Rank rank, milliseconds wait_max = seconds(10)) const;

 private:
  struct Sidecard {
    perf::ReservedPort port;
    perf::Process process;
    std::string grpc;
    std::string data;
    std::string arena;
    int starts = 0;
    bool alive = false;
  };
  static std::size_t index(Rank rank) { return static_cast<std::size_t>(rank); }
  void start(Rank rank);
  void await_ready(Rank rank);

  ClusterOptions options_;
  std::string directory_;
  std::string peers_;
  std::vector<Sidecard> sidecards_;
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

std::string folder_of_programs();

}  // namespace sidecar::e2e
