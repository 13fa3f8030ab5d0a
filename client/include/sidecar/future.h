// The result of a call that is still on its way.
//
// Threads: a Future may be moved to and waited for on any thread when the client has its own
// (Progress::kThread). With Progress::kCaller it belongs to the driving thread, and waiting drives the loop.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "sidecar/failure.h"

namespace sidecar {
inline namespace api {

inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

namespace detail {

// What a waiting caller needs of the client behind it.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual bool may_wait() const = 0;  // false inside a callback: waiting there would wait for itself
  virtual bool driven_by_caller() const = 0;
  virtual void drive(std::chrono::nanoseconds wait_max) = 0;
  virtual void cancel(std::uint64_t request) = 0;
};

class StateBase {
 public:
  StateBase(std::weak_ptr<Driver> driver, std::uint64_t request)
      : driver_(std::move(driver)), request_(request) {}
  [[nodiscard]] bool ready() const { return ready_.load(std::memory_order_acquire); }
  bool wait(std::chrono::nanoseconds wait_max);
  void cancel();

 protected:
  ~StateBase() = default;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> ready_{false};

 private:
  std::weak_ptr<Driver> driver_;
  std::uint64_t request_ = 0;
};

// While it lives, this thread runs a callback: nothing may be waited for on it.
class InCallback {
 public:
  InCallback();
  ~InCallback();
  InCallback(const InCallback&) = delete;
  InCallback& operator=(const InCallback&) = delete;
  [[nodiscard]] static bool any();  // of this thread
};

template <class T>
class State final : public StateBase {
 public:
  using StateBase::StateBase;

  // Exactly once.
  void set(Expected<T> value) {
    std::function<void(Expected<T>)> then;
    {
      const std::lock_guard lock(mutex_);
      then = std::move(then_);
      if (!then) value_.emplace(std::move(value));
      ready_.store(true, std::memory_order_release);
      changed_.notify_all();
    }
    if (!then) return;
    const InCallback guard;
    then(std::move(value));  // NOLINT(bugprone-use-after-move): moved from only without a callback
  }

  void then(std::function<void(Expected<T>)> callback) {
    std::optional<Expected<T>> value;
    {
      const std::lock_guard lock(mutex_);
      if (!value_) {
        then_ = std::move(callback);
        return;
      }
      value.swap(value_);
    }
    callback(std::move(*value));
  }

  Expected<T> take() {
    const std::lock_guard lock(mutex_);
    Expected<T> value = std::move(*value_);
    value_.reset();
    return value;
  }

 private:
  std::optional<Expected<T>> value_;
  std::function<void(Expected<T>)> then_;
};

}  // namespace detail

template <class T>
class [[nodiscard]] Future {
 public:
  Future() = default;
  explicit Future(std::shared_ptr<detail::State<T>> state) : state_(std::move(state)) {}
  Future(Future&&) = default;
  Future& operator=(Future&&) = default;
  Future(const Future&) = delete;
  Future& operator=(const Future&) = delete;

  // False once the result was taken (get, then) or when there never was a call.
  [[nodiscard]] bool valid() const { return state_ != nullptr && !called_back_; }
  [[nodiscard]] bool ready() const { return state_->ready(); }

  // True when the result is there. The call goes on when it is not. Always false inside a callback.
  bool wait(std::chrono::nanoseconds wait_max = kForever) { return state_->wait(wait_max); }

  // Waits for the result and takes it. Every call has a deadline, so this ends.
  Expected<T> get() {
    if (!state_->wait(kForever)) {
      return Failure{Errc::kInvalidArgument, kNoRank, "get() inside a callback would wait for itself"};
    }
    return std::exchange(state_, nullptr)->take();
  }

  // Calls back with the result: at once when it is there, otherwise on the client's thread
  // (Progress::kThread) or in the caller's poll (Progress::kCaller). The callback must not block and must not
  // wait for another result.
  void then(std::function<void(Expected<T>)> callback) {
    called_back_ = true;
    const std::shared_ptr<detail::State<T>> state = state_;  // the callback may destroy this future
    state->then(std::move(callback));
  }

  // Asks for an early end with kCancelled, also after then(). The result may still be a success that was
  // already under way. After the result was taken it does nothing.
  void cancel() {
    if (state_ != nullptr) state_->cancel();
  }

 private:
  std::shared_ptr<detail::State<T>> state_;
  bool called_back_ = false;
};

}  // namespace api
}  // namespace sidecar
