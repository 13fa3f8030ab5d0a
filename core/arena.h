// One region of memory that chunks lie in. `shared`: a file that clients and same-node peers map (DESIGN's
// "arena files"), pinned for the GPUs if there are any; `cuda`: pinned memory from CUDA, which no other
// process can map; `host`: private memory. Huge pages, a NUMA node and the pinning of a shared arena are
// asked for and their absence is only reported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/arena_file.h"
#include "core/cuda_registration.h"
#include "core/mapping.h"
#include "core/result.h"
#include "core/types.h"

namespace sidecar {

enum class ArenaKind : std::uint8_t { kAuto = 0, kShared = 1, kHost = 2, kCuda = 3 };  // kAuto: kShared

const char* arena_kind_name(ArenaKind kind);

struct ArenaOptions {
  ArenaKind kind = ArenaKind::kAuto;
  std::uint64_t bytes = 0;  // rounded up to 4 KiB
  std::string directory =
      "/dev/shm";  // a tmpfs or hugetlbfs directory, of a short enough name for its path to fit a Name
  InstanceId instance = 0;
  std::optional<gid_t> group;  // whose members may map a shared arena too; none: this user alone
  bool huge_pages = true;      // false: take what comes (a hugetlbfs directory has nothing else)
  int numa_node = -1;          // -1: the GPU's, if one is named, else anywhere
  CudaApi* cuda = nullptr;     // outlives the arena; null: no GPU
  int device = -1;             // the GPU that it is for; -1: none in particular
};

class Arena {
 public:
  // Takes about a second per GiB, since all pages are made real: before the listener opens. Removes stale
  // files of dead sidecars first. Errors: kInvalidArgument, kNotFound (directory), kUnauthorized, kNoSpace
  // (with the bytes wanted and the bytes free), kAlreadyExists, kUnavailable (kCuda without a GPU), kIo.
  static Result<std::unique_ptr<Arena>> create(const ArenaOptions& options);
  // Unmaps, and removes the file that it made. No copy to or from a GPU may be under way.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] Bytes span() const { return {data_, bytes_}; }
  [[nodiscard]] ArenaKind kind() const { return kind_; }  // never kAuto
  [[nodiscard]] InstanceId instance() const { return instance_; }
  [[nodiscard]] std::uint64_t nonce() const { return nonce_; }
  [[nodiscard]] const std::string& path() const { return path_; }  // empty: others cannot map it
  [[nodiscard]] std::uint64_t huge_bytes() const { return huge_bytes_; }
  [[nodiscard]] bool pinned() const { return registration_.valid() || cuda_ != nullptr; }  // for GPUs
  // Whether a process maps it because that sidecar told it where to look (ArenaMap's `through`).
  [[nodiscard]] bool mapped_through(InstanceId sidecar) const;
  // One line for the log: what was chosen, what was obtained and why.
  [[nodiscard]] const std::string& description() const { return description_; }

 private:
  Arena() = default;
  Status create_shared(const ArenaOptions& options);
  Status create_host(const ArenaOptions& options);
  Status create_cuda(const ArenaOptions& options);
  void pin(const ArenaOptions& options);
  Status fill(const ArenaOptions& options, int fd, std::uint64_t offset, bool hugetlb);

  ArenaKind kind_ = ArenaKind::kShared;
  std::uint64_t bytes_ = 0;
  InstanceId instance_ = 0;
  std::uint64_t nonce_ = 0;
  std::byte* data_ = nullptr;
  std::string path_;
  std::string description_;
  std::uint64_t huge_bytes_ = 0;
  std::size_t stale_files_removed_ = 0;
  ArenaFile file_;
  Mapping mapping_;
  CudaRegistration registration_;  // of mapping_, so it goes first
  CudaApi* cuda_ = nullptr;        // kCuda: where data_ goes back to
  int device_ = 0;
};

}  // namespace sidecar
