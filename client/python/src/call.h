// One call as Python holds it: to be waited for on any thread, by any number of event loops, or not at all.
//
// The library's thread brings the result and never takes the GIL for it.
#pragma once

#include <nanobind/nanobind.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/python/src/completions.h"
#include "sidecar/client.h"

namespace sidecar::python {

// A call's result as a Python object: None, a Chunk, a Buffer, or a Failure.
nanobind::object to_python(Expected<void>&& result);
nanobind::object to_python(Expected<View>&& result);
nanobind::object to_python(Expected<Buffer>&& result);

// Shared with the library, which sets it.
class CallState {
 public:
  virtual ~CallState() = default;
  [[nodiscard]] bool done() const;
  // Over, with kInvalidArgument. Asking is no look at the result.
  [[nodiscard]] virtual bool refused() const = 0;
  bool wait_for(std::chrono::nanoseconds time);
  // When it is done, or now if it is.
  void notify(std::shared_ptr<Completions> completions, std::uint64_t token);
  // The result, once. Holding the GIL.
  virtual nanobind::object take() = 0;

 protected:
  void finish();  // with mutex_ held
  mutable std::mutex mutex_;
  bool done_ = false;

 private:
  std::condition_variable changed_;
  std::vector<std::pair<std::shared_ptr<Completions>, std::uint64_t>> watchers_;
};

template <class T>
class CallStateOf final : public CallState {
 public:
  // `about`: if the call fails and nobody looks, the log says so in these words; empty: it does not.
  explicit CallStateOf(std::string about = "") : about_(std::move(about)) {}
  ~CallStateOf() override;
  void set(Expected<T>&& result) {
    const std::lock_guard lock(mutex_);
    result_.emplace(std::move(result));
    finish();
  }
  [[nodiscard]] bool refused() const override {
    const std::lock_guard lock(mutex_);
    return result_ && !*result_ && result_->error().code == Errc::kInvalidArgument;
  }
  nanobind::object take() override {
    Expected<T> result = [this] {
      const std::lock_guard lock(mutex_);
      about_.clear();
      Expected<T> taken = std::move(*result_);
      result_.reset();
      return taken;
    }();
    return to_python(std::move(result));
  }

 private:
  std::optional<Expected<T>> result_;
  std::string about_;
};

class Call {
 public:
  Call(std::shared_ptr<CallState> state, std::function<void()> cancel)
      : state_(std::move(state)), cancel_(std::move(cancel)) {}
  ~Call();
  Call(Call&&) = default;

  template <class T>
  static Call of(Future<T> future, std::string about = "");

  [[nodiscard]] bool done() const { return state_->done(); }
  [[nodiscard]] bool refused() const { return state_->refused(); }
  // Releases the GIL; looks now and then whether a signal has come, whose handler may raise. `seconds` < 0:
  // until it is done. True: it is.
  bool wait(double seconds);
  // When it is done: always the same object.
  nanobind::object result();
  void cancel();
  void notify(const std::shared_ptr<Completions>& completions, std::uint64_t token) {
    state_->notify(completions, token);
  }

 private:
  std::shared_ptr<CallState> state_;
  std::function<void()> cancel_;
  nanobind::object result_;
};

template <class T>
Call Call::of(Future<T> future, std::string about) {
  auto state = std::make_shared<CallStateOf<T>>(std::move(about));
  auto shared = std::make_shared<Future<T>>(std::move(future));
  shared->then([state](Expected<T> result) { state->set(std::move(result)); });
  return Call(std::move(state), [shared] { shared->cancel(); });
}

}  // namespace sidecar::python
