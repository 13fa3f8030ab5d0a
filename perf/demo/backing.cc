#include "perf/demo/backing.h"

#include <sys/stat.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace sidecar::demo {
namespace {

std::optional<Backing> backing_of_address(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::uint64_t offset = 0;
    std::uint64_t inode = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %*s %" SCNu64, &begin, &end,
                    &offset, &inode) != 4) {
      continue;
    }
    if (address < begin || address >= end) continue;
    if (inode == 0) return std::nullopt;  // private memory
    return Backing{inode, offset + (address - begin)};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Backing> backing_of(std::span<const std::byte> bytes) {
  if (bytes.empty()) return std::nullopt;
  const auto first = backing_of_address(reinterpret_cast<std::uintptr_t>(&bytes.front()));
  const auto last = backing_of_address(reinterpret_cast<std::uintptr_t>(&bytes.back()));
  if (!first || !last || first->inode != last->inode) return std::nullopt;
  return last->offset == first->offset + bytes.size() - 1 ? first : std::nullopt;
}

std::optional<std::uint64_t> inode_of(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  return info.st_ino;
}

}  // namespace sidecar::demo
