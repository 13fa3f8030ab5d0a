#include "client/demo/child.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>

#include "core/check.h"

namespace sidecar::demo {
namespace {

constexpr std::size_t kTailLines = 8;
constexpr int kCannotExecute = 127;

struct Pipe {
  Fd read;
  Fd write;
};

Pipe make_pipe() {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

// In the child, where only plain system calls are allowed until it executes the program.
[[noreturn]] void become(char* const* argv, pid_t parent, int in, int out, int log) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kCannotExecute);  // it died before that was set
  setpgid(0, 0);                                   // Ctrl-C is for the demo, which then ends its children
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
    _exit(kCannotExecute);
  execv(argv[0], argv);
  _exit(kCannotExecute);
}

}  // namespace

Child::Child(ChildOptions options) : options_(std::move(options)) {
  std::vector<char*> argv;
  for (std::string& argument : options_.argv) argv.push_back(argument.data());
  argv.push_back(nullptr);
  Fd log(open(options_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  CHECK(log.valid());
  Pipe in;
  Pipe out;
  if (options_.talks) {
    in = make_pipe();
    out = make_pipe();
  } else {
    in.read = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(in.read.valid());
  }
  const pid_t parent = getpid();
  pid_ = fork();
  CHECK(pid_ >= 0);
  if (pid_ == 0)
    become(argv.data(), parent, in.read.get(), options_.talks ? out.write.get() : log.get(), log.get());
  from_child_ = std::move(out.read);
  to_child_ = std::move(in.write);
}

bool Child::read_lines(std::vector<std::string>* lines) {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(from_child_.get(), buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) {
    from_child_.reset();
    return false;
  }
  unread_.append(buffer.data(), static_cast<std::size_t>(count));
  for (std::size_t end = 0; (end = unread_.find('\n')) != std::string::npos;) {
    lines->push_back(unread_.substr(0, end));
    unread_.erase(0, end + 1);
  }
  return true;
}

void Child::write_line() const {
  // A child that is gone is noticed by the end of its output.
  if (write(to_child_.get(), "\n", 1) < 0) return;
}

std::string Child::log_text() const {
  std::ostringstream text;
  text << std::ifstream(options_.log).rdbuf();
  return text.str();
}

std::string Child::log_tail() const {
  std::vector<std::string> lines;
  std::ifstream log(options_.log);
  for (std::string line; std::getline(log, line);) lines.push_back(line);
  std::string text;
  for (std::size_t i = lines.size() > kTailLines ? lines.size() - kTailLines : 0; i < lines.size(); ++i) {
    text += "\n    " + lines[i];
  }
  return text.empty() ? text : "\n  the last lines of its log:" + text;
}

void Child::signal(int number) const {
  if (!ended()) kill(pid_, number);
}

bool Child::reap() {
  if (ended()) return true;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  status_ = status;
  return true;
}

bool Child::succeeded() const { return status_ && WIFEXITED(*status_) && WEXITSTATUS(*status_) == 0; }

std::string Child::end_text() const {
  if (!status_) return "still running";
  if (WIFSIGNALED(*status_)) return "signal " + std::to_string(WTERMSIG(*status_));
  const int code = WEXITSTATUS(*status_);
  return "exit code " + std::to_string(code) +
         (code == kCannotExecute ? ": cannot execute " + options_.argv[0] : "");
}

}  // namespace sidecar::demo
