// A child process with its output, for tests of programs. Ends with its owner, whatever happens.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/fd.h"
#include "core/loop.h"

namespace sidecar {

class Child {
 public:
  // `environment`: NAME=VALUE in addition to ours.
  explicit Child(std::vector<std::string> command, std::vector<std::string> environment = {}) {
    std::array<int, 2> out;
    std::array<int, 2> err;
    CHECK(pipe2(out.data(), O_CLOEXEC) == 0 && pipe2(err.data(), O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO) == 0);
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (std::string& variable : environment) envp.push_back(variable.data());
    for (char** variable = environ; *variable != nullptr; ++variable) envp.push_back(*variable);
    envp.push_back(nullptr);
    CHECK(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), envp.data()) == 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    ::close(err[1]);
    out_ = Fd(out[0]);
    err_ = Fd(err[0]);
  }
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void kill(int number) const { CHECK(::kill(pid_, number) == 0); }

  // The first line on its standard output; empty when it ended or said nothing in time.
  std::string first_line(TimeNs timeout = 20 * kSecond) {
    pump(Loop::now_ns() + timeout, [this] { return output_.find('\n') != std::string::npos; });
    return output_.substr(0, output_.find('\n'));
  }
  // Its exit code, 128 + signal, or -1 when it is still there after `timeout`.
  int wait(TimeNs timeout = 20 * kSecond) {
    if (!pump(Loop::now_ns() + timeout, [] { return false; })) return -1;
    int status = 0;
    CHECK(waitpid(pid_, &status, 0) == pid_);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // As far as read by the calls above.
  [[nodiscard]] const std::string& output() const { return output_; }
  [[nodiscard]] const std::string& errors() const { return errors_; }

 private:
  // Reads until `done` or the end of both streams (true), or `deadline` (false).
  template <class Done>
  bool pump(TimeNs deadline, Done done) {
    while (!done()) {
      std::array<pollfd, 2> fds{{{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
      if (!out_.valid() && !err_.valid()) return true;
      const TimeNs now = Loop::now_ns();
      if (now >= deadline) return false;
      ::poll(fds.data(), fds.size(), static_cast<int>((deadline - now) / kMillisecond) + 1);
      if (fds[0].revents != 0) take(out_, output_);
      if (fds[1].revents != 0) take(err_, errors_);
    }
    return true;
  }
  static void take(Fd& fd, std::string& into) {
    std::array<char, 4096> buffer;
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got <= 0) return fd.reset();
    into.append(buffer.data(), static_cast<std::size_t>(got));
  }

  pid_t pid_ = 0;
  Fd out_, err_;
  std::string output_, errors_;
};

}  // namespace sidecar
