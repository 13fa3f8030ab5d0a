#include "perf/tool/control.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::size_t kLineMax = 1 << 20;
constexpr auto kRetry = std::chrono::milliseconds(100);

std::string errno_text() { return std::strerror(errno); }

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
std::unique_ptr<addrinfo, FreeAddresses> resolve(const std::string& host, std::uint16_t port, bool passive) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  addrinfo* list = nullptr;
  const int code =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (code != 0) fail_measurement("host " + host + ": " + gai_strerror(code));
  return std::unique_ptr<addrinfo, FreeAddresses>(list);
}

// Small lines go at once, and an end whose host has vanished is noticed within half a minute.
void prepare(int socket) {
  const int on = 1, idle_s = 10, interval_s = 5, probes = 3;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

}  // namespace

void Control::say(const nlohmann::json& message) const {
  const std::string line = message.dump() + "\n";
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t n = send(socket_.get(), line.data() + at, line.size() - at, MSG_NOSIGNAL);
    if (n <= 0) fail_measurement("the other end has gone: " + errno_text());
    at += static_cast<std::size_t>(n);
  }
}

bool Control::has_something(std::chrono::milliseconds wait_max) const {
  if (unread_.find('\n') != unread_.npos) return true;
  pollfd fd{socket_.get(), POLLIN, 0};
  return poll(&fd, 1, static_cast<int>(wait_max.count())) > 0;
}

std::string Control::ended(std::chrono::milliseconds wait_max) const {
  if (!has_something(wait_max)) return "";
  constexpr std::string_view kError = "{\"error\":\"";
  char bytes[512];
  const ssize_t n = recv(socket_.get(), bytes, sizeof bytes, MSG_PEEK);
  if (n <= 0) return "the other end has gone";
  const std::string_view text(bytes, static_cast<std::size_t>(n));
  if (text.starts_with(kError))
    return "the other end: " + std::string(text.substr(kError.size(), text.find("\"}") - kError.size()));
  std::this_thread::sleep_for(wait_max);  // it is done before us, and that stays so
  return "";
}

nlohmann::json Control::hear(std::chrono::seconds wait_max) {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  std::size_t end = 0;
  while ((end = unread_.find('\n')) == unread_.npos) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !has_something(left))
      fail_measurement("the other end said nothing for " + std::to_string(wait_max.count()) + " s");
    char bytes[4096];
    const ssize_t n = recv(socket_.get(), bytes, sizeof bytes, 0);
    if (n <= 0) fail_measurement("the other end has gone");
    unread_.append(bytes, static_cast<std::size_t>(n));
    if (unread_.size() > kLineMax) fail_measurement("the other end is no sidecar-perf");
  }
  const std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  nlohmann::json message = nlohmann::json::parse(line, nullptr, false);
  if (!message.is_object()) fail_measurement("the other end is no sidecar-perf");
  if (message.contains("error")) fail_measurement("the other end: " + message["error"].get<std::string>());
  return message;
}

std::string Control::other_host() const {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char host[NI_MAXHOST] = "";
  if (getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0)
    getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

ControlListener::ControlListener(const std::string& address, std::uint16_t port) {
  const auto list = resolve(address, port, true);
  socket_ = Fd(socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!socket_.valid() || setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(socket_.get(), list->ai_addr, list->ai_addrlen) != 0 || listen(socket_.get(), 4) != 0)
    fail_measurement("cannot listen at port " + std::to_string(port) + ": " + errno_text() + "; see -p");
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&own), &length);
  port_ = ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&own)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&own)->sin_port);
}

Control ControlListener::accept() const {
  Fd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket.valid()) fail_measurement("cannot accept a connection: " + errno_text());
  prepare(socket.get());
  return Control(std::move(socket));
}

Control connect_control(const std::string& host, std::uint16_t port, std::chrono::seconds wait_max) {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  const auto list = resolve(host, port, false);
  for (;;) {
    for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) {
      Fd socket(::socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (!socket.valid() || connect(socket.get(), one->ai_addr, one->ai_addrlen) != 0) continue;
      prepare(socket.get());
      return Control(std::move(socket));
    }
    if (std::chrono::steady_clock::now() >= until)
      fail_measurement("no sidecar-perf waits at " + host + ":" + std::to_string(port) + " (" + errno_text() +
                       "); start it there first");
    std::this_thread::sleep_for(kRetry);
  }
}

}  // namespace sidecar::perf
