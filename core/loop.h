// The one thread of a sidecar (or of a client): a libuv loop that drives event sources such as UCX workers.
//
// One step, before each poll: progress every source, run what was deferred (on_step), fire what is due
// (on_timer), and again while there is work, within bounds; then spin for a while, or let others have the
// core once, arm the sources and sleep. Callbacks of sources only record what happened; on_step acts on it.
// Nothing here allocates once sources and hooks are in place.
//
// Threads: everything is called on the loop's thread, which is the one that runs it (before that, the one
// that made it). Other threads go through a Mailbox.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "core/check.h"
#include "core/result.h"
#include "core/types.h"

struct uv_loop_s;

namespace sidecar {

// Something with a file descriptor that becomes readable when there is work.
class EventSource {
 public:
  virtual ~EventSource() = default;
  // Constant while the source is on a loop. Stays the source's.
  virtual int fd() = 0;
  // Does at most about `budget` units of work. True: it did something, or work is left; it is called again
  // before the loop sleeps.
  virtual bool progress(int budget) = 0;
  // Called right before sleeping. True: from now on work makes fd() readable. False: work has come meanwhile.
  virtual bool arm() = 0;
  // The rest that a successful arm() began is over: fd() became readable, or somebody is about to look
  // without asking it. A source that was armed and heard nothing since may skip what progress() and arm()
  // cost; it would otherwise pay that whenever another source wakes the loop.
  virtual void wake() {}
};

enum class PollPolicy : std::uint8_t {
  kEvent,     // sleep as soon as there is nothing to do
  kAdaptive,  // first spin for `spin_ns` after the last work: lower latency for some CPU time
  kBusy,      // never sleep: a core for lowest latency
};
const char* poll_policy_name(PollPolicy policy);
// "event", "adaptive" or "busy".
Result<PollPolicy> parse_poll_policy(std::string_view name);

struct LoopOptions {
  PollPolicy policy = PollPolicy::kEvent;
  TimeNs spin_ns = 50'000;
  int budget = 64;  // given to EventSource::progress
};

// What the owner wants to be asked. Each may be empty.
struct LoopHooks {
  // After the sources' progress: deferred sends, closes, completions. True: it did something, or work is
  // left.
  std::function<bool()> on_step;
  // When on_timer should next be called, or kNever. Asked every step, so it must be cheap.
  std::function<TimeNs()> next_deadline;
  // now >= next_deadline(). Resolution 1 ms, never early.
  std::function<void(TimeNs now)> on_timer;
};

struct LoopStats {
  std::uint64_t steps = 0;
  TimeNs longest_step_ns = 0;  // between two sleeps: how long any event may have waited for us
  // The most CPU time of a step: what is missing from the above is time off the core. 0 before
  // reset_longest_step().
  TimeNs longest_step_cpu_ns = 0;
  TimeNs asleep_ns = 0;      // in poll, or while others had the core
  std::uint64_t yields = 0;  // of the core to others
};

enum class Wait : std::uint8_t { kNo, kYes };

class Loop {
 public:
  explicit Loop(LoopOptions options = {});
  // Closes everything that is still open. Mailboxes on this loop must be gone.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void set_hooks(LoopHooks hooks);
  // Not owned; remove before it ends. Neither may be called from a source's progress() or arm().
  void add_source(EventSource* source);
  void remove_source(EventSource* source);

  // Runs until stop().
  void run();
  // One step, and one poll unless the step found something to do (every 16th time even then, so that no
  // descriptor is forgotten). Wait::kYes sleeps in the poll.
  void run_once(Wait wait);
  // run() returns after the current step.
  void stop();

  // For a caller with a poll loop of its own: call run_once(Wait::kNo) until backend_timeout_ms() is not 0,
  // then sleep on backend_fd() (readable) for at most that long (-1: for ever), and begin again.
  [[nodiscard]] int backend_fd() const;
  [[nodiscard]] int backend_timeout_ms() const;
  // Something was deferred outside a step: the next sleep must be preceded by one.
  void kick();

  // Monotonic.
  [[nodiscard]] static TimeNs now_ns();

  // The handler replaces the process's own for these signals as long as the loop lives.
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler);

  // Calls `on_readable` once when `fd` (a pidfd, a pipe) is readable. The descriptor stays the caller's and
  // must be open until then or until unwatch(). kIo: the system cannot poll it.
  Result<std::uint64_t> watch(int fd, std::function<void()> on_readable);
  // A watch that has fired or is unknown is ignored.
  void unwatch(std::uint64_t id);

  [[nodiscard]] LoopStats stats() const;
  // Both of them. From then on steps' CPU time is taken, too: a system call for each.
  void reset_longest_step();

  [[nodiscard]] bool on_loop_thread() const;  // thread-safe
  [[nodiscard]] PollPolicy policy() const;
  // For core's own handles.
  [[nodiscard]] uv_loop_s* uv();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

#define CHECK_ON_LOOP(loop) CHECK((loop).on_loop_thread())

}  // namespace sidecar
