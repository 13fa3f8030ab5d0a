// Another process's arena, mapped. Stays readable after its owner has died.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/fd.h"
#include "core/mapping.h"
#include "core/result.h"
#include "core/types.h"

namespace sidecar {

class ArenaMap {
 public:
  // Opens the file and believes nothing: a regular file, not a link, that not everybody may write to, of this
  // user or root or of one who shares it with a group of ours (0660), at least as long as its header says, of
  // that instance and with that nonce. kNotFound: not there (another machine, or another /dev/shm).
  // kUnauthorized: may not be opened, or is in hands that we do not trust. kProtocol: it is not what it
  // should be. `writable` for own slots of an allocate() only. `through`: another sidecar than the owner, who
  // told us where to look; 0: none. The owner reuses nothing that it had lent to that one, also when it is
  // dead, as long as this lives.
  static Result<ArenaMap> open(const std::string& path, InstanceId instance, std::uint64_t nonce,
                               bool writable = false, InstanceId through = 0);

  ArenaMap(ArenaMap&&) noexcept = default;
  ArenaMap& operator=(ArenaMap&&) noexcept = default;

  [[nodiscard]] const std::byte* data() const { return mapping_.data(); }
  // nullptr in a read-only mapping.
  [[nodiscard]] std::byte* writable_data() const { return writable_ ? mapping_.data() : nullptr; }
  [[nodiscard]] std::uint64_t bytes() const { return mapping_.bytes(); }
  [[nodiscard]] std::uint64_t inode() const { return inode_; }

 private:
  ArenaMap(Mapping mapping, std::uint64_t inode, bool writable, Fd lock)
      : lock_(std::move(lock)), mapping_(std::move(mapping)), inode_(inode), writable_(writable) {}
  Fd lock_;  // outlives the mapping
  Mapping mapping_;
  std::uint64_t inode_;
  bool writable_;
};

}  // namespace sidecar
