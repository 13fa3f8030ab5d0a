#include "client/renewal.h"

#include <pthread.h>

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

#include "core/log.h"

namespace sidecar::client_internal {
namespace {

// One that does not answer for so long is asked anew.
constexpr std::chrono::seconds kAttempt{2};

}  // namespace

RenewalCalls calls_to_sidecar() {
  auto interruption = std::make_shared<Interruption>();
  return {.enroll =
              [interruption](const RegisterInput& input) {
                return register_client(input, kAttempt, interruption.get());
              },
          .renew =
              [interruption](const Registered& registered, InstanceId instance,
                             const std::vector<InstanceId>& let_go) {
                return renew_client(registered, instance, let_go, kAttempt, interruption.get());
              },
          .unregister =
              [interruption](const Registered& registered, InstanceId instance) {
                unregister_client(registered, instance, interruption.get());
              },
          .interrupt = [interruption] { interruption->interrupt(); }};
}

Renewal::Renewal(RegisterInput input, Registered first, bool again, RenewalCalls calls, OnFresh on_fresh)
    : input_(std::move(input)),
      registered_(std::move(first)),
      calls_(std::move(calls)),
      on_fresh_(std::move(on_fresh)),
      again_(again),
      instance_(input_.instance) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

Renewal::~Renewal() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  calls_.interrupt();
  thread_.join();
}

void Renewal::connection_lost(InstanceId instance, bool was_connected) {
  const std::lock_guard lock(mutex_);
  if (instance != instance_) return;
  lost_ = true;
  useless_ = !was_connected;
  changed_.notify_all();
}

void Renewal::let_go(InstanceId instance) {
  const std::lock_guard lock(mutex_);
  let_go_.push_back(instance);
}

void Renewal::set_again(bool again) {
  const std::lock_guard lock(mutex_);
  again_ = again;
  changed_.notify_all();
}

void Renewal::run() {
  pthread_setname_np(pthread_self(), "sidecar-lease");
  Lock lock(mutex_);
  while (!stop_) {
    if (lost_ && again_)
      enroll(lock);
    else
      renew(lock);
  }
}

void Renewal::pause(Lock& lock, std::chrono::nanoseconds time) {
  changed_.wait_for(lock, time, [this] { return stop_; });
}

// When a third of the lease has passed, so that one renewal may fail.
void Renewal::renew(Lock& lock) {
  const std::chrono::nanoseconds lease = registered_.lease;
  const auto disturbed = [this] { return stop_ || (lost_ && again_); };
  const bool nothing_to_renew = lease.count() == 0 || lost_;
  if (nothing_to_renew) return changed_.wait(lock, disturbed);
  if (changed_.wait_for(lock, lease / 3, disturbed)) return;
  for (;;) {
    const InstanceId instance = instance_;
    const auto told = static_cast<std::ptrdiff_t>(std::min(let_go_.size(), kLetGoMax));
    const std::vector<InstanceId> let_go(let_go_.begin(), let_go_.begin() + told);
    lock.unlock();
    const Expected<void> renewed = calls_.renew(registered_, instance, let_go);
    lock.lock();
    if (renewed) let_go_.erase(let_go_.begin(), let_go_.begin() + told);
    if (renewed || disturbed()) return;
    if (renewed.code() == Errc::kNotFound || renewed.code() == Errc::kUnauthorized) {
      LOG_WARN("the sidecar of rank {} has ended this client's registration: {}", registered_.leader,
               renewed.error().message);
      lost_ = true;
      return;
    }
    LOG_DEBUG("cannot renew the lease: {}", renewed.error().message);
    pause(lock, std::min<std::chrono::nanoseconds>(lease / 6, std::chrono::seconds(1)));
    if (disturbed()) return;
  }
}

// Each attempt as another instance: a sidecar that stood still may serve an earlier one late, and must not
// take it for this one.
void Renewal::enroll(Lock& lock) {
  input_.instance = random_instance();
  const InstanceId before = instance_;
  const bool unregister = std::exchange(useless_, false);
  lock.unlock();
  if (unregister) calls_.unregister(registered_, before);  // or it stays until its lease ends
  Expected<Registered> registered = calls_.enroll(input_);
  lock.lock();
  if (stop_) return;
  if (!registered) {
    LOG_WARN_LIMITED("cannot register again: {}", registered.error().message);
    return pause(lock, kPause);
  }
  registered_ = std::move(*registered);
  instance_ = input_.instance;
  lost_ = false;
  lock.unlock();
  on_fresh_({input_.instance, registered_});
  lock.lock();
  pause_ = unregister ? std::min(pause_ * 2, kPauseMax) : kPause;
  pause(lock, pause_);
}

InstanceId random_instance() {
  std::random_device device;
  InstanceId instance = 0;
  while (instance == 0) instance = (InstanceId{device()} << 32) | device();
  return instance;
}

SignalsBlocked::SignalsBlocked() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace sidecar::client_internal
