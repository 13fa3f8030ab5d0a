#include "am_protocol/cma.h"

#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace sidecar {
namespace {

constexpr std::uint64_t kMagic = 0x53494445'43415221;

}  // namespace

bool cma_works() {
  static volatile std::uint64_t magic;
  magic = kMagic;
  const pid_t parent = getpid();
  // _Fork: no fork handlers of other libraries run, and the child calls nothing but the kernel.
  const pid_t child = _Fork();
  if (child < 0) return false;
  if (child == 0) {
    std::uint64_t seen = 0;
    const iovec to{&seen, sizeof(seen)};
    const iovec from{const_cast<std::uint64_t*>(&magic), sizeof(seen)};
    const bool ok = process_vm_readv(parent, &to, 1, &from, 1, 0) == sizeof(seen) && seen == kMagic;
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return false;  // somebody reaps all children: we cannot know
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool cma_works_with(std::int64_t pid) {
  if (pid <= 0) return true;
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%lld", static_cast<long long>(pid));
  struct stat about{};
  if (stat(path, &about) != 0) return true;
  if (about.st_uid != geteuid()) return false;
  // Nothing is mapped at address 1: EFAULT says that looking was allowed.
  char byte = 0;
  const iovec to{&byte, 1};
  const iovec from{reinterpret_cast<void*>(1), 1};
  return process_vm_readv(static_cast<pid_t>(pid), &to, 1, &from, 1, 0) >= 0 || errno != EPERM;
}

std::optional<std::uint64_t> word_of(std::int64_t pid, std::uint64_t address) {
  std::uint64_t word = 0;
  const iovec to{&word, sizeof(word)};
  const iovec from{reinterpret_cast<void*>(address), sizeof(word)};
  if (process_vm_readv(static_cast<pid_t>(pid), &to, 1, &from, 1, 0) != sizeof(word)) return std::nullopt;
  return word;
}

}  // namespace sidecar
