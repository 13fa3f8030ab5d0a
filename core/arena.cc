#include "core/arena.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <numa.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/log.h"

namespace sidecar {
namespace {

constexpr std::uint64_t kRound = 4096;

std::uint64_t round_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

Result<std::uint64_t> random_u64() {
  std::uint64_t value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
    if (errno != EINTR) {
      return fail(Errc::kIo, "no random numbers from the system (errno)", kNoRank,
                  static_cast<std::uint64_t>(errno));
    }
  }
  return value;
}

// Through a mapping, because hugetlbfs knows no write().
Status write_header(int fd, std::uint64_t data_offset, const ArenaHeader& header) {
  auto page = Mapping::map(fd, 0, data_offset, true);
  if (!page) return tl::unexpected(page.error());
  std::memcpy(page->data(), &header, sizeof header);
  return {};
}

}  // namespace

const char* arena_kind_name(ArenaKind kind) {
  switch (kind) {
    case ArenaKind::kAuto: return "auto";
    case ArenaKind::kShared: return "shared";
    case ArenaKind::kHost: return "host";
    case ArenaKind::kCuda: return "cuda";
  }
  return "unknown";
}

Result<std::unique_ptr<Arena>> Arena::create(const ArenaOptions& wanted) {
  ArenaOptions options = wanted;
  if (options.bytes == 0 || options.bytes > (std::uint64_t{1} << 46)) {
    return fail(Errc::kInvalidArgument, "an arena has 1 byte to 64 TiB", kNoRank, options.bytes);
  }
  if (options.instance == 0) return fail(Errc::kInvalidArgument, "an arena needs its owner's instance id");
  if (options.cuda != nullptr && options.device >= 0) {
    if (options.device >= options.cuda->devices()) {
      return fail(Errc::kInvalidArgument, "an arena's GPU is none of this host's (number, GPUs)", kNoRank,
                  static_cast<std::uint64_t>(options.device),
                  static_cast<std::uint64_t>(options.cuda->devices()));
    }
    if (options.numa_node < 0) options.numa_node = options.cuda->device(options.device).numa_node;
  }
  std::unique_ptr<Arena> arena(new Arena());
  arena->kind_ = options.kind == ArenaKind::kAuto ? ArenaKind::kShared : options.kind;
  arena->bytes_ = round_up(options.bytes, kRound);
  arena->instance_ = options.instance;
  const Status made = arena->kind_ == ArenaKind::kShared ? arena->create_shared(options)
                      : arena->kind_ == ArenaKind::kCuda ? arena->create_cuda(options)
                                                         : arena->create_host(options);
  if (!made) return tl::unexpected(made.error());  // what was made so far goes with `arena`
  if (arena->kind_ == ArenaKind::kShared && options.cuda != nullptr) arena->pin(options);
  return arena;
}

Arena::~Arena() {
  if (cuda_ != nullptr) {
    const Status gone = cuda_->free_host(device_, data_);
    if (!gone) LOG_WARN("the arena's memory stays with CUDA: {}", to_string(gone.error()));
  }
  if (file_.fd.valid()) unlink_arena_file(file_);
}

Status Arena::create_shared(const ArenaOptions& options) {
  stale_files_removed_ = remove_stale_arena_files(options.directory);
  const auto nonce = random_u64();
  if (!nonce) return tl::unexpected(nonce.error());
  nonce_ = *nonce;
  path_ = options.directory + "/" + arena_file_name(instance_);
  if (path_.size() > kNameBytesMax) {
    return fail(Errc::kInvalidArgument, "the arena's path is too long (bytes, limit)", kNoRank, path_.size(),
                kNameBytesMax);
  }
  auto file = create_arena_file(options.directory, instance_, options.group);
  if (!file) return tl::unexpected(file.error());
  file_ = std::move(*file);
  const int fd = file_.fd.get();

  struct statfs system{};
  if (::fstatfs(fd, &system) != 0) {
    return fail(Errc::kIo, "the file system does not tell its size (errno)", kNoRank,
                static_cast<std::uint64_t>(errno));
  }
  const auto block = static_cast<std::uint64_t>(system.f_bsize);
  const bool hugetlb = system.f_type == HUGETLBFS_MAGIC;
  const std::uint64_t data_offset = std::max(kHugePageBytes, hugetlb ? block : 0);
  if (hugetlb) bytes_ = round_up(bytes_, block);
  const std::uint64_t free_bytes = system.f_bavail * block;
  const std::uint64_t header_bytes = hugetlb ? block : kRound;  // the rest up to data_offset stays a hole
  if (system.f_blocks != 0 && bytes_ + header_bytes > free_bytes) {
    return fail(Errc::kNoSpace,
                "the arena is larger than what its file system has free (bytes wanted, bytes free)", kNoRank,
                bytes_ + header_bytes, free_bytes);
  }
  if (::ftruncate(fd, static_cast<off_t>(data_offset + bytes_)) != 0) {
    return fail(Errc::kNoSpace, "the arena's file cannot grow to its size (bytes, errno)", kNoRank,
                data_offset + bytes_, static_cast<std::uint64_t>(errno));
  }
  auto mapping = Mapping::map(fd, data_offset, bytes_, true);
  if (!mapping) return tl::unexpected(mapping.error());
  mapping_ = std::move(*mapping);
  const Status filled = fill(options, fd, data_offset, hugetlb);
  if (!filled) return filled;

  ArenaHeader header;
  header.instance = instance_;
  header.nonce = nonce_;
  header.data_offset = data_offset;
  header.data_bytes = bytes_;
  return write_header(fd, data_offset, header);
}

Status Arena::create_host(const ArenaOptions& options) {
  auto mapping = Mapping::map(-1, 0, bytes_, true);
  if (!mapping) return tl::unexpected(mapping.error());
  mapping_ = std::move(*mapping);
  return fill(options, -1, 0, false);
}

Status Arena::create_cuda(const ArenaOptions& options) {
  if (options.cuda == nullptr) return fail(Errc::kUnavailable, "an arena of kind cuda needs a GPU");
  const int device = std::max(options.device, 0);
  // The driver takes its pages where this thread would.
  const bool node = options.numa_node >= 0 && numa_available() >= 0 && options.numa_node <= numa_max_node();
  if (node) numa_set_preferred(options.numa_node);
  const Result<void*> data = options.cuda->allocate_host(device, bytes_);
  if (node) numa_set_localalloc();
  if (!data) return tl::unexpected(data.error());
  data_ = static_cast<std::byte*>(*data);
  cuda_ = options.cuda;
  device_ = device;
  description_ = fmt::format(
      "cuda arena: {:.1f} MiB, private, pinned by CUDA on behalf of GPU {}, {}",
      static_cast<double>(bytes_) / (1 << 20), device,
      node ? fmt::format("NUMA node {} preferred", options.numa_node) : std::string("any NUMA node"));
  return {};
}

// Copies between a GPU and memory that is not pinned work as well: they are slower, and hold up the thread
// that starts them.
void Arena::pin(const ArenaOptions& options) {
  const int device = std::max(options.device, 0);
  auto registration = CudaRegistration::make(*options.cuda, device, data_, bytes_, false);
  if (registration) {
    registration_ = *std::move(registration);
    description_ += fmt::format("; registered with CUDA on behalf of GPU {}", device);
    return;
  }
  description_ += fmt::format("; not registered with CUDA, so copies from GPUs are slow: {}",
                              to_string(registration.error()));
}

// Makes the mapping real and says what came of it.
Status Arena::fill(const ArenaOptions& options, int fd, std::uint64_t offset, bool hugetlb) {
  data_ = mapping_.data();
  std::string numa = "any NUMA node";
  if (options.numa_node >= 0) {
    const int error = prefer_node(mapping_, options.numa_node);
    numa = error == 0 ? fmt::format("NUMA node {} preferred", options.numa_node)
                      : fmt::format("not bound to NUMA node {}: {}", options.numa_node, std::strerror(error));
  }
  const auto populated = populate(mapping_, fd, offset, options.huge_pages && !hugetlb);
  if (!populated) return tl::unexpected(populated.error());
  huge_bytes_ = hugetlb ? bytes_ : populated->huge_bytes;

  constexpr double kMiB = 1 << 20;
  const double mib = static_cast<double>(bytes_) / kMiB;
  std::string huge = "no huge pages: switched off";
  if (hugetlb || options.huge_pages) {
    huge = fmt::format("{:.0f} MiB of them in huge pages", static_cast<double>(huge_bytes_) / kMiB);
    if (populated->huge_errno != 0) huge += fmt::format(" (then: {})", std::strerror(populated->huge_errno));
  }
  description_ =
      fmt::format("{} arena{}: {:.1f} MiB{}, {}, {}, made real in {:.2f} s ({:.2f} s per GiB){}",
                  arena_kind_name(kind_), options.kind == ArenaKind::kAuto ? " (auto)" : "", mib,
                  path_.empty() ? std::string(", private") : " at " + path_, huge, numa, populated->seconds,
                  populated->seconds * 1024 / mib,
                  stale_files_removed_ == 0
                      ? std::string()
                      : fmt::format("; {} stale files of dead sidecars removed", stale_files_removed_));
  return {};
}

bool Arena::mapped_through(InstanceId sidecar) const {
  return file_.fd.valid() && is_locked_through(file_.fd.get(), sidecar);
}

}  // namespace sidecar
