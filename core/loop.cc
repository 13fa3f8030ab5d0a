#include "core/loop.h"

#include <time.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/uv_handle.h"
#include "core/yield_policy.h"

namespace sidecar {
namespace {

constexpr int kBusyPassesMax = 16;      // passes with work before other descriptors get their turn,
constexpr TimeNs kBusyNsMax = 100'000;  // or so much time: a pass over large payloads can take a millisecond
constexpr int kSpinPassesMax =
    64;  // the same for passes without work: an empty poll costs about as much as these
constexpr int kUnpolledMax = 16;  // run_once: steps in a row that leave the poll out
constexpr std::array<const char*, 3> kPolicyNames{"event", "adaptive", "busy"};

TimeNs thread_cpu_ns() {
  timespec now{};
  CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return static_cast<TimeNs>(now.tv_sec) * kSecond + static_cast<TimeNs>(now.tv_nsec);
}

}  // namespace

const char* poll_policy_name(PollPolicy policy) { return kPolicyNames[static_cast<std::size_t>(policy)]; }

Result<PollPolicy> parse_poll_policy(std::string_view name) {
  for (std::size_t i = 0; i < kPolicyNames.size(); ++i) {
    if (name == kPolicyNames[i]) return static_cast<PollPolicy>(i);
  }
  return fail(Errc::kInvalidArgument, "poll policy: not one of event, adaptive, busy");
}

class Loop::Impl {
 public:
  explicit Impl(LoopOptions options);
  ~Impl();

  void run(uv_run_mode mode);
  void add_source(EventSource* source);
  void remove_source(EventSource* source);
  void on_signals(std::initializer_list<int> signals, std::function<void(int)> handler);
  Result<std::uint64_t> watch(int fd, std::function<void()> on_readable);
  void unwatch(std::uint64_t id) { watches_.erase(id); }
  [[nodiscard]] int backend_timeout_ms() const;

  LoopStats stats;
  uv_loop_t uv;
  LoopOptions options;
  LoopHooks hooks;
  std::atomic<std::thread::id> thread{std::this_thread::get_id()};
  void reset_longest_step() {
    takes_cpu_time_ = true;
    cpu_ns_ = thread_cpu_ns();
    stats.longest_step_ns = stats.longest_step_cpu_ns = 0;
  }
  // Something happened outside a step: no sleep before another one. Every callback begins with it, which also
  // tells when the poll ended; uv's own idle-time metric would cost a second system call for each poll.
  void touch() {
    dirty_ = true;
    if (woke_ns_ == 0) woke_ns_ = now_ns();
  }

 private:
  struct Source {
    EventSource* source;
    UvHandle<uv_poll_t> poll;
  };
  struct Watch {
    Impl* loop;
    std::uint64_t id;
    std::function<void()> on_readable;
    UvHandle<uv_poll_t> poll;
  };

  void step();
  bool pass();
  void wake_sources() {
    for (const Source& s : sources_) s.source->wake();
  }
  bool arm();
  bool yield();
  void set_timer(TimeNs deadline);
  void set_idle(bool on);
  void begin_busy();
  void end_busy();
  static void on_watch(uv_poll_t* handle, int status, int events) noexcept;

  UvHandle<uv_prepare_t> prepare_;
  UvHandle<uv_idle_t> idle_;
  UvHandle<uv_timer_t> timer_;
  std::vector<Source> sources_;
  std::vector<UvHandle<uv_signal_t>> signals_;
  std::function<void(int)> on_signal_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Watch>> watches_;
  std::uint64_t next_watch_ = 1;

  bool dirty_ = true;
  bool in_sources_ = false;
  bool idle_on_ = false;
  bool once_ = false;     // run_once: the caller wants to look after each step that did something
  bool stepped_ = false;  // run_once: the step before the poll is over already
  int unpolled_ = 0;
  TimeNs last_work_ns_ = 0;
  bool yield_owed_ = false;  // something was done since the last one
  YieldPolicy yield_policy_;
  TimeNs armed_deadline_ = kNever;  // what timer_ is set to

  TimeNs step_end_ns_ = 0;  // of the last step; 0: the caller had the thread since
  TimeNs woke_ns_ = 0;      // of the first callback since then

  bool takes_cpu_time_ = false;
  TimeNs cpu_ns_ = 0;  // this thread's, at the end of the last step
};

Loop::Impl::Impl(LoopOptions o) : options(o) {
  CHECK(uv_loop_init(&uv) == 0);
  CHECK(prepare_.open(this, [this](uv_prepare_t* h) { return uv_prepare_init(&uv, h); }) == 0);
  CHECK(idle_.open(this, [this](uv_idle_t* h) { return uv_idle_init(&uv, h); }) == 0);
  CHECK(timer_.open(this, [this](uv_timer_t* h) { return uv_timer_init(&uv, h); }) == 0);
  const auto prepare = [](uv_prepare_t* h) noexcept {
    auto* const self = static_cast<Impl*>(h->data);
    if (!std::exchange(self->stepped_, false) || self->dirty_) self->step();
  };
  CHECK(uv_prepare_start(prepare_.get(), prepare) == 0);
}

Loop::Impl::~Impl() {
  watches_.clear();
  signals_.clear();
  sources_.clear();
  timer_.close();
  idle_.close();
  prepare_.close();
  // Closing takes one turn, for a signal that is just arriving a few. Never a wait: that could be for ever.
  for (int i = 0; i < 100 && uv_run(&uv, UV_RUN_NOWAIT) != 0; ++i) {
  }
  CHECK(uv_loop_close(&uv) == 0);  // somebody else's handle, such as a mailbox's, is still open
}

void Loop::Impl::run(uv_run_mode mode) {
  thread = std::this_thread::get_id();
  once_ = mode != UV_RUN_DEFAULT;
  step_end_ns_ = 0;  // the time since the last run is the caller's, not ours
  woke_ns_ = 0;
  if (takes_cpu_time_) cpu_ns_ = thread_cpu_ns();
  if (once_) {
    wake_sources();  // the caller may have slept on backend_fd()
    step();
    if (idle_on_ && ++unpolled_ < kUnpolledMax) return;
    unpolled_ = 0;
  }
  stepped_ = once_;
  uv_run(&uv, mode);
  end_busy();
}

// uv calls this right before it computes how long to sleep.
void Loop::Impl::step() {
  dirty_ = false;
  ++stats.steps;
  begin_busy();
  bool worked = false;
  for (int busy = 0, spun = 0;;) {
    if (pass()) {
      worked = yield_owed_ = true;
      last_work_ns_ = now_ns();
      if (++busy == kBusyPassesMax || last_work_ns_ - woke_ns_ > kBusyNsMax) {
        set_idle(true);
        break;
      }
      continue;
    }
    if (once_ && worked) {
      set_idle(true);  // return without sleeping; the next step decides about that
      break;
    }
    const bool spin = options.policy == PollPolicy::kBusy ||
                      (options.policy == PollPolicy::kAdaptive &&
                       now_ns() - last_work_ns_ < options.spin_ns && !sources_.empty());
    if (spin) {
      if (spun == 0) wake_sources();  // spinning is to look at everything, not only at what is readable
      if (++spun < kSpinPassesMax) continue;
      if (options.policy == PollPolicy::kAdaptive) yield();
      set_idle(true);
      break;
    }
    if (std::exchange(yield_owed_, false) && yield()) continue;
    set_timer(hooks.next_deadline ? hooks.next_deadline() : kNever);
    if (arm()) {
      set_idle(false);
      break;
    }
    if (++busy == kBusyPassesMax) {
      set_idle(true);
      break;
    }
  }
  end_busy();
  step_end_ns_ = now_ns();
}

// One round over everything that may have work. True: something was done or is left.
bool Loop::Impl::pass() {
  bool work = false;
  in_sources_ = true;
  for (const Source& s : sources_) work |= s.source->progress(options.budget);
  in_sources_ = false;
  if (hooks.next_deadline) {
    const TimeNs deadline = hooks.next_deadline();
    if (deadline != kNever) {
      const TimeNs now = now_ns();
      if (now >= deadline) {
        CHECK(hooks.on_timer != nullptr);
        hooks.on_timer(now);
        work = true;
      }
    }
  }
  if (hooks.on_step) work |= hooks.on_step();
  return work;
}

bool Loop::Impl::arm() {
  in_sources_ = true;
  // All are asked even when one has work already: an armed source may be progressed all the same.
  bool armed = true;
  for (const Source& s : sources_) armed &= s.source->arm();
  in_sources_ = false;
  return armed;
}

// False: not now.
bool Loop::Impl::yield() {
  const TimeNs begin = now_ns();
  if (!yield_policy_.wants(begin, begin - woke_ns_)) return false;
  end_busy();
  std::this_thread::yield();
  woke_ns_ = now_ns();
  yield_policy_.took(begin, woke_ns_);
  stats.asleep_ns += woke_ns_ - begin;
  ++stats.yields;
  return true;
}

void Loop::Impl::set_timer(TimeNs deadline) {
  if (deadline == armed_deadline_ &&
      uv_is_active(reinterpret_cast<uv_handle_t*>(timer_.get())) == (deadline != kNever)) {
    return;
  }
  armed_deadline_ = deadline;
  if (deadline == kNever) {
    CHECK(uv_timer_stop(timer_.get()) == 0);
    return;
  }
  uv_update_time(&uv);  // uv counts from its own idea of now, which is as old as this step
  const TimeNs now = now_ns();
  const TimeNs left = deadline > now ? deadline - now : 0;
  // The callback has nothing to do: the step that follows fires what is due.
  const auto fired = [](uv_timer_t* h) noexcept { static_cast<Impl*>(h->data)->touch(); };
  CHECK(uv_timer_start(timer_.get(), fired, (left + kMillisecond - 1) / kMillisecond, 0) == 0);
}

// An active idle handle makes uv poll without sleeping.
void Loop::Impl::set_idle(bool on) {
  if (on == idle_on_) return;
  idle_on_ = on;
  CHECK((on ? uv_idle_start(idle_.get(), [](uv_idle_t*) {}) : uv_idle_stop(idle_.get())) == 0);
}

// The thread is busy from the first callback after the poll (or the step, when there was none) to the step's
// end.
void Loop::Impl::begin_busy() {
  if (woke_ns_ == 0) woke_ns_ = now_ns();
  if (step_end_ns_ != 0) stats.asleep_ns += woke_ns_ - step_end_ns_;
}

void Loop::Impl::end_busy() {
  if (woke_ns_ != 0) {
    stats.longest_step_ns = std::max(stats.longest_step_ns, now_ns() - woke_ns_);
    if (takes_cpu_time_) {  // from end to end: the poll in between is awake for a moment only
      const TimeNs before = std::exchange(cpu_ns_, thread_cpu_ns());
      stats.longest_step_cpu_ns = std::max(stats.longest_step_cpu_ns, cpu_ns_ - before);
    }
  }
  woke_ns_ = 0;
}

void Loop::Impl::add_source(EventSource* source) {
  CHECK(!in_sources_);
  UvHandle<uv_poll_t> poll;
  CHECK(poll.open(this, [&](uv_poll_t* h) { return uv_poll_init(&uv, h, source->fd()); }) == 0);
  // Nothing else to do when it is readable: the next step asks every source.
  const auto readable = [](uv_poll_t* h, int status, int) noexcept {
    CHECK(status == 0);  // uv has given up on the descriptor: nothing would ever wake us again
    auto* const self = static_cast<Impl*>(h->data);
    self->touch();
    for (const Source& s : self->sources_) {
      if (s.poll.get() == h) s.source->wake();
    }
  };
  CHECK(uv_poll_start(poll.get(), UV_READABLE, readable) == 0);
  sources_.push_back({source, std::move(poll)});
}

void Loop::Impl::remove_source(EventSource* source) {
  CHECK(!in_sources_);
  CHECK(std::erase_if(sources_, [&](const Source& s) { return s.source == source; }) == 1);
}

void Loop::Impl::on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) {
  signals_.clear();
  on_signal_ = std::move(handler);
  for (const int number : signals) {
    UvHandle<uv_signal_t> signal;
    CHECK(signal.open(this, [this](uv_signal_t* h) { return uv_signal_init(&uv, h); }) == 0);
    const auto arrived = [](uv_signal_t* h, int n) noexcept {
      auto* self = static_cast<Impl*>(h->data);
      self->touch();
      self->on_signal_(n);
    };
    CHECK(uv_signal_start(signal.get(), arrived, number) == 0);
    signals_.push_back(std::move(signal));
  }
}

Result<std::uint64_t> Loop::Impl::watch(int fd, std::function<void()> on_readable) {
  auto watch = std::make_unique<Watch>(Watch{this, next_watch_, std::move(on_readable), {}});
  int code = watch->poll.open(watch.get(), [&](uv_poll_t* h) { return uv_poll_init(&uv, h, fd); });
  if (code == 0) code = uv_poll_start(watch->poll.get(), UV_READABLE, on_watch);
  if (code != 0) {
    return fail(Errc::kIo, "this descriptor cannot be watched", kNoRank, static_cast<std::uint64_t>(-code));
  }
  watches_.emplace(next_watch_, std::move(watch));
  return next_watch_++;
}

// An error on the descriptor counts as readable: whoever reads it finds out.
void Loop::Impl::on_watch(uv_poll_t* handle, int, int) noexcept {
  auto* watch = static_cast<Watch*>(handle->data);
  Impl* self = watch->loop;
  self->touch();
  const auto on_readable = std::move(watch->on_readable);
  self->watches_.erase(watch->id);  // first: the callback may close the descriptor or watch it again
  on_readable();
}

int Loop::Impl::backend_timeout_ms() const {
  if (dirty_ || idle_on_) return 0;
  if (armed_deadline_ == kNever) return -1;
  const TimeNs now = now_ns();
  if (armed_deadline_ <= now) return 0;
  constexpr TimeNs kLongest = 3'600'000;
  return static_cast<int>(std::min((armed_deadline_ - now + kMillisecond - 1) / kMillisecond, kLongest));
}

Loop::Loop(LoopOptions options) : impl_(std::make_unique<Impl>(options)) {}
Loop::~Loop() = default;

void Loop::set_hooks(LoopHooks hooks) {
  impl_->hooks = std::move(hooks);
  impl_->touch();
}
void Loop::add_source(EventSource* source) {
  impl_->add_source(source);
  impl_->touch();
}
void Loop::remove_source(EventSource* source) { impl_->remove_source(source); }
void Loop::run() { impl_->run(UV_RUN_DEFAULT); }
void Loop::run_once(Wait wait) { impl_->run(wait == Wait::kYes ? UV_RUN_ONCE : UV_RUN_NOWAIT); }
void Loop::stop() { uv_stop(&impl_->uv); }
int Loop::backend_fd() const { return uv_backend_fd(&impl_->uv); }
int Loop::backend_timeout_ms() const { return impl_->backend_timeout_ms(); }
void Loop::kick() { impl_->touch(); }
TimeNs Loop::now_ns() { return uv_hrtime(); }
void Loop::on_signals(std::initializer_list<int> signals, std::function<void(int)> handler) {
  impl_->on_signals(signals, std::move(handler));
}
Result<std::uint64_t> Loop::watch(int fd, std::function<void()> on_readable) {
  impl_->touch();  // uv registers a new descriptor with the kernel when it next polls
  return impl_->watch(fd, std::move(on_readable));
}
void Loop::unwatch(std::uint64_t id) { impl_->unwatch(id); }
LoopStats Loop::stats() const { return impl_->stats; }
void Loop::reset_longest_step() { impl_->reset_longest_step(); }
bool Loop::on_loop_thread() const { return impl_->thread.load() == std::this_thread::get_id(); }
PollPolicy Loop::policy() const { return impl_->options.policy; }
uv_loop_s* Loop::uv() { return &impl_->uv; }

}  // namespace sidecar
