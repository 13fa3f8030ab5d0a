// Memory and wake-ups shared by the processes of one measurement. All wait in the kernel, so that a waiting
// process takes no time from the ones that are measured.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace sidecar::perf {

// CLOCK_MONOTONIC: the same for all processes of a machine.
inline std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

inline void sleep_ns(std::uint64_t ns) {
  const timespec time{static_cast<time_t>(ns / 1'000'000'000u), static_cast<long>(ns % 1'000'000'000u)};
  nanosleep(&time, nullptr);
}

// A number that only grows; other processes wait until it is large enough.
class SharedCounter {
 public:
  void set(std::uint32_t value) {
    value_.store(value, std::memory_order_release);
    wake();
  }
  void increment() {
    value_.fetch_add(1, std::memory_order_release);
    wake();
  }
  [[nodiscard]] std::uint32_t get() const { return value_.load(std::memory_order_acquire); }
  // False: not within ten seconds, so whoever should count is gone.
  [[nodiscard]] bool wait_for(std::uint32_t at_least) {
    const std::uint64_t until = monotonic_ns() + 10'000'000'000u;
    for (std::uint32_t seen = get(); seen < at_least; seen = get()) {
      if (monotonic_ns() > until) return false;
      const timespec patience{1, 0};
      syscall(SYS_futex, &value_, FUTEX_WAIT, seen, &patience, nullptr, 0);
    }
    return true;
  }

 private:
  void wake() { syscall(SYS_futex, &value_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

  std::atomic<std::uint32_t> value_{0};
};
static_assert(sizeof(SharedCounter) == sizeof(std::uint32_t), "the kernel waits on this very word");

// One zeroed T in a file without a name; other processes open path().
template <class T>
class SharedPage {
 public:
  SharedPage() : fd_(memfd_create("shared-page", MFD_CLOEXEC)) {
    if (fd_ < 0 || ftruncate(fd_, sizeof(T)) != 0) fail();
    map();
  }
  explicit SharedPage(const char* path) : fd_(open(path, O_RDWR | O_CLOEXEC)) {
    if (fd_ < 0) fail();
    map();
  }
  ~SharedPage() {
    munmap(page_, sizeof(T));
    close(fd_);
  }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  T* operator->() { return page_; }
  T& operator*() { return *page_; }
  // A name by which any process of this user can open it while we live.
  [[nodiscard]] std::string path() const {
    return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_);
  }

 private:
  [[noreturn]] static void fail() {
    std::perror("shared page");
    std::abort();
  }
  void map() {
    void* const page = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (page == MAP_FAILED) fail();
    page_ = static_cast<T*>(page);
  }
  int fd_;
  T* page_ = nullptr;
};

}  // namespace sidecar::perf
