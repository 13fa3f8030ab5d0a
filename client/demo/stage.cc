#include "client/demo/stage.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "core/check.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

bool has_room(const char* folder, std::uint64_t bytes) {
  struct statvfs info{};
  return statvfs(folder, &info) == 0 && access(folder, W_OK) == 0 && info.f_bavail * info.f_frsize >= bytes;
}

// Holds nothing but the pipe's read end, so that nobody waits for it by accident.
[[noreturn]] void guard(int pipe, const std::string& folder) {
  setsid();  // a terminal's signals are not for it
  prctl(PR_SET_NAME, "demo-guard");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) close(fd);
  char byte = 0;
  while (read(pipe, &byte, 1) < 0 && errno == EINTR) {
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  _exit(0);
}

}  // namespace

Expected<std::unique_ptr<Stage>> Stage::open(std::uint64_t bytes, std::chrono::seconds time_limit) {
  const std::string fallback = std::filesystem::temp_directory_path().string();
  const std::string above = has_room("/dev/shm", bytes) ? "/dev/shm" : fallback;
  if (!has_room(above.c_str(), bytes)) {
    return Failure{
        Errc::kNoSpace, kNoRank,
        std::to_string(bytes >> 20) + " MiB are needed in /dev/shm or in " + fallback + ": make room"};
  }
  const std::string folder =
      above + "/sidecar-demo." + std::to_string(getpid()) + "." + std::to_string(std::random_device()());
  // The guard is there before the folder is, and the signals wait until somebody hears them.
  const sigset_t signals = ending_signals();
  CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  std::unique_ptr<Stage> stage(new Stage(folder, time_limit));
  if (mkdir(folder.c_str(), 0700) != 0) {
    return Failure{Errc::kIo, kNoRank, "cannot make " + folder + ": " + std::strerror(errno)};
  }
  return stage;
}

Stage::Stage(std::string folder, std::chrono::seconds time_limit)
    : folder_(std::move(folder)), ends_(Clock::now() + time_limit) {
  std::fflush(nullptr);
  int ends[2];
  CHECK(pipe2(ends, 0) == 0);  // the children inherit the write end
  const Fd read_end(ends[0]);
  alive_ = Fd(ends[1]);
  guard_ = fork();
  CHECK(guard_ >= 0);
  if (guard_ == 0) {
    alive_.reset();
    guard(read_end.get(), folder_);
  }
  watcher_ = std::thread([this] { watch(); });
}

Stage::~Stage() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    kill_children();
  }
  pthread_kill(watcher_.native_handle(),
               SIGTERM);  // it waits for it: NOLINT(bugprone-bad-signal-to-kill-thread)
  watcher_.join();
  wait_for_guard();
}

void Stage::kill_children() {
  for (Child& child : children_) child.signal(SIGKILL);
  for (Child& child : children_) {
    while (!child.reap()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Stage::wait_for_guard() {
  alive_.reset();
  while (waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// Hears the signals that end the demo; all other threads have them blocked.
void Stage::watch() {
  const sigset_t signals = ending_signals();
  int number = 0;
  for (auto left = ends_ - Clock::now(); number <= 0 && left.count() > 0; left = ends_ - Clock::now()) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left - seconds);
    const timespec wait{seconds.count(), nanoseconds.count()};
    number = sigtimedwait(&signals, nullptr, &wait);
  }
  const std::lock_guard lock(mutex_);  // until the end: nobody starts another process
  if (over_) return;
  kill_children();
  wait_for_guard();
  std::fprintf(stderr, "\nsidecar-demo: %s; its processes are stopped and its files removed\n",
               number > 0 ? "interrupted" : "FAILED: it takes too long");
  _exit(number > 0 ? 128 + number : EXIT_FAILURE);
}

Child& Stage::start(ChildOptions options) {
  const std::lock_guard lock(mutex_);
  return children_.emplace_back(std::move(options));
}

bool Stage::wait(Child& child, std::chrono::milliseconds wait_max) {
  const auto until = Clock::now() + wait_max;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (child.reap()) return true;
    }
    if (Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void Stage::signal(Child& child, int number) {
  const std::lock_guard lock(mutex_);
  child.signal(number);
}

}  // namespace sidecar::demo
