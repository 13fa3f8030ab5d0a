#include "control/startup.h"

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "am_protocol/address.h"
#include "control/peers.h"
#include "core/check.h"
#include "core/log.h"

#ifdef SIDECAR_ON_MIMALLOC
#include <mimalloc.h>
#endif

namespace sidecar {
namespace {

// UCX's signal handlers would hide ours and those of tools; its memory hooks are for transports we do not
// use.
constexpr std::pair<const char*, const char*> kEnvironment[] = {
    {"UCX_HANDLE_ERRORS", "none"},
    {"UCX_MEM_EVENTS", "n"},
};

char file_to_remove[PATH_MAX];
int exit_code = 0;

// Only what a signal handler may do.
void on_signal(int number) {
  if (file_to_remove[0] != 0) unlink(file_to_remove);
  if (number == SIGALRM) {
    constexpr char kText[] = "sidecard: the end took too long, some connections were cut off\n";
    if (write(STDERR_FILENO, kText, sizeof kText - 1) < 0) _exit(1);
    _exit(1);
  }
  _exit(exit_code);
}

void handle(int number) {
  struct sigaction action{};
  action.sa_handler = on_signal;
  sigfillset(&action.sa_mask);
  CHECK(sigaction(number, &action, nullptr) == 0);
}

}  // namespace

void ensure_environment(char* const* argv) {
  bool missing = false;
  for (const auto& [name, value] : kEnvironment) {
    if (getenv(name) != nullptr) continue;
    missing = true;
    setenv(name, value, 0);
  }
  if (!missing) return;
  // The program's own path rather than /proc/self/exe, which would become its name in process lists.
  std::array<char, PATH_MAX> path{};
  if (readlink("/proc/self/exe", path.data(), path.size() - 1) > 0) execv(path.data(), argv);
  LOG_WARN(
      "cannot execute again with UCX's settings ({}): put UCX_HANDLE_ERRORS=none and UCX_MEM_EVENTS=n into "
      "the "
      "environment",
      std::strerror(errno));
}

void exit_on_signals(const std::string& file, int code) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
  file_to_remove[0] = 0;
  if (file.size() < sizeof file_to_remove) std::memcpy(file_to_remove, file.c_str(), file.size() + 1);
  exit_code = code;
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGALRM}) handle(number);
  CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

void limit_teardown(unsigned seconds) { alarm(seconds); }

std::optional<std::string> port_problem(const std::string& host, std::uint16_t port) {
  const Result<SocketAddress> address = parse_address(HostPort{host, port}.text(), HostNames::kResolve);
  if (!address) return "the host is unknown";
  const int error = listen_errno(*address);
  if (error == 0) return std::nullopt;
  return error == EADDRINUSE ? "the port is taken by another program" : std::strerror(error);
}

std::string numeric_host(const std::string& host) {
  const Result<SocketAddress> address = parse_address(HostPort{host, 1}.text(), HostNames::kResolve);
  if (!address) return {};
  const std::string text(format_address(address->storage).view());
  const std::string with_port = text.substr(0, text.rfind(':'));
  return with_port.starts_with('[') ? with_port.substr(1, with_port.size() - 2) : with_port;
}

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  while (bits == 0) {
    const ssize_t got = getrandom(&bits, sizeof bits, 0);
    CHECK(got == static_cast<ssize_t>(sizeof bits) || (got < 0 && errno == EINTR));
    if (got < 0) bits = 0;
  }
  return bits;
}

const char* allocator_name() {
#ifdef SIDECAR_ON_MIMALLOC
  void* const probe = std::calloc(1, 64);
  const bool ours = mi_is_in_heap_region(probe);
  std::free(probe);
  return ours ? "mimalloc" : "the system's (mimalloc was linked but does not take part)";
#else
  return "the system's";
#endif
}

}  // namespace sidecar
