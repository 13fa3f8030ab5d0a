// The TCP connection beside UCX over which two perftests agree: parameters, addresses, barriers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/loop.h"

namespace sidecar::perf {

class PerftestSocket {
 public:
  // `fd` stays the caller's.
  PerftestSocket(Loop& loop, int fd);
  ~PerftestSocket();
  PerftestSocket(const PerftestSocket&) = delete;
  PerftestSocket& operator=(const PerftestSocket&) = delete;

  // False: the other side is gone, or has not read what it was sent for far too long. The two sides take
  // turns, so that a socket's buffer always has room for what we say.
  bool send(std::span<const std::byte> bytes);

  // What has arrived and was not taken yet.
  [[nodiscard]] std::span<const std::byte> arrived() const { return bytes_; }
  void take(std::size_t bytes);
  // The other side sends no more. What it sent before can still be taken.
  [[nodiscard]] bool ended() const { return ended_; }
  // Grows with every arrival.
  [[nodiscard]] std::uint64_t heard() const { return heard_; }

 private:
  void watch();
  void read();

  Loop& loop_;
  int fd_;
  std::uint64_t watch_ = 0;  // 0: none
  std::vector<std::byte> bytes_;
  std::uint64_t heard_ = 0;
  bool ended_ = false;
};

}  // namespace sidecar::perf
