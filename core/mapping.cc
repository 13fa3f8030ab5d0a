#include "core/mapping.h"

#include <fcntl.h>
#include <numaif.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <utility>

// Kernel headers older than the kernels we run on.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace sidecar {
namespace {

constexpr std::uint64_t kPageBytes = 4096;

// Faults pages in for writing without changing them. 0, or the errno: EINVAL before Linux 5.14.
int populate_pages(std::byte* data, std::uint64_t bytes) {
  while (::madvise(data, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

void touch_pages(std::byte* data, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at < bytes; at += kPageBytes) {
    volatile std::byte* const page = data + at;
    *page = *page;
  }
}

int collapse(std::byte* huge_page) {
  for (int tries = 3;; --tries) {
    if (::madvise(huge_page, kHugePageBytes, MADV_COLLAPSE) == 0) return 0;
    if (errno != EAGAIN || tries == 0) return errno;  // EAGAIN: a page was busy for the moment
  }
}

}  // namespace

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Result<Mapping> Mapping::map(int fd, std::uint64_t offset, std::uint64_t bytes, bool writable) {
  if (bytes == 0 || bytes > ~std::uint64_t{0} - kHugePageBytes) {
    return fail(Errc::kInvalidArgument, "a mapping must have a sensible size", kNoRank, bytes);
  }
  // Reserve more than needed, then keep the aligned part.
  const std::uint64_t reserved = bytes + kHugePageBytes;
  void* const p = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    return fail(Errc::kNoSpace, "no address space for the mapping (bytes, errno)", kNoRank, bytes,
                static_cast<std::uint64_t>(errno));
  }
  const auto start = reinterpret_cast<std::uintptr_t>(p);
  const std::uintptr_t aligned = (start + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  const int flags = MAP_FIXED | (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS);
  void* const data =
      ::mmap(reinterpret_cast<void*>(aligned), bytes, protection, flags, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) {
    const int error = errno;
    ::munmap(p, reserved);
    return fail(error == EACCES || error == EPERM ? Errc::kUnauthorized : Errc::kNoSpace,
                "mmap failed (bytes, errno)", kNoRank, bytes, static_cast<std::uint64_t>(error));
  }
  // What is left of the reservation on either side; page sizes above 2 MiB do not pass here (MAP_FIXED would
  // fail).
  const std::uintptr_t end = (aligned + bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  if (aligned > start) ::munmap(p, aligned - start);
  if (end < start + reserved) ::munmap(reinterpret_cast<void*>(end), start + reserved - end);
  return Mapping(static_cast<std::byte*>(data), bytes);
}

namespace {

// MADV_COLLAPSE needs one page to start from and fills the rest with zeros. Doing it before the other pages
// exist saves clearing and copying them, half the time.
void populate_huge(const Mapping& mapping, Populated& result) {
  ::madvise(mapping.data(), mapping.bytes(), MADV_HUGEPAGE);  // harmless where it means nothing
  for (std::uint64_t at = 0; at + kHugePageBytes <= mapping.bytes(); at += kHugePageBytes) {
    int error = populate_pages(mapping.data() + at, kPageBytes);
    if (error == 0) error = collapse(mapping.data() + at);
    if (error == 0) {
      result.huge_bytes += kHugePageBytes;
    } else {
      result.huge_errno = error;
      if (error != EAGAIN && error != ENOMEM)
        return;  // this kernel or file system will not: no use in going on
    }
  }
}

}  // namespace

Result<Populated> populate(const Mapping& mapping, int fd, std::uint64_t offset, bool huge) {
  const auto start = std::chrono::steady_clock::now();
  Populated result;
  if (huge) populate_huge(mapping, result);
  int error =
      fd < 0 ? 0 : ::posix_fallocate(fd, static_cast<off_t>(offset), static_cast<off_t>(mapping.bytes()));
  // With its space allocated a file's pages can be touched safely, should the kernel not know the better way.
  if (error == 0) error = populate_pages(mapping.data(), mapping.bytes());
  if (error == EINVAL) {
    touch_pages(mapping.data(), mapping.bytes());
    error = 0;
  }
  if (error != 0) {
    return fail(Errc::kNoSpace, "no memory to back the arena (bytes, errno)", kNoRank, mapping.bytes(),
                static_cast<std::uint64_t>(error));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

int prefer_node(const Mapping& mapping, int node) {
  constexpr int kNodesMax = 1024;
  constexpr int kBits = sizeof(unsigned long) * CHAR_BIT;
  if (node < 0 || node >= kNodesMax) return EINVAL;
  std::array<unsigned long, kNodesMax / kBits> mask{};
  mask[static_cast<std::size_t>(node / kBits)] = 1ul << (node % kBits);
  return ::mbind(mapping.data(), mapping.bytes(), MPOL_PREFERRED, mask.data(), kNodesMax, 0) == 0 ? 0 : errno;
}

}  // namespace sidecar
