#include "perf/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>
#include <utility>

namespace sidecar::perf {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCannotExecute = 127;
constexpr std::size_t kTailLines = 8;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::abort();
}

// Ours, with `added` in place of what has the same name.
std::vector<std::string> merged_environment(const std::vector<std::string>& added) {
  std::vector<std::string> merged = added;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& other : added) replaced |= other.starts_with(name);
    if (!replaced) merged.emplace_back(text);
  }
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// Between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* argv, char* const* environment, pid_t parent, bool stays, int in,
                         int out, int err) {
  if (stays) {
    setsid();
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) ::signal(number, SIG_IGN);
  } else {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);  // it died before the line above
  }
  if (in >= 0) dup2(in, STDIN_FILENO);
  if (out >= 0) dup2(out, STDOUT_FILENO);
  if (err >= 0) dup2(err, STDERR_FILENO);
  close_range(3, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  execve(argv[0], argv, environment);
  _exit(kCannotExecute);
}

void make_pipe(Fd* read, Fd* write) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) die("pipe");
  *read = Fd(ends[0]);
  *write = Fd(ends[1]);
}

}  // namespace

std::string to_string(const std::optional<Ending>& ending) {
  if (!ending) return "still running";
  if (ending->signal != 0) return "signal " + std::to_string(ending->signal);
  return "exit code " + std::to_string(ending->code) +
         (ending->code == kCannotExecute ? ": cannot execute it" : "");
}

Process::Process(ProcessOptions options) : log_(std::move(options.log)) {
  std::vector<std::string> environment_texts = merged_environment(options.environment);
  const std::vector<char*> argv = pointers(options.argv);
  const std::vector<char*> environment = pointers(environment_texts);
  Fd in, out, log;  // the child's
  if (options.talk) {
    ::signal(SIGPIPE, SIG_IGN);  // a child that is gone is an answer of write_line
    make_pipe(&in, &to_child_);
    make_pipe(&from_child_, &out);
  }
  if (!log_.empty()) {
    log = Fd(open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!log.valid()) die(log_.c_str());
  }
  const pid_t parent = getpid();
  sigset_t all, before;  // a signal before the child is what it will be finds it deaf, not with our handlers
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_ = fork();
  if (pid_ == 0) {
    become(argv.data(), environment.data(), parent, options.stays, in.get(),
           options.talk ? out.get() : log.get(), log.get());
  }
  if (pid_ < 0) die("fork");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Process::~Process() { kill(); }

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  kill();
  pid_ = std::exchange(other.pid_, -1);
  ending_ = other.ending_;
  log_ = std::move(other.log_);
  to_child_ = std::move(other.to_child_);
  from_child_ = std::move(other.from_child_);
  unread_ = std::move(other.unread_);
  return *this;
}

std::uint64_t Process::cpu_ns() const {
  clockid_t clock{};
  timespec now{};
  errno = clock_getcpuclockid(pid_, &clock);
  if (errno != 0 || clock_gettime(clock, &now) != 0) die("the CPU time of a process");
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

bool Process::running() { return pid_ > 0 && !wait(milliseconds{0}); }

void Process::signal(int number) const {
  if (pid_ > 0 && !ending_) ::kill(pid_, number);
}

std::optional<Ending> Process::wait(milliseconds wait_max) {
  const auto until = Clock::now() + wait_max;
  while (pid_ > 0 && !ending_) {
    int status = 0;
    const pid_t got = waitpid(pid_, &status, WNOHANG);
    if (got < 0 && errno != EINTR) die("waitpid");
    if (got == pid_) {
      ending_ = WIFSIGNALED(status) ? Ending{-1, WTERMSIG(status)} : Ending{WEXITSTATUS(status), 0};
    } else if (Clock::now() >= until) {
      return std::nullopt;
    } else {
      std::this_thread::sleep_for(milliseconds{2});
    }
  }
  return ending_;
}

void Process::kill() {
  signal(SIGKILL);
  if (pid_ > 0) wait(std::chrono::hours(1));
  to_child_.reset();
  from_child_.reset();
}

std::string Process::log_text() const { return read_file(log_); }

std::string Process::log_tail() const {
  std::deque<std::string> lines;
  std::istringstream text(log_text());
  for (std::string line; std::getline(text, line);) {
    lines.push_back("\n    " + line);
    if (lines.size() > kTailLines) lines.pop_front();
  }
  return std::accumulate(lines.begin(), lines.end(),
                         std::string(lines.empty() ? "" : "\n  the last lines of its log:"));
}

std::optional<std::string> Process::wait_for_line(std::string_view prefix, milliseconds wait_max) {
  const auto until = Clock::now() + wait_max;
  while (true) {
    const bool last_look = !running() || Clock::now() >= until;
    std::istringstream text(log_text());
    for (std::string line;
         std::getline(text, line) && !text.eof();) {  // a line without its end is not whole yet
      if (line.starts_with(prefix)) return line;
    }
    if (last_look) return std::nullopt;
    std::this_thread::sleep_for(milliseconds{2});
  }
}

bool Process::write_line(std::string_view line) const {
  std::string text(line);
  text += '\n';
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(to_child_.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

void Process::end_input() { to_child_.reset(); }

std::optional<std::string> Process::read_line(milliseconds wait_max) {
  const auto until = Clock::now() + wait_max;
  while (true) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now()).count();
    pollfd ready{from_child_.get(), POLLIN, 0};
    if (left < 0 || !from_child_.valid() || poll(&ready, 1, static_cast<int>(left) + 1) <= 0)
      return std::nullopt;
    std::array<char, 4096> bytes;
    const ssize_t n = read(from_child_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    unread_.append(bytes.data(), static_cast<std::size_t>(n));
  }
}

std::string program_folder() {
  std::array<char, 4096> path{};
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) die("/proc/self/exe");
  const std::string text(path.data(), static_cast<std::size_t>(n));
  return text.substr(0, text.rfind('/'));
}

std::string program_path(const std::string& name) {
  const std::string beside = program_folder() + "/" + name;
  return access(beside.c_str(), X_OK) == 0 ? beside : program_folder() + "/../bin/" + name;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace sidecar::perf
