// Event sources for tests of the loop, and shorthands for its hooks.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <utility>

#include "core/check.h"
#include "core/loop.h"

namespace sidecar {

// Work is a counter in an eventfd, as a UCX worker's is in its queues: any thread adds, progress() takes.
class Counter : public EventSource {
 public:
  Counter() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { CHECK(fd_ >= 0); }
  ~Counter() override { close(fd_); }
  void add(std::uint64_t count) { CHECK(write(fd_, &count, sizeof(count)) == sizeof(count)); }

  int fd() override { return fd_; }
  bool progress(int) override {
    ++progressed;
    std::uint64_t count = 0;
    if (read(fd_, &count, sizeof(count)) != sizeof(count)) return false;
    taken += count;
    return true;
  }
  bool arm() override {
    ++armed;
    return true;
  }

  std::uint64_t taken = 0;
  int progressed = 0;
  int armed = 0;

 private:
  int fd_;
};

// Its descriptor never says anything: work is found by progress() and arm() alone.
class Silent : public Counter {
 public:
  bool progress(int budget) override {
    ++progressed;
    seen_budget = budget;
    if (work == 0) return false;
    --work;
    ++done;
    return true;
  }
  bool arm() override {
    ++armed;
    if (arrives_before_arm > 0) {
      --arrives_before_arm;
      ++work;
      return false;
    }
    return true;
  }
  int work = 0;
  int done = 0;
  int arrives_before_arm = 0;
  int seen_budget = 0;
};

inline LoopHooks on_step(std::function<bool()> step) {
  return {.on_step = std::move(step), .next_deadline = {}, .on_timer = {}};
}

inline LoopHooks timer(TimeNs* deadline, std::function<void(TimeNs)> fired) {
  return {.on_step = {}, .next_deadline = [deadline] { return *deadline; }, .on_timer = std::move(fired)};
}

}  // namespace sidecar
