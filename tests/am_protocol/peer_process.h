// A transport_peer as a child process; killed when the test is over.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace sidecar::testing {

class PeerProcess {
 public:
  explicit PeerProcess(std::vector<std::string> arguments) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    // UCX's sockets are not close-on-exec: a child that kept them would keep our connections alive.
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    arguments.insert(arguments.begin(), SIDECAR_TRANSPORT_PEER);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    if (posix_spawn(&pid_, SIDECAR_TRANSPORT_PEER, &actions, nullptr, argv.data(), environ) != 0)
      std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_ = ends[0];
  }
  ~PeerProcess() {
    kill();
    ::close(output_);
  }
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  // What it says next; blocks. Empty: it has ended.
  std::string line() {
    std::string text;
    for (char c = 0; ::read(output_, &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }
  void signal(int number) const { ::kill(pid_, number); }
  // SIGKILL, and reaped: UCX's own check of shared-memory peers takes a zombie for alive.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  int output_ = -1;
};

}  // namespace sidecar::testing
