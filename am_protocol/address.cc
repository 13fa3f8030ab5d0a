#include "am_protocol/address.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace sidecar {

Result<SocketAddress> parse_address(std::string_view text, HostNames names) {
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos || colon + 1 == text.size()) {
    return fail(Errc::kInvalidArgument, "address: not host:port");
  }
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty()) return fail(Errc::kInvalidArgument, "address: no host before the port");
  const std::string port(text.substr(colon + 1));
  // getaddrinfo cuts a number that is too large for a port.
  if (port.size() > 5 || port.find_first_not_of("0123456789") != port.npos ||
      std::atoi(port.c_str()) > 65535) {
    return fail(Errc::kInvalidArgument, "address: the port is not a number up to 65535");
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (names == HostNames::kRefuse ? AI_NUMERICHOST : 0);
  addrinfo* found = nullptr;
  const int code = getaddrinfo(std::string(host).c_str(), port.c_str(), &hints, &found);
  if (code != 0) {
    return names == HostNames::kRefuse ? fail(Errc::kInvalidArgument, "address: not numeric host:port")
                                       : fail(Errc::kInvalidArgument, "address: unknown host or port");
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> release(found, freeaddrinfo);
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  return address;
}

Name format_address(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = "";
  std::uint16_t port = 0;
  std::string text;
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    port = ntohs(v4.sin_port);
    text = host;
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
    port = ntohs(v6.sin6_port);
    text = std::string("[") + host + "]";
  }
  return Name(text + ":" + std::to_string(port));
}

int listen_errno(const SocketAddress& address) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  int code = 0;
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(fd, address.get(), address.length) != 0 || listen(fd, 1) != 0) {
    code = errno;
  }
  close(fd);
  return code;
}

namespace {

template <class Visit>
void each_descriptor(Visit&& visit) {
  DIR* const directory = opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* const entry = readdir(directory)) visit(std::atoi(entry->d_name));  // 0 for the dots
  closedir(directory);
}

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof(listening);
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening != 0;
}

std::uint16_t port_of(const sockaddr_storage& address) {
  return address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                       : reinterpret_cast<const sockaddr_in&>(address).sin_port;
}

bool is_any(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET)
    return reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr == INADDR_ANY;
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
}

// Listens there, or was accepted there.
bool is_at(int fd, const sockaddr_storage& address) {
  sockaddr_storage own{};
  socklen_t length = sizeof(own);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) != 0) return false;
  if (own.ss_family != address.ss_family) return false;
  return is_any(address) ? port_of(own) == port_of(address) : format_address(own) == format_address(address);
}

}  // namespace

void ignore_new_connections(const sockaddr_storage& address) {
  sock_filter drop_everything{BPF_RET | BPF_K, 0, 0, 0};
  const sock_fprog program{1, &drop_everything};
  each_descriptor([&](int fd) {
    if (is_at(fd, address) && listens(fd))
      setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
  });
}

Accepted end_accepted(const sockaddr_storage& address) {
  Accepted left;
  each_descriptor([&](int fd) {
    tcp_info info{};
    socklen_t length = sizeof(info);
    if (is_at(fd, address) && listens(fd) && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
      left.in_line += info.tcpi_unacked;  // of one that listens, its line
  });
  each_descriptor([&](int fd) {  // after it: who has left the line meanwhile is here
    if (!is_at(fd, address) || listens(fd)) return;
    shutdown(fd, SHUT_RDWR);
    ++left.open;
  });
  return left;
}

}  // namespace sidecar
