// Real sidecards on this machine, as the demo, the benchmarks and the end-to-end tests start them: each with
// a node name of its own choice, all in a shared-memory folder of their own, at ports that were free.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "client/registration.h"
#include "perf/port.h"
#include "perf/process.h"
#include "sidecar/client.h"

namespace sidecar::perf {

struct ClusterOptions {
  std::vector<std::string> nodes{};  // of rank 0, 1, ...: equal names share memory
  std::string arena = "64M";
  std::vector<std::string> flags{};        // for every sidecard
  std::vector<std::string> environment{};  // for every sidecard, NAME=VALUE
};

// The main thread's, like all processes that it starts. Ends all of them when it goes, with SIGKILL if need
// be, and removes its folders.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Starts all and waits until they are ready. Empty: all well; otherwise what is wrong, with the log.
  std::string start();
  // Starts one that is not running, with the same ports and further flags.
  std::string start(Rank rank, const std::vector<std::string>& more_flags = {});
  // SIGTERM to all at once. Empty when every one of them that still ran exited with 0 and the shared-memory
  // folder is empty then.
  std::string stop();

  [[nodiscard]] Rank size() const { return static_cast<Rank>(members_.size()); }
  Process& process(Rank rank) { return members_.at(static_cast<std::size_t>(rank)).process; }
  [[nodiscard]] std::string address(Rank rank) const;  // of its gRPC server
  // What its ready line says, such as "data" or "local"; empty when it says nothing of that name.
  [[nodiscard]] std::string ready_word(Rank rank, const std::string& name) const;
  [[nodiscard]] const std::string& shm_folder() const { return shm_folder_; }
  [[nodiscard]] const std::string& log_folder() const { return log_folder_; }
  [[nodiscard]] std::vector<std::string> shm_files() const;
  [[nodiscard]] std::string log(Rank rank) const;  // of the process that runs or ran last under this rank

  // How a client of that rank is to be configured, on the rank's node.
  [[nodiscard]] ClientOptions client_options(Rank rank) const;
  Expected<Client> connect(Rank rank) { return Client::connect(client_options(rank)); }

  // Ends the program with a message when that sidecar does not answer.
  client_internal::SidecarStatus status(Rank rank) const;
  std::uint64_t counter(Rank rank, const std::string& name) const;  // also what is counted as of now
  client_internal::PeerLine peer(Rank rank, Rank of) const;         // kNoRank in it: there is no such link
  // Waits until no running sidecar holds or awaits anything. Empty: so it is; otherwise who holds what.
  std::string wait_until_empty(milliseconds wait_max);

 private:
  struct Member {
    ReservedPort port;
    std::string log;
    int starts = 0;
    std::string ready;
    Process process;
  };
  void launch(Rank rank, const std::vector<std::string>& more_flags);
  std::string await_ready(Rank rank);
  [[nodiscard]] std::string peers() const;

  ClusterOptions options_;
  std::string shm_folder_;
  std::string log_folder_;
  std::vector<Member> members_;
};

}  // namespace sidecar::perf
