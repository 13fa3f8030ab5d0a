// Child processes for the demo, the benchmarks and the tests of programs. A child does not outlive the
// process that started it: it is killed when its Process goes, and by the kernel when the parent dies without
// a word.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/fd.h"

namespace sidecar::perf {

using std::chrono::milliseconds;

// How a process ended.
struct Ending {
  int code = -1;   // exit code, -1 when a signal ended it
  int signal = 0;  // 0 when it exited by itself
  friend bool operator==(const Ending&, const Ending&) = default;
};
// "exit code 3", "signal 9", "still running"
std::string to_string(const std::optional<Ending>& ending);

struct ProcessOptions {
  std::vector<std::string> argv;           // argv[0] is a path
  std::vector<std::string> environment{};  // NAME=VALUE, added to ours
  std::string log{};   // file for standard error, and for standard output unless `talk`; empty: ours
  bool talk = false;   // standard input and output are pipes: write_line(), read_line()
  bool stays = false;  // is not ended by our death, nor by a terminal's signals, but by the end of its input
};

// Start it from a thread that lives as long as the child shall (the kernel's parent-death signal follows the
// thread).
class Process {
 public:
  Process() = default;
  // Ends the program with a message when the system cannot start a process; a path that is not there ends the
  // child with code 127.
  explicit Process(ProcessOptions options);
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Of all its threads, in the system too. A thread that runs just now is behind by up to a tick (4 ms).
  // Ends the program with a message when the process has ended.
  [[nodiscard]] std::uint64_t cpu_ns() const;
  [[nodiscard]] bool running();
  void signal(int number) const;
  // Nothing when it is still running after that time.
  std::optional<Ending> wait(milliseconds wait_max);
  // SIGKILL, and waits for the end.
  void kill();

  // A line of the log that starts with `prefix` (without its line end); nothing when the child ends or time
  // is up first.
  std::optional<std::string> wait_for_line(std::string_view prefix, milliseconds wait_max);
  [[nodiscard]] std::string log_text() const;
  // The last lines of it, indented, for a message.
  [[nodiscard]] std::string log_tail() const;

  // Only with `talk`. False: the child does not listen any more.
  bool write_line(std::string_view line) const;
  void end_input();
  // Nothing: the child closed its output, or time is up.
  std::optional<std::string> read_line(milliseconds wait_max);

 private:
  pid_t pid_ = -1;
  std::optional<Ending> ending_;
  std::string log_;
  Fd to_child_;
  Fd from_child_;
  std::string unread_;
};

// The folder of the running program, without a slash at the end.
std::string program_folder();
// One of our programs: beside the running one, or in the bin folder beside that one's folder (tests).
std::string program_path(const std::string& name);
std::string read_file(const std::string& path);

}  // namespace sidecar::perf
