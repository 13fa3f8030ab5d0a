#include "core/arena_map.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "core/arena_file.h"

namespace sidecar {
namespace {

tl::unexpected<Error> open_error(int error) {
  const auto native = static_cast<std::uint64_t>(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR: return fail(Errc::kNotFound, "the arena file is not here: not the same node?", kNoRank);
    case EACCES:
    case EPERM: return fail(Errc::kUnauthorized, "the arena file may not be opened (errno)", kNoRank, native);
    case ELOOP: return fail(Errc::kProtocol, "the arena path is a symbolic link");
    default: return fail(Errc::kIo, "the arena file cannot be opened (errno)", kNoRank, native);
  }
}

bool in_group(gid_t group) {
  if (group == ::getegid()) return true;
  const int count = ::getgroups(0, nullptr);
  if (count <= 0) return false;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  const int got = ::getgroups(count, groups.data());
  return got > 0 && std::find(groups.begin(), groups.begin() + got, group) != groups.begin() + got;
}

// Whoever owns the file may cut it short under a reader, who then dies of SIGBUS, and what others may write
// anybody may forge. So the owner is one who has power over us anyway, or has been let in by way of a group.
Status check_owner(const struct stat& info) {
  if ((info.st_mode & S_IWOTH) != 0) {
    return fail(Errc::kUnauthorized, "anybody may write to the arena file (its mode)", kNoRank,
                info.st_mode & 07777);
  }
  if (info.st_uid == 0 || info.st_uid == ::geteuid()) return {};
  constexpr mode_t kGroup = S_IRGRP | S_IWGRP;
  if ((info.st_mode & kGroup) == kGroup && in_group(info.st_gid)) return {};
  return fail(Errc::kUnauthorized, "the arena file is another user's (user id, ours)", kNoRank, info.st_uid,
              ::geteuid());
}

Status check_header(const ArenaHeader& header, InstanceId instance, std::uint64_t nonce,
                    std::uint64_t file_bytes) {
  if (header.magic != kArenaMagic) return fail(Errc::kProtocol, "not an arena file");
  if (header.version != kArenaVersion || header.header_bytes != sizeof(ArenaHeader)) {
    return fail(Errc::kProtocol, "arena file of another version (its version, ours)", kNoRank, header.version,
                kArenaVersion);
  }
  if (header.instance != instance) return fail(Errc::kProtocol, "arena file of another instance");
  if (header.nonce != nonce)
    return fail(Errc::kProtocol, "the arena file's nonce is not the one that was told");
  if (header.data_offset < sizeof(ArenaHeader) || header.data_offset % 4096 != 0 || header.data_bytes == 0) {
    return fail(Errc::kProtocol, "the arena file's header makes no sense");
  }
  if (header.data_offset > file_bytes || header.data_bytes > file_bytes - header.data_offset) {
    return fail(Errc::kProtocol, "the arena file is shorter than it says (bytes of data said, bytes of file)",
                kNoRank, header.data_bytes, file_bytes);
  }
  return {};
}

}  // namespace

Result<ArenaMap> ArenaMap::open(const std::string& path, InstanceId instance, std::uint64_t nonce,
                                bool writable, InstanceId through) {
  // O_NONBLOCK: a named pipe in that place must not stop us.
  Fd fd(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return open_error(errno);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return open_error(errno);
  if (!S_ISREG(info.st_mode)) return fail(Errc::kProtocol, "the arena path is not a regular file");
  if (const Status ours = check_owner(info); !ours) return tl::unexpected(ours.error());

  ArenaHeader header;
  if (::pread(fd.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return fail(Errc::kProtocol, "the arena file is shorter than its header");
  }
  const Status good = check_header(header, instance, nonce, static_cast<std::uint64_t>(info.st_size));
  if (!good) return tl::unexpected(good.error());

  if (through != 0) {
    if (const Status locked = lock_through(fd.get(), through); !locked) return tl::unexpected(locked.error());
  }
  auto mapping = Mapping::map(fd.get(), header.data_offset, header.data_bytes, writable);
  if (!mapping) return tl::unexpected(mapping.error());
  if (through == 0) fd.reset();
  return ArenaMap(std::move(*mapping), static_cast<std::uint64_t>(info.st_ino), writable, std::move(fd));
}

}  // namespace sidecar
