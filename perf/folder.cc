#include "perf/folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

namespace sidecar::perf {
namespace {

// Its input ends when we do. Our children are killed in the same moment, but one of them may still be making
// a file then.
constexpr const char* kGuard =
    "read -r line; for n in 1 2 3 4 5 6 7 8 9; do rm -rf -- \"$0\" && break; sleep 0.1; done";

}  // namespace

// The guard is there before the folder is, so that there is no moment to be killed in.
Folder::Folder(const std::string& prefix)
    : path_(prefix + std::to_string(getpid()) + "." + std::to_string(std::random_device()())),
      guard_({.argv = {"/bin/sh", "-c", kGuard, path_}, .log = "/dev/null", .talk = true, .stays = true}) {
  if (mkdir(path_.c_str(), 0700) == 0) return;
  std::fprintf(stderr, "cannot make %s: %s\n", path_.c_str(), std::strerror(errno));
  std::abort();
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  guard_.end_input();
  guard_.wait(std::chrono::seconds(5));
}

}  // namespace sidecar::perf
