// A Loop driven by the test's own thread, the way a program with a poll loop of its own embeds it.
// Its end checks that every handle was closed: Loop aborts otherwise.
#pragma once

#include <poll.h>

#include <algorithm>

#include "core/loop.h"

namespace sidecar {

class TestLoop {
 public:
  explicit TestLoop(LoopOptions options = {}) : loop_(options) {}

  Loop& operator*() { return loop_; }
  Loop* operator->() { return &loop_; }
  Loop* get() { return &loop_; }

  // False: `done` was still false after `timeout`.
  template <class Done>
  bool run_until(Done&& done, TimeNs timeout = 10 * kSecond) {
    const TimeNs end = Loop::now_ns() + timeout;
    while (!done()) {
      const TimeNs now = Loop::now_ns();
      if (now >= end) return false;
      loop_.run_once(Wait::kNo);
      if (done()) break;
      const int wait_ms = loop_.backend_timeout_ms();
      if (wait_ms == 0) continue;
      const int left_ms = static_cast<int>((end - now) / kMillisecond) + 1;
      pollfd fd{loop_.backend_fd(), POLLIN, 0};
      ::poll(&fd, 1, wait_ms < 0 ? left_ms : std::min(wait_ms, left_ms));
    }
    return true;
  }

  // Steps without sleeping until there is nothing left to do.
  void run_until_idle() {
    do loop_.run_once(Wait::kNo);
    while (loop_.backend_timeout_ms() == 0);
  }

 private:
  Loop loop_;
};

}  // namespace sidecar
