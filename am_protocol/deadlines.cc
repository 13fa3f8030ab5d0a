#include "am_protocol/deadlines.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "core/check.h"

namespace sidecar {

Deadlines::Deadlines(DeadlineOwner& owner)
    : owner_(owner), fd_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
  CHECK(fd_ >= 0);
}

Deadlines::~Deadlines() { ::close(fd_); }

bool Deadlines::progress(int budget) {
  if (heap_.next() == kNever) return false;
  const TimeNs now = Loop::now_ns();
  bool fired = false;
  for (; budget > 0; --budget) {
    TimerNode* const node = heap_.pop_due(now);
    if (node == nullptr) break;
    owner_.on_deadline(*node);
    fired = true;
  }
  return fired;
}

// Setting the kernel's timer also makes its descriptor unreadable again. It is left alone while it would only
// fire too early: one more wake-up is cheaper than a system call per connection.
bool Deadlines::arm() {
  const TimeNs next = heap_.next();
  if (next == kNever && armed_ == kNever) return true;
  const TimeNs now = Loop::now_ns();
  if (next <= now) return false;
  if (armed_ > now && armed_ <= next) return true;
  armed_ = next;
  itimerspec spec{};  // all zero: disarmed
  if (next != kNever) {
    spec.it_value.tv_sec = static_cast<time_t>(next / kSecond);
    spec.it_value.tv_nsec = static_cast<long>(next % kSecond);
  }
  CHECK(timerfd_settime(fd_, TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
  return true;
}

}  // namespace sidecar
