// Which file lies behind an address: how the demo proves that nobody copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace sidecar::demo {

struct Backing {
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;  // of the first byte in that file
};

// Of bytes in this process, as the kernel tells in /proc/self/maps. Nothing when they are not mapped from one
// file.
std::optional<Backing> backing_of(std::span<const std::byte> bytes);

// Nothing when there is no such file.
std::optional<std::uint64_t> inode_of(const std::string& path);

}  // namespace sidecar::demo
