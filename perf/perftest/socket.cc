#include "perf/perftest/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "core/check.h"

namespace sidecar::perf {
namespace {

// More than a client can have said before it must hear from us. Whoever says more is not read for now.
constexpr std::size_t kBytesMax = 256 << 10;

}  // namespace

PerftestSocket::PerftestSocket(Loop& loop, int fd) : loop_(loop), fd_(fd) {
  const int on = 1;  // a barrier's four bytes are waited for
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  watch();
}

PerftestSocket::~PerftestSocket() {
  if (watch_ != 0) loop_.unwatch(watch_);
}

void PerftestSocket::watch() {
  if (watch_ != 0 || ended_ || bytes_.size() >= kBytesMax) return;
  const auto watch = loop_.watch(fd_, [this] {
    watch_ = 0;
    read();
    this->watch();
  });
  if (watch) {
    watch_ = *watch;
  } else {
    ended_ = true;
  }
}

void PerftestSocket::read() {
  std::array<std::byte, 16384> bytes;
  while (bytes_.size() < kBytesMax) {
    const ssize_t n = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      ended_ = true;
      return;
    }
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.begin() + n);
    heard_ += static_cast<std::uint64_t>(n);
  }
}

bool PerftestSocket::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

void PerftestSocket::take(std::size_t bytes) {
  CHECK(bytes <= bytes_.size());
  bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(bytes));
  watch();
}

}  // namespace sidecar::perf
