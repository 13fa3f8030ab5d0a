// The transport's timers as an event source of their own, so that they need nothing of the loop but its
// sleep.
#pragma once

#include "core/loop.h"
#include "core/timer_heap.h"

namespace sidecar {

class DeadlineOwner {
 public:
  virtual void on_deadline(TimerNode& node) = 0;

 protected:
  ~DeadlineOwner() = default;
};

class Deadlines final : public EventSource {
 public:
  explicit Deadlines(DeadlineOwner& owner);
  ~Deadlines() override;
  Deadlines(const Deadlines&) = delete;
  Deadlines& operator=(const Deadlines&) = delete;

  void set_in(TimerNode& node, TimeNs delay) { heap_.set(node, Loop::now_ns() + delay); }
  void cancel(TimerNode& node) { heap_.cancel(node); }

  // EventSource
  int fd() override { return fd_; }
  bool progress(int budget) override;
  bool arm() override;

 private:
  DeadlineOwner& owner_;
  TimerHeap heap_;
  int fd_;
  TimeNs armed_ = kNever;  // what the kernel's timer is set to
};

}  // namespace sidecar
