// Keeps a client's registration alive: a thread of its own that asks the sidecar, and may block there,
// whoever makes the client's progress and however seldom. When the registration has ended, or its connection
// has, it makes a new one, under a new instance, and says so.
#pragma once

#include <signal.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "client/registration.h"

namespace sidecar::client_internal {

// What is asked of the sidecar; tests put their own here. All block for a bounded time.
struct RenewalCalls {
  std::function<Expected<Registered>(const RegisterInput& input)> enroll;
  std::function<Expected<void>(const Registered& registered, InstanceId instance,
                               const std::vector<InstanceId>& let_go)>
      renew;
  std::function<void(const Registered& registered, InstanceId instance)> unregister;
  std::function<void()> interrupt;  // ends the one under way early, and all that come
};
// Those that ask a real one.
RenewalCalls calls_to_sidecar();

class Renewal {
 public:
  struct Fresh {
    InstanceId instance = 0;
    Registered registered;
  };
  // Called on the renewal's thread.
  using OnFresh = std::function<void(Fresh fresh)>;

  // `input` made `first`. `again`: registers anew when that has ended.
  Renewal(RegisterInput input, Registered first, bool again, RenewalCalls calls, OnFresh on_fresh);
  // Stops, without waiting for a sidecar that does not answer.
  ~Renewal();
  Renewal(const Renewal&) = delete;
  Renewal& operator=(const Renewal&) = delete;

  // The connection of that instance has ended, and its registration with it; or it never came about. Ignored
  // when there is a newer one already. Any thread.
  void connection_lost(InstanceId instance, bool was_connected);
  // Of that earlier instance's connection nothing is looked at any more: the next renewal says so. Any
  // thread.
  void let_go(InstanceId instance);
  // Whether it registers anew when that has ended, or only renews what there is. Any thread.
  void set_again(bool again);

  // Told in one renewal.
  static constexpr std::size_t kLetGoMax = 256;
  // Between two attempts to register; twice as long, up to kPauseMax, after each of which no connection came.
  static constexpr std::chrono::milliseconds kPause{200};
  static constexpr std::chrono::milliseconds kPauseMax{3200};

 private:
  using Lock = std::unique_lock<std::mutex>;
  void run();
  void renew(Lock& lock);
  void enroll(Lock& lock);
  void pause(Lock& lock, std::chrono::nanoseconds time);

  RegisterInput input_;  // the thread's, like all up to mutex_
  Registered registered_;
  std::chrono::milliseconds pause_ = kPause;  // after the last registration
  const RenewalCalls calls_;
  const OnFresh on_fresh_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;     // under mutex_, like all below
  bool again_ = false;    // may register anew
  bool lost_ = false;     // and has to
  bool useless_ = false;  // the present registration: it cannot be connected with
  InstanceId instance_ = 0;
  std::vector<InstanceId> let_go_;

  std::thread thread_;
};

InstanceId random_instance();

// Signals are the application's business, on its own threads: those made while this lives block them all.
class SignalsBlocked {
 public:
  SignalsBlocked();
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace sidecar::client_internal
