#include "sidecar/future.h"

namespace sidecar {
namespace {

thread_local int callbacks_running = 0;

}  // namespace

inline namespace api {
namespace detail {

InCallback::InCallback() { ++callbacks_running; }
InCallback::~InCallback() { --callbacks_running; }
bool InCallback::any() { return callbacks_running > 0; }

// Whether this is a callback cannot be left to the driver: a client that is ending has none any more.
bool StateBase::wait(std::chrono::nanoseconds wait_max) {
  if (ready()) return true;
  if (InCallback::any()) return false;
  const std::shared_ptr<Driver> driver = driver_.lock();
  if (driver != nullptr && !driver->may_wait()) return false;
  const bool for_ever = wait_max == kForever;
  const auto start = std::chrono::steady_clock::now();
  if (driver != nullptr && driver->driven_by_caller()) {
    while (!ready()) {
      const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - start;
      if (!for_ever && waited >= wait_max) return false;
      driver->drive(for_ever ? kForever : wait_max - waited);
    }
    return true;
  }
  std::unique_lock lock(mutex_);
  if (for_ever) {
    changed_.wait(lock, [this] { return ready(); });
    return true;
  }
  return changed_.wait_for(lock, wait_max, [this] { return ready(); });
}

void StateBase::cancel() {
  if (ready()) return;
  if (const std::shared_ptr<Driver> driver = driver_.lock(); driver != nullptr) driver->cancel(request_);
}

}  // namespace detail

std::string to_string(const Failure& failure) {
  std::string text = errc_name(failure.code);
  if (!failure.message.empty()) text += ": " + failure.message;
  if (failure.rank != kNoRank) text += " (rank " + std::to_string(failure.rank) + ")";
  for (const FailedRank& failed : failure.failed) {
    text += ", rank " + std::to_string(failed.rank) + " " + errc_name(failed.code);
  }
  return text;
}

}  // namespace api
}  // namespace sidecar
