#include "am_protocol/transport_impl.h"
#include "core/log.h"

namespace sidecar {

bool UcxTransportImpl::take_arrivals(Plane& plane, int budget) {
  bool worked = false;
  for (; budget > 0 && !plane.inbox.empty(); --budget) {
    const Arrival arrival = plane.inbox.pop();
    on_arrival(plane, arrival);
    worked = true;
  }
  return worked;
}

void UcxTransportImpl::on_arrival(Plane& plane, const Arrival& arrival) {
  Endpoint* const endpoint = endpoints_.find(arrival.endpoint);
  if (endpoint == nullptr) return release(plane, arrival);  // closed since it came
  endpoint->unsettled = false;
  switch (endpoint->state) {
    case Endpoint::State::kLinked: {
      Link* const link = links_.find(endpoint->link);
      CHECK(link != nullptr);
      return on_link_arrival(*link, *endpoint, arrival);
    }
    case Endpoint::State::kStranger: release(plane, arrival); return on_first_message(*endpoint, arrival);
    case Endpoint::State::kWaiting:
      release(plane, arrival);
      ++counters_.protocol_errors;
      return close_endpoint(*endpoint);
    case Endpoint::State::kLeaving: release(plane, arrival); return close_endpoint(*endpoint);
    case Endpoint::State::kRefused:
    case Endpoint::State::kSelf:
    case Endpoint::State::kClosing: return release(plane, arrival);
  }
}

void UcxTransportImpl::on_link_arrival(Link& link, Endpoint& endpoint, const Arrival& arrival) {
  Plane& plane = *link.plane;
  if (link.state == Link::State::kLingering || link.broken.linked()) return release(plane, arrival);
  Error why;
  if (arrival.kind != Arrival::Kind::kMessage) {
    const bool unknown = arrival.kind == Arrival::Kind::kUnknownId;
    if (unknown) ++counters_.unknown_ids;
    why = {Errc::kProtocol, kNoRank,
           unknown ? "an unknown active-message id" : "a header or payload that is too long", 0, 0};
    release(plane, arrival);
    return offence(link, why);
  }
  if (!decode_arrival(plane, arrival, &why)) return on_bad_message(plane, endpoint.link, arrival, why);
  const auto* const answer = std::get_if<HelloAck>(&inbound_);
  const bool greeting = answer != nullptr && link.outbound && !endpoint.greeted;
  if (greeting) {
    release(plane, arrival);
    return on_hello_ack(link, endpoint, *answer);
  }
  const bool ungreeted = link.outbound && !endpoint.greeted;
  if (answer != nullptr || ungreeted || std::holds_alternative<Hello>(inbound_)) {
    release(plane, arrival);
    return offence(link, {Errc::kProtocol, kNoRank, "a message out of place", 0, 0});
  }
  deliver(plane, endpoint.link, arrival);
}

void UcxTransportImpl::deliver(Plane& plane, Handle link, const Arrival& arrival) {
  const std::optional<Incoming> incoming = hold(plane, link, arrival);
  if (!incoming) {
    return offence(*links_.find(link), {Errc::kNoSpace, kNoRank, "too many payloads at once", 0, 0});
  }
  ++counters_.messages_received;
  events_->on_message(link, inbound_, *incoming);
}

// The engine may know how to answer, if there is still somebody to be answered.
void UcxTransportImpl::on_bad_message(Plane& plane, Handle id, const Arrival& arrival, const Error& why) {
  offence(*links_.find(id), why);
  if (links_.find(id) == nullptr) return release(plane, arrival);
  if (const std::optional<Incoming> incoming = hold(plane, id, arrival))
    events_->on_bad_message(id, inbound_, *incoming, why);
}

// The payload, for the engine to take or to discard. Nothing: there are too many already, this one is
// released.
std::optional<Incoming> UcxTransportImpl::hold(Plane& plane, Handle link, const Arrival& arrival) {
  if (arrival.descriptor == nullptr) return Incoming{};
  Payload* const payload = payloads_.acquire();
  if (payload == nullptr) {
    release(plane, arrival);
    return std::nullopt;
  }
  payload->owner = this;
  payload->plane = &plane;
  payload->link = link;
  payload->descriptor = arrival.descriptor;
  payload->bytes = arrival.bytes;
  payload->rendezvous = arrival.rendezvous;
  return Incoming{payloads_.handle_of(payload), arrival.bytes, arrival.rendezvous};
}

// A few mistakes are borne: the message is dropped; the connection of one who goes on is closed. A link
// that is not up yet is not worth patience.
void UcxTransportImpl::offence(Link& link, const Error& what) {
  ++counters_.protocol_errors;
  LOG_WARN_LIMITED("a message was dropped: {}", what.what);
  if (link.state == Link::State::kUp && ++link.offences < kProtocolErrorsMax) return;
  fail_link(link, {Errc::kProtocol, kNoRank, what.what, 0, 0});
}

bool UcxTransportImpl::decode_arrival(Plane& plane, const Arrival& arrival, Error* why) {
  const Status decoded = decode(plane.inbox.header(arrival), arrival.bytes, inbound_);
  if (!decoded) *why = decoded.error();
  return decoded.has_value();
}

void UcxTransportImpl::release(Plane& plane, const Arrival& arrival) {
  if (arrival.descriptor == nullptr) return;
  ++counters_.payloads_discarded;
  ucp_am_data_release(plane.worker(), arrival.descriptor);
}

}  // namespace sidecar
