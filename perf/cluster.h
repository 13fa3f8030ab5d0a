// Real sidecards on this machine, as the demo, the benchmarks and the end-to-end tests start them: each with
// a node name of its own choice, at ports that were free, and all in one folder for arenas, logs and what UCX
// makes, which goes with them.
#pragma once

#include <string>
#include <vector>

#include "client/registration.h"
#include "perf/folder.h"
#include "perf/port.h"
#include "perf/process.h"
#include "sidecar/client.h"

namespace sidecar::perf {

// Where a process runs.
struct Place {
  std::vector<std::string> enter{};  // goes before its argv; empty: with us
  std::string address = "127.0.0.1";
};

struct ClusterOptions {
  std::vector<std::string> nodes{};  // of rank 0, 1, ...: equal names share memory
  std::vector<Place> places{};       // of rank 0, 1, ...; empty: all with us
  std::string arena = "64M";
  std::vector<std::string> flags{};        // for every sidecard
  std::vector<std::string> environment{};  // for every sidecard, NAME=VALUE
  std::string above = "/dev/shm";          // where its folder is made
  TlsFiles tls{};                          // of every sidecard and of whoever asks it; empty: without
  std::string etcd{};  // its servers, host:port,...: they find each other through it; empty: they are told
};

// What a sidecar holds or counts under that name. Ends the program with a message when there is no such name.
std::uint64_t counter(const client_internal::SidecarStatus& status, const std::string& name);

// The main thread's, like all processes that it starts. When it goes, however that happens, they end and its
// folder is removed.
class Cluster {
 public:
  explicit Cluster(ClusterOptions options);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Starts all and waits until they are ready. Empty: all well; otherwise what is wrong, with the log.
  std::string start();
  // One more rank, on that node, which is not running yet. Only with an etcd: the others were not told of it.
  Rank add(const std::string& node);
  // Starts one that is not running, with the same ports and further flags.
  std::string start(Rank rank, const std::vector<std::string>& more_flags = {});
  // SIGKILL; stop() then expects nothing of it and excuses its arena.
  void kill(Rank rank);
  // SIGTERM to all at once. Empty when every one that was started and not killed has exited with 0, by then
  // or before, and no file is left but the killed ones' arenas, which the next start would have removed.
  std::string stop();

  [[nodiscard]] Rank size() const { return static_cast<Rank>(members_.size()); }
  Process& process(Rank rank) { return members_.at(static_cast<std::size_t>(rank)).process; }
  [[nodiscard]] std::string address(Rank rank) const;  // of its gRPC server
  [[nodiscard]] Place place(Rank rank) const;
  // For client_internal's questions.
  [[nodiscard]] client_internal::Contact contact(Rank rank) const;
  // What its ready line says, such as "data" or "local"; empty when it says nothing of that name.
  [[nodiscard]] std::string ready_word(Rank rank, const std::string& name) const;
  [[nodiscard]] const std::string& folder() const { return folder_.path(); }
  [[nodiscard]] std::string log(Rank rank) const;  // of the process that runs or ran last under this rank

  // How a client of that rank is to be configured, on the rank's node.
  [[nodiscard]] ClientOptions client_options(Rank rank) const;
  Expected<Client> connect(Rank rank) { return Client::connect(client_options(rank)); }

  // Ends the program with a message when that sidecar does not answer.
  client_internal::SidecarStatus status(Rank rank) const;
  std::uint64_t counter(Rank rank, const std::string& name) const;  // also what is counted as of now
  void restart_longest_step(Rank rank) const;                       // of that name
  client_internal::PeerLine peer(Rank rank, Rank of) const;         // kNoRank in it: there is no such link
  // Waits until that sidecar neither holds nor awaits anything. Empty: so it is; otherwise what it is.
  std::string wait_until_empty(Rank rank, milliseconds wait_max) const;

 private:
  struct Member {
    ReservedPort port;
    std::string log{};
    int starts = 0;
    bool killed = false;
    std::string ready{};
    Process process{};
  };
  void launch(Rank rank, const std::vector<std::string>& more_flags);
  std::string await_ready(Rank rank);
  [[nodiscard]] std::string arenas() const { return folder() + "/arenas"; }
  [[nodiscard]] std::vector<std::string> membership(Rank rank) const;

  ClusterOptions options_;
  std::shared_ptr<grpc::ChannelCredentials> credentials_;
  Folder folder_;  // goes after the processes
  std::vector<Member> members_;
};

}  // namespace sidecar::perf
