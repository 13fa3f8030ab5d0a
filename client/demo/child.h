// One process that the demo has started.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "core/fd.h"

namespace sidecar::demo {

struct ChildOptions {
  std::string name;               // for messages
  std::vector<std::string> argv;  // argv[0] is a path
  std::string log;                // file for what it prints
  bool talks = false;             // its standard output and input are pipes to us instead
};

class Child {
 public:
  // Forks and executes. The kernel kills the child when this process ends, however that happens. Errors of
  // the system end the program; a path that is not there ends the child with code 127.
  explicit Child(ChildOptions options);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] const std::string& name() const { return options_.name; }
  // Only with `talks`. Readable when there is something for read_lines(), -1 after its end.
  [[nodiscard]] int fd() const { return from_child_.get(); }
  // The whole lines that have come. False: there will be no more.
  bool read_lines(std::vector<std::string>* lines);
  void write_line() const;

  [[nodiscard]] std::string log_text() const;
  // The last lines of the log, indented, for a message.
  [[nodiscard]] std::string log_tail() const;

  // The rest is for the Stage, which locks.
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool ended() const { return status_.has_value(); }
  void signal(int number) const;
  // Whether it has ended. Does not wait.
  bool reap();
  [[nodiscard]] bool succeeded() const;
  // "exit code 3", "signal 9"
  [[nodiscard]] std::string end_text() const;

 private:
  ChildOptions options_;
  pid_t pid_ = -1;
  std::optional<int> status_;
  Fd from_child_;
  Fd to_child_;
  std::string unread_;
};

}  // namespace sidecar::demo
