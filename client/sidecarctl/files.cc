#include "client/sidecarctl/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sidecar::ctl {
namespace {

constexpr std::size_t kSystemCallBytesMax = 1 << 30;  // the kernel moves at most 2 GiB at once

Failure io(const std::string& path, const char* doing) {
  return {Errc::kIo, kNoRank, std::string(doing) + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

Input::Input(int fd, bool owned, std::string path) : fd_(fd), owned_(owned), path_(std::move(path)) {
  struct stat facts{};
  if (::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode)) {
    const off_t at = ::lseek(fd, 0, SEEK_CUR);
    size_ = static_cast<std::uint64_t>(std::max<off_t>(facts.st_size - std::max<off_t>(at, 0), 0));
  }
}

Expected<Input> Input::open(const std::string& path) {
  if (path == "-") return Input(STDIN_FILENO, false, "standard input");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return io(path, "cannot open");
  struct stat facts{};
  if (::fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode)) {
    ::close(fd);
    errno = EISDIR;
    return io(path, "cannot read");
  }
  return Input(fd, true, path);
}

Input::Input(Input&& other) noexcept
    : fd_(other.fd_),
      owned_(std::exchange(other.owned_, false)),
      path_(std::move(other.path_)),
      size_(other.size_) {}

Input::~Input() {
  if (owned_) ::close(fd_);
}

Expected<std::size_t> Input::read(std::span<std::byte> into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = ::read(fd_, into.data() + done, std::min(into.size() - done, kSystemCallBytesMax));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io(path_, "cannot read");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

Output::Output(int fd, bool owned, std::string path) : fd_(fd), owned_(owned), path_(std::move(path)) {
  struct stat facts{};
  // Standard output redirected with >> is a file as well, but not ours from its beginning.
  seekable_ = owned && ::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode);
}

Expected<Output> Output::open(const std::string& path) {
  if (path.empty() || path == "-") return Output(STDOUT_FILENO, false, "standard output");
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return io(path, "cannot create");
  return Output(fd, true, path);
}

Output::Output(Output&& other) noexcept
    : fd_(other.fd_),
      owned_(std::exchange(other.owned_, false)),
      path_(std::move(other.path_)),
      seekable_(other.seekable_) {}

Output::~Output() {
  if (owned_) ::close(fd_);
}

Expected<void> Output::clear() {
  if (seekable_ && ::ftruncate(fd_, 0) != 0) return io(path_, "cannot write");
  return {};
}

Expected<void> Output::write(std::span<const std::byte> bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t put = ::write(fd_, bytes.data() + done, std::min(bytes.size() - done, kSystemCallBytesMax));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return io(path_, "cannot write");
    done += static_cast<std::size_t>(put);
  }
  return {};
}

Expected<void> Output::rewrite_start(std::span<const std::byte> bytes) {
  const ssize_t put = ::pwrite(fd_, bytes.data(), bytes.size(), 0);
  if (put != static_cast<ssize_t>(bytes.size())) return io(path_, "cannot write");
  return {};
}

bool Output::terminal() const { return ::isatty(fd_) == 1; }

}  // namespace sidecar::ctl
