#include <sys/eventfd.h>

#include "am_protocol/transport_impl.h"
#include "core/log.h"

namespace sidecar {
namespace {

constexpr TimeNs kLastRequestsNs =
    10 * kMillisecond;  // for connections being made to become requests, and be rejected
constexpr TimeNs kRetiredNs = 10 * kMillisecond;
constexpr int kBudget = 64;

}  // namespace

// The loop's sources cannot be changed while they are asked, which is where we are.
void UcxTransportImpl::on_stuck(Plane& plane) {
  if (&plane != local_.get() || replacing_ != 0) return;
  if (!turn_.valid()) turn_ = Fd(eventfd(1, EFD_CLOEXEC));
  if (const auto watch = loop_.watch(turn_.get(), [this] { replace_local(); })) replacing_ = *watch;
}

// Everybody on this node connects again, to the same address. What has begun on the old plane ends there.
// When it cannot be, nothing has changed but the listener: we are told again in a second.
void UcxTransportImpl::replace_local() {
  check_thread();
  replacing_ = 0;
  LOG_WARN(
      "shared memory is stuck: a process was killed or stopped in the middle of a write to this one; every "
      "connection of this node is made again");
  Plane& old = *local_;
  if (old.listening()) {
    options_.local_listen = old.address().view();
    old.stop_accepting();
    for (const TimeNs begin = Loop::now_ns(); Loop::now_ns() - begin < kLastRequestsNs;) old.drain();
    old.stop_listening();
  }
  auto plane = make_plane(PlaneKind::kLocal);
  Status status = plane ? Status() : tl::unexpected(plane.error());
  if (status && !options_.local_listen.empty()) status = (*plane)->listen(options_.local_listen);
  if (!status) return LOG_WARN("shared memory cannot be opened again yet: {}", to_string(status.error()));

  old.retire();
  loop_.remove_source(&old);
  loop_.add_source(plane->get());
  retired_.push_back(std::exchange(local_, std::move(*plane)));
  if (!retired_timer_.set()) deadlines_.set_in(retired_timer_, kRetiredNs);
  ++counters_.planes_replaced;
  links_.for_each([&](Link& link) {
    if (link.plane == &old)
      fail_later(link, {Errc::kPeerLost, kNoRank, "shared memory was stuck and is set up again", 0, 0});
  });
  endpoints_.for_each([&](Endpoint& endpoint) {
    const bool linked = endpoint.state == Endpoint::State::kLinked;
    if (endpoint.plane == &old && !linked && endpoint.state != Endpoint::State::kClosing)
      close_endpoint(endpoint);
  });
}

// Until UCX and the engine have given back all that is of them. They are not on the loop: one that is stuck
// would never let it sleep.
void UcxTransportImpl::progress_retired() {
  for (const auto& plane : retired_) plane->progress(kBudget);
  std::erase_if(retired_, [&](const auto& plane) {
    if (!is_done_with(*plane)) return false;
    plane->settle();
    return true;
  });
  if (!retired_.empty()) deadlines_.set_in(retired_timer_, kRetiredNs);
}

bool UcxTransportImpl::is_done_with(const Plane& plane) {
  bool done =
      plane.inbox.empty() && plane.closed.empty() && plane.received.empty() && plane.received_earlier.empty();
  const auto check = [&](const auto& user) { done &= user.plane != &plane; };
  links_.for_each(check);
  endpoints_.for_each(check);
  payloads_.for_each(check);
  sends_.for_each(check);
  return done;
}

}  // namespace sidecar
