// Away from home: when the sidecar is lost, or has ended our registration, and until we are connected again.
// The renewal's thread registers; everything here runs on the loop's thread.
#include "client/arguments.h"
#include "client/runtime.h"
#include "core/log.h"

namespace sidecar::client_internal {

void Runtime::start_renewal() {
  mailbox_ = std::make_unique<Mailbox>(loop_.get());
  renewal_ = std::make_unique<Renewal>(
      input_, *registered_, options_.reconnect, calls_to_sidecar(), [this](const Renewal::Fresh& fresh) {
        // When the mailbox is full, the caller has not let us make progress for very long: nobody misses it.
        static_cast<void>(mailbox_->post([this, fresh] { on_fresh(fresh); }));
      });
}

// We are known again, under another instance.
void Runtime::on_fresh(Renewal::Fresh fresh) {
  if (closing_) return;
  instance_ = fresh.instance;
  {
    const std::lock_guard lock(mutex_);
    registered_ = std::make_shared<const Registered>(std::move(fresh.registered));
  }
  const bool before = std::exchange(in_step_, true);  // callbacks run in here
  session_->close_link(
      {Errc::kPeerLost, rank(),
       "the sidecar was restarted, or has ended this client's registration; connecting again"});
  in_step_ = before;
  connect_again();
}

// The same way as before. Whether the arena can be mapped this time decides how bytes travel, not whether.
void Runtime::connect_again() {
  away_ = true;
  const std::string& address = local_ ? registered_->local_address : registered_->net_address;
  if (address.empty()) {
    LOG_WARN_LIMITED("the sidecar of rank {} names no address to connect to any more", rank());
    return renewal_->connection_lost(instance_);
  }
  maps_arena_ = session_->map_own_arena(registered_->arena);
  connect_until_ = Loop::now_ns() + kConnectNs;
  session_->connect({local_, false, Name(address)}, hello());
}

// In each step: whether the connection has come or gone. True: it has.
bool Runtime::check_home() {
  if (renewal_ == nullptr || closing_) return false;
  if (session_->up()) {
    if (!std::exchange(away_, false)) return false;
    connect_until_ = kNever;
    unregister_ = true;
    LOG_INFO("connected to the sidecar of rank {} again", rank());
    start_waiting();
    return true;
  }
  if (session_->link_state() == Session::LinkState::kConnecting) {
    if (Loop::now_ns() < connect_until_) return false;
    session_->close_link({Errc::kUnavailable, rank(), "the sidecar did not accept the connection in time"});
  }
  if (away_ && connect_until_ == kNever) return false;  // the renewal is at work
  if (away_) LOG_DEBUG("connecting again failed: {}", session_->why_down().message);
  away_ = true;
  connect_until_ = kNever;
  unregister_ = false;
  renewal_->connection_lost(instance_);
  return true;
}

void Runtime::start_waiting() {
  while (session_->up()) {
    std::optional<Submission> waiting = waiting_.take(Loop::now_ns());
    if (!waiting) return;
    start(*waiting);
  }
}

void Runtime::await_home(Submission submission) {
  if (submission.op->timeout_ns == 0) {
    fail_op(*submission.op, {Errc::kUnavailable, rank(), "the sidecar is away; connecting again"});
    return;
  }
  waiting_.add(std::move(submission), Loop::now_ns());
}

void Runtime::end_late_calls(TimeNs now) {
  while (std::optional<Submission> late = waiting_.take_due(now)) {
    fail_op(*late->op,
            {Errc::kTimeout, rank(),
             "the sidecar was away, and did not come back in time (" + session_->why_down().message + ")"});
  }
}

}  // namespace sidecar::client_internal
