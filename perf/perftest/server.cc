#include "perf/perftest/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "core/fd.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

constexpr const char* kWho = "perftest server";

void say(const std::string& text) { std::fprintf(stderr, "%s: %s\n", kWho, text.c_str()); }
int give_up(const char* what) {
  say(std::string(what) + ": " + std::strerror(errno));
  return 1;
}

std::string ucx_version() {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}
const PerftestLayout* our_layout() {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return perftest_layout_of(major, minor);
}

// The three signals come through a descriptor, so that waiting for a client and for them is one wait.
class Signals {
 public:
  Signals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&wanted, number);
    sigprocmask(SIG_BLOCK, &wanted, &before_);
    fd_ = Fd(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Signals() { restore(); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  [[nodiscard]] int fd() const { return fd_.get(); }
  // True: one says to end.
  [[nodiscard]] bool end() const {
    bool end = false;
    for (signalfd_siginfo info{}; read(fd_.get(), &info, sizeof info) == sizeof info;) {
      end |= info.ssi_signo != SIGCHLD;
    }
    return end;
  }
  void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
  Fd fd_;
};

// On all addresses, IPv4 and where there is IPv6 on that as well.
Fd listen_on(std::uint16_t port) {
  for (const int family : {AF_INET6, AF_INET}) {
    Fd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) continue;
    const int on = 1, off = 0;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    const bool is_six = family == AF_INET6;
    if (is_six) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    const auto* const address =
        is_six ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
    if (bind(fd.get(), address, is_six ? sizeof six : sizeof four) == 0 && listen(fd.get(), 10) == 0)
      return fd;
    if (errno == EADDRINUSE) return {};
  }
  return {};
}

// Port and, for other sockets' ends, address: the port lies at the same place in both families.
struct End {
  sockaddr_in6 address{};
  socklen_t bytes = sizeof address;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&address); }
  [[nodiscard]] std::uint16_t port() const { return ntohs(address.sin6_port); }
  [[nodiscard]] std::string text() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.sin6_family == AF_INET6) {
      inet_ntop(AF_INET6, &address.sin6_addr, text.data(), text.size());
    } else {
      sockaddr_in four{};
      std::memcpy(&four, &address, sizeof four);
      inet_ntop(AF_INET, &four.sin_addr, text.data(), text.size());
    }
    std::string_view plain = text.data();
    if (plain.starts_with("::ffff:")) plain.remove_prefix(7);  // IPv4 through an IPv6 socket
    return std::string(plain) + " port " + std::to_string(port());
  }
};

// For a client whose first words are not, or not all of, the parameters of our UCX's layout.
std::string about_layout(std::span<const std::byte> bytes) {
  const std::string ours = "UCX " + std::string(our_layout()->versions) + "'s";
  std::string text = "its parameters are not laid out as " + ours + " are";
  if (bytes.size() < our_layout()->bytes) {
    text = "it said " + std::to_string(bytes.size()) + " bytes where " + ours + " parameters have " +
           std::to_string(our_layout()->bytes);
  }
  if (const PerftestLayout* const other = guess_perftest_layout(bytes); other != nullptr) {
    text += ", they look like UCX " + std::string(other->versions) + "'s";
  }
  return text + ": run a client of this server's UCX version, " + ucx_version();
}

// In the client's process. Returns its exit code.
int serve(int fd, const std::string& who, const PerftestServerOptions& options) {
  PerftestSession session(fd, options.session);
  const Status status = session.run();
  if (status) {
    if (!options.quiet) say(who + ": " + session.test() + ": done");
    return 0;
  }
  const std::string test = session.test().empty() ? "" : session.test() + ": ";
  const std::size_t unread = session.unread().size();
  const bool other_layout = status.error().code == Errc::kProtocol || unread < our_layout()->bytes;
  if (session.test().empty() && unread > 0 && other_layout) {
    say(who + ": refused: " + about_layout(session.unread()));
  } else if (status.error().code == Errc::kInvalidArgument) {
    say(who + ": refused: " + test + to_string(status.error()));
  } else {
    say(who + ": " + test + "given up while " + session.step() + ": " + to_string(status.error()));
  }
  _exit(1);  // without UCX's own tidying, which may wait or abort when something is still under way
}

pid_t start(const Fd& listener, const Signals& signals, int fd, const std::string& who,
            const PerftestServerOptions& options) {
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signals.restore();
  close(signals.fd());
  close(listener.get());
  _exit(serve(fd, who, options));
}

// Waits for the process. Nothing: we are to end.
std::optional<Ending> wait_for(pid_t child, const Signals& signals) {
  bool end = false;
  while (true) {
    int status = 0;
    if (waitpid(child, &status, end ? 0 : WNOHANG) == child) {
      if (end) return std::nullopt;
      return WIFSIGNALED(status) ? Ending{-1, WTERMSIG(status)} : Ending{WEXITSTATUS(status), 0};
    }
    pollfd ready{signals.fd(), POLLIN, 0};
    poll(&ready, 1, -1);
    if (!signals.end()) continue;
    end = true;
    kill(child, SIGKILL);
  }
}

}  // namespace

int serve_perftest(const PerftestServerOptions& options) {
  if (our_layout() == nullptr) {
    say("the perftest of UCX " + ucx_version() + " is not known here");
    return 1;
  }
  const Signals signals;
  const Fd listener = listen_on(options.port);
  if (!listener.valid() || signals.fd() < 0) {
    return give_up(("cannot listen on port " + std::to_string(options.port)).c_str());
  }
  End here;
  getsockname(listener.get(), here.get(), &here.bytes);
  if (!options.quiet) {
    say("listening on port " + std::to_string(here.port()) +
        " for ucp_am_lat and ucp_am_bw of ucx_perftest " + ucx_version());
  }
  while (true) {
    std::array<pollfd, 2> ready{{{listener.get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}}};
    poll(ready.data(), ready.size(), -1);
    if (signals.end()) return 0;
    End there;
    Fd client(accept4(listener.get(), there.get(), &there.bytes, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.valid()) {
      if (errno == EMFILE || errno == ENFILE) return give_up("cannot accept a client");
      continue;
    }
    const pid_t child = start(listener, signals, client.get(), there.text(), options);
    if (child < 0) return give_up("cannot start a process for a client");
    const std::optional<Ending> ending = wait_for(child, signals);
    if (!ending) return 0;
    if (ending->signal != 0) say(there.text() + ": UCX ended the test: " + to_string(ending));
    const bool served = *ending == Ending{0, 0};
    if (!served) {
      // A stock client that reads the end of a connection goes on reading for ever; a reset ends it.
      const linger at_once{1, 0};
      setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    if (options.once) return served ? 0 : 1;
  }
}

}  // namespace sidecar::perf
