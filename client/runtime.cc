#include "client/runtime.h"

#include <pthread.h>

#include <algorithm>
#include <stop_token>
#include <utility>

#include "client/arguments.h"
#include "core/log.h"

namespace sidecar::client_internal {

Runtime::Runtime(const ClientOptions& options, const RegisterInput& input, Registered registered)
    : options_(options),
      place_(place_of(options.rank, options.group, options.concurrent_copy)),
      input_(input),
      instance_(input.instance),
      registered_(std::make_shared<const Registered>(std::move(registered))) {}

Runtime::~Runtime() {
  if (unregister_) unregister_client(*registered_, instance_);
}

Expected<std::shared_ptr<Runtime>> Runtime::open(const ClientOptions& given) {
  ClientOptions options = given;
  if (const Failure failure = complete(options); failure.code != Errc::kOk) return failure;
  Expected<RegisterInput> input = register_input(options);
  if (!input) return input.error();
  input->instance = random_instance();
  input->ucx_version = ucx_version();
  Interruption interruption;
  const std::stop_callback on_stop(options.give_up, [&] { interruption.interrupt(); });
  Expected<Registered> registered = register_client(*input, options.connect_deadline, &interruption);
  if (!registered && options.give_up.stop_requested())
    return Failure{Errc::kCancelled, options.rank, "its caller gave up waiting for the sidecar"};
  if (!registered) return registered.error();

  const std::shared_ptr<Runtime> runtime(new Runtime(options, *input, std::move(*registered)),
                                         &Runtime::dispose);
  Failure failure;
  if (options.progress == Progress::kCaller) {
    failure = runtime->set_up();
  } else {
    std::promise<Failure> opened;
    {
      const SignalsBlocked blocked;
      runtime->thread_ = std::thread([&opened, self = runtime.get()] { self->run_thread(&opened); });
    }
    failure = opened.get_future().get();
  }
  if (failure.code != Errc::kOk) return failure;
  return runtime;
}

void Runtime::run_thread(std::promise<Failure>* opened) {
  pthread_setname_np(pthread_self(), "sidecar-client");
  const Failure failure = set_up();
  const bool failed = failure.code != Errc::kOk;
  if (failed) tear_down();  // before anybody else is told, who would look at the mailbox meanwhile
  opened->set_value(failure);
  if (failed) return;
  loop_->run();
  tear_down();
  if (dispose_self_) delete this;
}

// The last reference is gone: nobody else can reach this object, except our own thread.
void Runtime::dispose(Runtime* runtime) {
  runtime->closing_ = true;
  if (runtime->options_.progress == Progress::kCaller) {
    runtime->tear_down();
  } else if (runtime->thread_.joinable()) {
    if (runtime->thread_.get_id() == std::this_thread::get_id()) {
      runtime->dispose_self_ = true;
      runtime->thread_.detach();
      runtime->loop_->stop();
      return;
    }
    // Nothing is posted after this, so there is room; without a mailbox the thread has ended already.
    while (runtime->mailbox_ != nullptr && !runtime->mailbox_->post([runtime] { runtime->loop_->stop(); })) {
      std::this_thread::yield();
    }
    runtime->thread_.join();
  }
  delete runtime;
}

// --- calls
// ------------------------------------------------------------------------------------------------------------

void Runtime::submit(std::unique_ptr<Op> op, std::unique_ptr<Message> message, ConstBytes payload) {
  if (closing_) {
    fail_op(*op, {Errc::kUnavailable, rank(), "the client was closed"});
    return;
  }
  hand_over({std::move(op), std::move(message), payload, 0});
}

GpuRoute Runtime::gpu_route() const {
  const std::shared_ptr<const Registered> registered = [this] {
    const std::lock_guard lock(mutex_);
    return registered_;
  }();
  GpuRoute route;
  route.gpus = registered->gpus;
  route.keep = registered;
  // No other machine has a GPU of the same UUID: a node's name may only say no.
  route.same_node = options_.node.empty() || options_.node == registered->node;
  route.version = session_->version();
  route.own = this;
  return route;
}

void Runtime::cancel(std::uint64_t request) { hand_over({nullptr, nullptr, {}, request}); }

void Runtime::hand_over(Submission submission) {
  if (driven_by_caller() || loop_->on_loop_thread()) {
    take_submissions();  // handed over earlier by other threads: a cancel may be meant for one of them
    start(submission);
    loop_->kick();
    return;
  }
  bool wake;
  {
    const std::lock_guard lock(mutex_);
    wake = submissions_.empty();
    submissions_.push_back(std::move(submission));
  }
  if (wake) CHECK(mailbox_->post([this] { take_submissions(); }));  // at most one of these is in it
}

void Runtime::take_submissions() {
  std::vector<Submission> taken;
  {
    const std::lock_guard lock(mutex_);
    taken.swap(submissions_);
  }
  for (Submission& submission : taken) start(submission);
}

void Runtime::start(Submission& submission) {
  if (submission.op == nullptr) {
    if (auto waiting = waiting_.take_request(submission.cancel))
      fail_op(*waiting->op, {Errc::kCancelled, rank(), "cancelled by the caller"});
    else
      session_->cancel(submission.cancel);
  } else if (options_.reconnect && !closing_ && !session_->up()) {
    await_home(std::move(submission));
  } else {
    session_->start(std::move(submission.op), *submission.message, submission.payload);
  }
}

void Runtime::close() {
  if (closing_.exchange(true)) return;
  renewal_->set_again(false);
  if (driven_by_caller()) {
    if (in_step_) {
      close_wanted_ = true;  // not under the feet of whoever runs the callback
    } else {
      end_calls();
      drive_until(Loop::now_ns() + kSecond, [this] { return session_->under_way() == 0; });
    }
  } else if (loop_->on_loop_thread()) {
    CHECK(mailbox_->post([this] { end_calls(); }));
  } else {
    CHECK(mailbox_->post([this] {
      take_submissions();
      end_calls();
    }));
  }
}

// Callbacks run in here, and must not run the loop again.
void Runtime::end_calls() {
  const bool before = std::exchange(in_step_, true);
  const Failure closed{Errc::kCancelled, rank(), "the client was closed"};
  session_->end_all(closed);
  while (auto waiting = waiting_.take(Loop::now_ns())) fail_op(*waiting->op, closed);
  in_step_ = before;
}

// Batched: the first one wakes the loop, and all that gather until it has woken go together.
void Runtime::gave_up(std::size_t pending) {
  if (driven_by_caller()) {
    if (pending >= ReleaseQueue::kFlushAt && !in_step_) session_->step();
    loop_->kick();
  } else if (loop_->on_loop_thread()) {
    loop_->kick();
  } else if (pending == 1) {
    CHECK(mailbox_->post([] {}));
  }
}

// --- progress by the caller
// ---------------------------------------------------------------------------------------------

bool Runtime::may_wait() const { return driven_by_caller() ? !in_step_ : !loop_->on_loop_thread(); }

void Runtime::step(Wait wait) {
  in_step_ = true;
  loop_->run_once(wait);
  in_step_ = false;
  if (std::exchange(close_wanted_, false)) end_calls();
}

void Runtime::drive(std::chrono::nanoseconds wait_max) {
  if (!may_wait()) return;
  const TimeNs now = Loop::now_ns();
  const auto wait = static_cast<TimeNs>(std::max<std::int64_t>(wait_max.count(), 0));
  wake_at_ = wait > kNever - now ? kNever : now + wait;
  step(wait == 0 ? Wait::kNo : Wait::kYes);
  wake_at_ = kNever;
}

// What woke the first step is dealt with by the next ones.
void Runtime::poll(std::chrono::nanoseconds wait_max) {
  if (!driven_by_caller() || in_step_) return;
  drive(wait_max);
  constexpr int kStepsMax = 64;
  for (int i = 0; i < kStepsMax && loop_->policy() != PollPolicy::kBusy && loop_->backend_timeout_ms() == 0;
       ++i) {
    step(Wait::kNo);
  }
}

int Runtime::fd() const { return driven_by_caller() ? loop_->backend_fd() : -1; }

std::chrono::nanoseconds Runtime::poll_within() const {
  if (!driven_by_caller()) return kForever;
  const int timeout_ms = loop_->backend_timeout_ms();
  return timeout_ms < 0 ? kForever : std::chrono::milliseconds(timeout_ms);
}

}  // namespace sidecar::client_internal
