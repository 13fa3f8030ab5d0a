#include "client/python/src/call.h"

#include <algorithm>

#include "client/python/src/process.h"
#include "core/log.h"

namespace sidecar::python {

namespace nb = nanobind;

bool CallState::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

bool CallState::wait_for(std::chrono::nanoseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return done_; });
}

void CallState::notify(std::shared_ptr<Completions> completions, std::uint64_t token) {
  {
    const std::lock_guard lock(mutex_);
    if (!done_) {
      watchers_.emplace_back(std::move(completions), token);
      return;
    }
  }
  completions->push(token);
}

void CallState::finish() {
  done_ = true;
  changed_.notify_all();
  for (const auto& [completions, token] : watchers_) completions->push(token);
  watchers_.clear();
}

template <class T>
CallStateOf<T>::~CallStateOf() {
  if (about_.empty() || !result_ || result_->has_value()) return;
  LOG_WARN_LIMITED("{} failed, and nobody looked: {}", about_, to_string(result_->error()));
}
template class CallStateOf<void>;
template class CallStateOf<View>;
template class CallStateOf<Buffer>;

Call::~Call() {
  if (state_ == nullptr) return;
  let_go(std::move(cancel_));
  let_go(std::move(state_));
}

bool Call::wait(double seconds) {
  using Seconds = std::chrono::duration<double>;
  using Clock = std::chrono::steady_clock;
  constexpr Seconds kLook{0.1};     // a signal's handler runs on this thread, and only between two waits
  constexpr double kLongest = 1e9;  // about 30 years
  check_not_forked();
  const Clock::time_point begin = Clock::now();
  const Seconds whole(seconds < 0 ? kLongest : std::min(seconds, kLongest));
  for (;;) {
    const Seconds left = whole - (Clock::now() - begin);
    const auto time =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::clamp(left, Seconds(0), kLook));
    bool over;
    {
      const WithoutGil free;
      over = state_->wait_for(time);
    }
    if (over) return true;
    if (left <= Seconds(0)) return false;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }
}

nb::object Call::result() {
  check_not_forked();
  if (!result_.is_valid()) {
    if (!state_->done()) throw nb::value_error("the call is not over");
    result_ = state_->take();
  }
  return result_;
}

void Call::cancel() {
  check_not_forked();
  const WithoutGil free;
  cancel_();
}

}  // namespace sidecar::python
