#include "core/arena_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

namespace sidecar {
namespace {

constexpr std::string_view kPrefix = "sidecar-";
constexpr std::size_t kHexDigits = 16;

bool is_arena_name(std::string_view name) {
  if (name.size() != kPrefix.size() + kHexDigits || name.substr(0, kPrefix.size()) != kPrefix) return false;
  return name.find_first_not_of("0123456789abcdef", kPrefix.size()) == std::string_view::npos;
}

// A byte of its own for each sidecar, wherever the file ends.
struct flock byte_of(InstanceId sidecar) {
  struct flock range{};
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(sidecar >> 2);
  range.l_len = 1;
  return range;
}

bool leads_to(int directory, const char* name, int fd) {
  struct stat by_name{};
  struct stat by_fd{};
  return ::fstatat(directory, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && ::fstat(fd, &by_fd) == 0 &&
         by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino;
}

bool lock(int fd) {
  int r;
  do {
    r = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (r != 0 && errno == EINTR);
  return r == 0;
}

tl::unexpected<Error> open_failed(int error, const char* missing, const char* forbidden, const char* other) {
  const auto native = static_cast<std::uint64_t>(error);
  if (error == ENOENT || error == ENOTDIR) return fail(Errc::kNotFound, missing, kNoRank, native);
  if (error == EACCES || error == EPERM || error == EROFS) {
    return fail(Errc::kUnauthorized, forbidden, kNoRank, native);
  }
  return fail(Errc::kIo, other, kNoRank, native);
}

// Whatever the umask says, and the directory's own group. The group comes before its rights do.
Status set_access(int fd, std::optional<gid_t> group) {
  constexpr auto kNobody = static_cast<uid_t>(-1);  // stays as it is
  if (group && ::fchown(fd, kNobody, *group) != 0) {
    return fail(errno == EPERM ? Errc::kUnauthorized : Errc::kIo,
                "the arena file cannot be given to the group: is this user a member? (group id, errno)",
                kNoRank, *group, static_cast<std::uint64_t>(errno));
  }
  if (::fchmod(fd, group ? 0660 : 0600) != 0) {
    return fail(Errc::kIo, "the arena file's mode cannot be set (errno)", kNoRank,
                static_cast<std::uint64_t>(errno));
  }
  return {};
}

}  // namespace

std::string arena_file_name(InstanceId instance) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "sidecar-%016llx", static_cast<unsigned long long>(instance));
  return text.data();
}

Result<ArenaFile> create_arena_file(const std::string& directory, InstanceId instance,
                                    std::optional<gid_t> group) {
  ArenaFile file;
  file.name = arena_file_name(instance);
  file.directory = Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.directory.valid()) {
    return open_failed(errno, "the shared-memory directory does not exist (errno)",
                       "the shared-memory directory may not be opened (errno)",
                       "the shared-memory directory cannot be opened (errno)");
  }
  // Between creation and lock the file looks like one that nobody holds, and another process may remove it.
  // Then its lock or its name is gone, and the next attempt makes a new file.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    file.fd = Fd(::openat(file.directory.get(), file.name.c_str(),
                          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.fd.valid()) {
      if (errno == EEXIST && attempt == 0) {
        return fail(Errc::kAlreadyExists, "this instance has an arena file already");
      }
      if (errno == EEXIST) continue;  // the other process has locked it and not yet unlinked
      return open_failed(errno, "the shared-memory directory does not exist (errno)",
                         "the shared-memory directory is not writable (errno)",
                         "the arena file cannot be created (errno)");
    }
    if (lock(file.fd.get()) && leads_to(file.directory.get(), file.name.c_str(), file.fd.get())) {
      if (const Status set = set_access(file.fd.get(), group); !set) {
        unlink_arena_file(file);
        return tl::unexpected(set.error());
      }
      return file;
    }
  }
  return fail(Errc::kIo, "the arena file was removed again and again while it was being created");
}

Status lock_through(int fd, InstanceId through) {
  struct flock range = byte_of(through);
  range.l_type = F_RDLCK;
  if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return {};
  return fail(Errc::kIo, "the arena file cannot be locked (errno)", kNoRank,
              static_cast<std::uint64_t>(errno));
}

bool is_locked_through(int fd, InstanceId through) {
  struct flock range = byte_of(through);
  range.l_type = F_WRLCK;
  return ::fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

void unlink_arena_file(const ArenaFile& file) {
  if (leads_to(file.directory.get(), file.name.c_str(), file.fd.get())) {
    ::unlinkat(file.directory.get(), file.name.c_str(), 0);
  }
}

std::size_t remove_stale_arena_files(const std::string& directory) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return 0;
  std::size_t removed = 0;
  while (const dirent* const entry = ::readdir(dir.get())) {
    if (!is_arena_name(entry->d_name)) continue;
    const int at = ::dirfd(dir.get());
    const Fd fd(::openat(at, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info{};
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    // With the lock in hand and the name still leading here, whoever made the file is gone, or about to try
    // again.
    if (lock(fd.get()) && leads_to(at, entry->d_name, fd.get()) && ::unlinkat(at, entry->d_name, 0) == 0)
      ++removed;
  }
  return removed;
}

}  // namespace sidecar
