// Mapped memory with one owner, and what makes it fast: alignment, huge pages, pre-faulting, a NUMA node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/result.h"

namespace sidecar {

inline constexpr std::uint64_t kHugePageBytes = 2 << 20;

class Mapping {
 public:
  Mapping() = default;
  ~Mapping();
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;

  // Maps `bytes` of `fd` from `offset` on, shared, at an address that is a multiple of 2 MiB: huge pages of
  // the file can then be mapped as such. fd -1: anonymous and private. `writable` needs a descriptor that may
  // write.
  static Result<Mapping> map(int fd, std::uint64_t offset, std::uint64_t bytes, bool writable);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  Mapping(std::byte* data, std::uint64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
};

// What population came to; for the log and the description of an arena.
struct Populated {
  std::uint64_t huge_bytes = 0;  // backed by huge pages for certain
  int huge_errno = 0;            // why not all of it: of the last attempt that failed
  double seconds = 0;
};

// Gives the mapping real pages, huge ones where `huge` and the system agree. `fd` and `offset` as it was
// mapped with: the file's space is allocated, so that a full file system is kNoSpace here and not a SIGBUS
// later.
Result<Populated> populate(const Mapping& mapping, int fd, std::uint64_t offset, bool huge);

// Asks for pages of that node from now on, other nodes' when it has none left. 0, or the errno.
int prefer_node(const Mapping& mapping, int node);

}  // namespace sidecar
