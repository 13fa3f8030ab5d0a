// Away from home: when the sidecar is lost, or has ended our registration, and until we are connected again.
// The renewal's thread registers; everything here runs on the loop's thread.
#include "client/arguments.h"
#include "client/runtime.h"
#include "core/log.h"

namespace sidecar::client_internal {

// Before the first connection, which may take longer than the lease; it registers anew once there was one.
void Runtime::start_renewal() {
  mailbox_ = std::make_unique<Mailbox>(loop_.get());
  renewal_ = std::make_unique<Renewal>(
      input_, *registered_, false, calls_to_sidecar(), [this](const Renewal::Fresh& fresh) {
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

// Two attempts the way it was before, two the other way where there is one, and so on.
Status Runtime::choose_way() {
  maps_arena_ = session_->map_own_arena(registered_->arena);
  const auto exists = [this](bool local) {  // that the arena can be mapped proves that memory is shared
    return local ? maps_arena_ && !registered_->local_address.empty() : !registered_->net_address.empty();
  };
  local_ = prefers_local_ != (attempts_++ / 2 % 2 == 1);
  if (!exists(local_)) local_ = !local_;
  if (!exists(local_)) return fail(Errc::kUnavailable, "it names no address that can be reached from here");
  return transport_->open_too(local_);
}

void Runtime::connect_again() {
  away_ = true;
  if (const Status way = choose_way(); !way) {
    LOG_WARN_LIMITED("cannot connect to the sidecar of rank {} again: {}", rank(), to_string(way.error()));
    return renewal_->connection_lost(instance_, false);
  }
  const std::string& address = local_ ? registered_->local_address : registered_->net_address;
  connect_until_ = Loop::now_ns() + kConnectNs;
  session_->connect({local_, false, Name(address)}, hello());
}

// In each step: whether the connection has come or gone. True: it has.
bool Runtime::check_home() {
  if (!opened_ || closing_) return false;
  if (session_->up()) {
    if (!std::exchange(away_, false)) return false;
    connect_until_ = kNever;
    attempts_ = 0;
    unregister_ = true;
    LOG_INFO("connected to the sidecar of rank {} again, {}", rank(),
             local_ ? "through shared memory" : "over the network");
    start_waiting();
    return true;
  }
  if (session_->link_state() == Session::LinkState::kConnecting) {
    if (Loop::now_ns() < connect_until_) return false;
    session_->close_link({Errc::kUnavailable, rank(), "the sidecar did not accept the connection in time"});
  }
  if (away_ && connect_until_ == kNever) return false;  // the renewal is at work
  if (away_) {
    LOG_WARN_LIMITED("connecting to the sidecar of rank {} again {} failed: {}", rank(),
                     local_ ? "through shared memory" : "over the network", session_->why_down().message);
  }
  away_ = true;
  connect_until_ = kNever;
  unregister_ = false;
  renewal_->connection_lost(instance_, attempts_ == 0);
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
