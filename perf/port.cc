#include "perf/port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <random>
#include <sstream>
#include <utility>

#include "perf/process.h"

namespace sidecar::perf {
namespace {

// A socket bound to that port, or -1.
int bound_socket(int type, std::uint16_t port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

ReservedPort::ReservedPort() {
  static std::mt19937 random(std::random_device{}());
  while (udp_ < 0) {
    number_ = static_cast<std::uint16_t>(std::uniform_int_distribution<int>(14'000, 32'000)(random));
    udp_ = bound_socket(SOCK_DGRAM, number_);
    if (udp_ < 0) continue;
    const int tcp = bound_socket(SOCK_STREAM, number_);
    close(tcp >= 0 ? tcp : std::exchange(udp_, -1));
  }
}

ReservedPort::~ReservedPort() {
  if (udp_ >= 0) close(udp_);
}

ReservedPort::ReservedPort(ReservedPort&& other) noexcept
    : number_(other.number_), udp_(std::exchange(other.udp_, -1)) {}

bool wait_until_listening(std::uint16_t port, const std::function<bool()>& running) {
  std::array<char, 16> wanted{};
  std::snprintf(wanted.data(), wanted.size(), ":%04X ", port);
  constexpr const char* kListening = " 0A ";
  for (int i = 0; i < 2000 && running(); ++i) {
    for (const char* file : {"/proc/net/tcp", "/proc/net/tcp6"}) {
      std::istringstream lines(read_file(file));
      for (std::string line; std::getline(lines, line);) {
        const std::size_t at = line.find(wanted.data());
        if (at != std::string::npos && at < 48 && line.find(kListening) != std::string::npos) return true;
      }
    }
    usleep(5'000);
  }
  return false;
}

}  // namespace sidecar::perf
