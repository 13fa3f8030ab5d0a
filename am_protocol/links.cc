#include <atomic>

#include "am_protocol/cma.h"
#include "am_protocol/transport_impl.h"
#include "core/log.h"

namespace sidecar {
namespace {

// Before anything that the other side may be reading is given back to its owner.
void unmark(Link& link) { std::atomic_ref(link.open_mark).store(0); }

}  // namespace

void UcxTransportImpl::close(LinkId id) {
  check_thread();
  Link* const link = links_.find(id);
  if (link == nullptr || link->state == Link::State::kLingering) return;
  unmark(*link);
  if (link->state != Link::State::kUp || !link->said_goodbye || link->broken.linked())
    return drop_link(*link);
  link->state = Link::State::kLingering;
  deadlines_.set_in(link->timer, kGoodbyeLingerNs);
}

LinkFacts UcxTransportImpl::facts(LinkId id) const {
  check_thread();
  const Link* const link = pools_->links.find(id);
  return link == nullptr ? LinkFacts{} : link->facts;
}

bool UcxTransportImpl::take_failures(Plane& plane) {
  bool worked = false;
  while (Endpoint* const endpoint = plane.failed.front()) {
    worked = true;
    Link* const link = endpoint->state == Endpoint::State::kLinked ? links_.find(endpoint->link) : nullptr;
    if (link == nullptr) {
      close_endpoint(*endpoint);
    } else {
      fail_link(*link, endpoint_error(endpoint->failure, link->state != Link::State::kConnecting));
    }
  }
  while (Link* const link = broken_.front()) {
    worked = true;
    fail_link(*link, Error(link->failure));
  }
  return worked;
}

bool UcxTransportImpl::take_closed(Plane& plane) {
  const bool worked = !plane.closed.empty();
  for (Endpoint* endpoint : plane.closed) endpoints_.remove(endpoint);
  plane.closed.clear();
  return worked;
}

void UcxTransportImpl::on_deadline(TimerNode& node) {
  if (node.kind == kOrphanTimer) return abandon_orphans();
  if (node.kind == kRetiredTimer) return progress_retired();
  if (node.kind == kEndpointTimer) {
    auto& endpoint = *static_cast<Endpoint*>(node.object);
    const bool silent =
        endpoint.state == Endpoint::State::kStranger || endpoint.state == Endpoint::State::kWaiting;
    if (silent) ++counters_.hello_timeouts;
    return close_endpoint(endpoint);
  }
  auto& link = *static_cast<Link*>(node.object);
  if (link.state == Link::State::kLingering) return drop_link(link);
  ++counters_.hello_timeouts;
  fail_link(link, {Errc::kTimeout, kNoRank, "the other side did not answer Hello in time", 0, 0});
}

// For where the engine is inside a call to us.
void UcxTransportImpl::fail_later(Link& link, const Error& why) {
  if (link.broken.linked()) return;
  link.failure = why;
  broken_.push_back(&link);
}

// A link that nobody has heard of, or that the engine has closed, ends without a word.
void UcxTransportImpl::fail_link(Link& link, const Error& why) {
  const Handle id = links_.handle_of(&link);
  const bool tell = link.state == Link::State::kUp || link.state == Link::State::kConnecting;
  drop_link(link);
  if (tell) events_->on_link_down(id, why);
}

// Whether the other side has closed the connection, as far as that can be told: UCX tells late, from a thread
// of its own, and a process that was stopped finds it out last.
bool UcxTransportImpl::given_up(LinkId id) {
  Link* const link = links_.find(id);
  if (link == nullptr || link->other.pid == 0) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // what was read was read before this
  if (word_of(link->other.pid, link->other.mark.at) == link->other.mark.value) return false;
  fail_later(*link, {Errc::kPeerLost, kNoRank, "the other side has closed the connection", 0, 0});
  return true;
}

// What is under way completes with errors, in later steps.
void UcxTransportImpl::drop_link(Link& link) {
  unmark(link);
  if (link.state == Link::State::kUp || link.state == Link::State::kLingering) ++counters_.links_closed;
  if (link.broken.linked()) broken_.remove(&link);
  deadlines_.cancel(link.timer);
  if (link.control != nullptr) close_endpoint(*link.control);
  if (link.bulk != nullptr) close_endpoint(*link.bulk);
  orphan(link);
  links_.release(&link);
}

void UcxTransportImpl::close_endpoint(Endpoint& endpoint) {
  CHECK(endpoint.state != Endpoint::State::kClosing);
  if (endpoint.unaccepted()) --strangers_;
  const bool wait = endpoint.unsettled && endpoint.failure == UCS_OK && !closing_down_;
  if (wait && endpoint.state == Endpoint::State::kLinked) {
    endpoint.state = Endpoint::State::kLeaving;
    return deadlines_.set_in(endpoint.timer, kLeavingNs);
  }
  endpoint.state = Endpoint::State::kClosing;
  deadlines_.cancel(endpoint.timer);
  if (endpoint.plane->close(&endpoint)) endpoints_.remove(&endpoint);
}

}  // namespace sidecar
