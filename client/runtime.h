// A session with everything it runs on: the loop, the transport, the registration and, with
// Progress::kThread, the thread.
//
// When its sidecar is lost, or has ended the registration, the Runtime registers and connects again by itself
// (runtime_away.cc), unless it is told not to: as another instance, on the same loop, transport and session.
//
// Ownership: the Client, its views and its unsent buffers hold a Runtime together. Whoever lets go last ends
// it: goodbye to the sidecar, the thread joined, the registration given back. When that happens inside a
// callback, on the client's own thread, the thread does it by itself after the callback.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "am_protocol/transport.h"
#include "client/gpu_parcel.h"
#include "client/parcel.h"
#include "client/renewal.h"
#include "client/session.h"
#include "client/waiting_calls.h"
#include "core/loop.h"
#include "core/mailbox.h"
#include "sidecar/options.h"

namespace sidecar::client_internal {

class Runtime final : public detail::Driver, public Keeper, public std::enable_shared_from_this<Runtime> {
 public:
  // Registers, connects and starts the thread.
  static Expected<std::shared_ptr<Runtime>> open(const ClientOptions& options);

  // A call's number, for its Op and its future.
  std::uint64_t next_request() { return next_request_.fetch_add(1, std::memory_order_relaxed); }
  void submit(std::unique_ptr<Op> op, std::unique_ptr<Message> message, ConstBytes payload);
  // Ends the calls under way; from now on all fail. Views and buffers stay usable.
  void close();

  [[nodiscard]] const ClientOptions& options() const { return options_; }  // rank and group complete, sorted
  [[nodiscard]] GpuRoute gpu_route() const;                                // without a way to allocate
  [[nodiscard]] Place place() const { return place_; }
  [[nodiscard]] Rank rank() const { return options_.group.front(); }
  [[nodiscard]] bool maps_arena() const { return maps_arena_; }
  [[nodiscard]] bool connected() const { return !closing_ && session_->up(); }
  [[nodiscard]] int fd() const;
  [[nodiscard]] std::chrono::nanoseconds poll_within() const;
  void poll(std::chrono::nanoseconds wait_max);

  // detail::Driver
  bool may_wait() const override;
  bool driven_by_caller() const override { return options_.progress == Progress::kCaller; }
  void drive(std::chrono::nanoseconds wait_max) override;
  void cancel(std::uint64_t request) override;

  // Keeper; any thread.
  void give_up_view(std::uint64_t view, Epoch epoch) override {
    gave_up(session_->releases().add_view(view, epoch));
  }
  void give_up_slot(std::uint64_t slot, Epoch epoch) override {
    gave_up(session_->releases().add_slot(slot, epoch));
  }

 private:
  static constexpr TimeNs kConnectNs = 5 * kSecond;  // for one attempt to connect again

  Runtime(const ClientOptions& options, const RegisterInput& input, Registered registered);
  ~Runtime() override;
  static void dispose(Runtime* runtime);

  // runtime_link.cc, on the loop's thread
  // Both: kOk when connected.
  Failure set_up();
  Failure connect(bool local, TimeNs until);
  [[nodiscard]] Hello hello() const;
  void set_hooks();
  void tear_down();

  // runtime_away.cc, on the loop's thread
  void start_renewal();
  void on_fresh(Renewal::Fresh fresh);
  bool check_home();
  void connect_again();
  Status choose_way();
  void start_waiting();
  void await_home(Submission submission);
  void end_late_calls(TimeNs now);

  void run_thread(std::promise<Failure>* opened);
  void hand_over(Submission submission);
  void take_submissions();
  void start(Submission& submission);
  void gave_up(std::size_t pending);
  void end_calls();
  // Runs the loop once, noting that callbacks may be running.
  void step(Wait wait);
  template <class Done>
  void drive_until(TimeNs until, Done done) {
    while (!done() && Loop::now_ns() < until) {
      wake_at_ = until;
      step(Wait::kYes);
    }
    wake_at_ = kNever;
  }

  const ClientOptions options_;
  const Place place_;
  const RegisterInput input_;  // of the first registration
  std::atomic<std::uint64_t> next_request_{1};
  std::atomic<bool> closing_{false};
  std::atomic<bool> maps_arena_{false};

  // The loop's thread's.
  InstanceId instance_;
  bool opened_ = false;            // it was connected once
  bool local_ = false;             // the way it is connected,
  bool prefers_local_ = false;     // and was at first
  std::uint32_t attempts_ = 0;     // to connect again, since it was connected
  bool away_ = false;              // without a connection, and at work to get one
  TimeNs connect_until_ = kNever;  // for the attempt that is being made
  WaitingCalls waiting_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Mailbox> mailbox_;
  std::unique_ptr<Renewal> renewal_;
  std::unique_ptr<UcxTransport> transport_;
  std::unique_ptr<Session> session_;
  TimeNs wake_at_ = kNever;  // of a bounded wait
  bool in_step_ = false;
  bool close_wanted_ = false;  // kCaller: close() inside a callback
  bool dispose_self_ = false;  // kThread: the last reference went inside a callback
  bool unregister_ = false;    // the sidecar knows us and is there to be told

  std::thread thread_;
  mutable std::mutex mutex_;
  std::vector<Submission> submissions_;           // under mutex_
  std::shared_ptr<const Registered> registered_;  // under mutex_; written by the loop's thread only
};

}  // namespace sidecar::client_internal
