// From a client's send to the outbox: check, bring the bytes into the arena, hand one delivery per
// destination to its peer, answer when all are over.
#include <cstring>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

Status Engine::check_send(const Client& client, const Send& send, const Incoming& incoming) {
  if (draining_) return fail(Errc::kUnavailable, "send: this sidecar is draining", options_.rank);
  if (const Status status = check_meta(send.meta); !status) return status;
  if (const Status status = check_known(send.destinations); !status) return status;
  switch (send.source) {
    case Source::kInline:
      if (send.inline_bytes != send.meta.bytes)
        return fail(Errc::kInvalidArgument, "bytes: not as many as are inline");
      break;
    case Source::kPayload:
      if (incoming.bytes != send.meta.bytes)
        return fail(Errc::kInvalidArgument, "bytes: not as many as the payload");
      break;
    case Source::kSlot: {
      const Allocation* const allocation = clients_.find_allocation(client, send.slot);
      if (allocation == nullptr)
        return fail(Errc::kInvalidArgument, "slot: not an allocation of this client");
      if (allocation->bytes != send.meta.bytes) {
        return fail(Errc::kInvalidArgument, "bytes: not as many as were allocated", kNoRank, send.meta.bytes,
                    allocation->bytes);
      }
      return {};
    }
    case Source::kNothing:
    case Source::kDevice: return fail(Errc::kUnavailable, "source: not yet");
  }
  if (!memory_.send_can_fit(send.meta.bytes, send.meta.unit_bytes)) {
    return fail(Errc::kNoSpace, "send: larger than the send region can ever hold (bytes asked, bytes there)",
                kNoRank, send.meta.bytes, memory_.send_limit());
  }
  return {};
}

Status Engine::check_known(const Destinations& destinations) const {
  if (const Status status = check_destinations(destinations, options_.rank); !status) return status;
  for (std::size_t g = 0; g < destinations.groups; ++g) {
    for (const Rank rank : destinations.group(g)) {
      if (!directory_.knows(rank)) return fail(Errc::kInvalidArgument, "destinations: an unknown rank", rank);
    }
  }
  return {};
}

void Engine::on_send(Link& link, const Send& send, const Incoming& incoming) {
  Client& client = *link.client;
  if (const Status status = check_send(client, send, incoming); !status) {
    discard(link.id, incoming);
    answer(client, send.request, status.error());
    return;
  }
  ++counters_.sends;
  Outgoing& outgoing = make_outgoing(client, send.request, send.destinations, send.timeout_ns);
  outgoing.meta = send.meta;
  if (outgoing.meta.unit_bytes == 0) outgoing.meta.unit_bytes = client.send_unit_bytes;
  outgoing.source = send.source;
  outgoing.link = link.id;
  outgoing.incoming = incoming;
  if (send.source == Source::kSlot) {
    Allocation* const allocation = clients_.find_allocation(client, send.slot);
    outgoing.slot = memory_.retain(allocation->slot);
    drop_allocation(*allocation);
    captured(outgoing);
    return;
  }
  if (send.meta.bytes == 0) {
    discard(link.id, std::exchange(outgoing.incoming, {}));
    captured(outgoing);
    return;
  }
  if (outbox_.line().empty() && bring_in(outgoing, send.inline_data.data())) return;
  if (outbox_.line().size() >= options_.waiting_sends_max) {
    const Error why{Errc::kUnavailable, kNoRank, "send: too many wait for room already; send less at once",
                    outbox_.line().size(), 0};
    answer_outgoing(outgoing, &why);
    return drop_outgoing(outgoing);
  }
  ++counters_.parked;
  if (send.source == Source::kInline) {
    outgoing.inline_copy = std::make_unique_for_overwrite<std::byte[]>(send.inline_bytes);
    std::memcpy(outgoing.inline_copy.get(), send.inline_data.data(), send.inline_bytes);
  }
  outbox_.line().push_back(&outgoing);
}

void Engine::on_close_stream(Client& client, const CloseStream& close) {
  Status status = check_known(close.destinations);
  if (status && close.id.empty()) status = fail(Errc::kInvalidArgument, "id: empty (1 to 255 bytes)");
  if (status && draining_)
    status = fail(Errc::kUnavailable, "close_stream: this sidecar is draining", options_.rank);
  if (!status) return answer(client, close.request, status.error());
  Outgoing& outgoing = make_outgoing(client, close.request, close.destinations, close.timeout_ns);
  outgoing.end_of_stream = true;
  outgoing.meta.id = close.id;
  outgoing.meta.num_chunks = close.num_chunks;
  captured(outgoing);
}

Outgoing& Engine::make_outgoing(Client& client, RequestId request, const Destinations& destinations,
                                std::uint64_t timeout_ns) {
  Outgoing* const outgoing = outbox_.make_outgoing();
  outgoing->client = &client;
  outgoing->request = request;
  client.sends.push_back(outgoing);
  for (std::size_t g = 0; g < destinations.groups; ++g) {
    Delivery* const delivery = outbox_.make_delivery();
    delivery->outgoing = outgoing;
    delivery->peer = &peer_of(destinations.leader(g));
    outgoing->deliveries.push_back(delivery);
    ++outgoing->open;
  }
  set_timer(outgoing->timer, Timer::kOutgoing, outgoing, deadline(timeout_ns));
  return *outgoing;
}

// Takes slots and starts to fill them. False: no room now.
bool Engine::bring_in(Outgoing& outgoing, const std::byte* inline_data) {
  const bool object = outgoing.meta.kind == ChunkKind::kObject;
  outgoing.slot = memory_.take_send(outgoing.meta.bytes, object ? kSlotAlign : outgoing.meta.unit_bytes);
  if (outgoing.slot == nullptr) return false;
  counters_.bytes_captured += outgoing.meta.bytes;
  if (outgoing.source == Source::kInline) {
    std::memcpy(outgoing.slot->data, inline_data, outgoing.meta.bytes);
    outgoing.inline_copy.reset();
    captured(outgoing);
    return true;
  }
  outgoing.state = OutgoingState::kReceiving;
  const Incoming incoming = std::exchange(outgoing.incoming, {});
  consume(outgoing.link, incoming);
  transport_.receive(incoming, {outgoing.slot->data, outgoing.meta.bytes},
                     expect({.what = What::kSendReceived, .outgoing = &outgoing}));
  return true;
}

// The source is no longer needed: tell the client and let every destination's delivery go.
void Engine::captured(Outgoing& outgoing) {
  outgoing.state = OutgoingState::kDelivering;
  if (outgoing.source == Source::kPayload && !outgoing.end_of_stream && outgoing.client != nullptr) {
    Reply& reply = renew<Reply>(scratch_);
    reply.request = outgoing.request;
    reply.stage = Stage::kCaptured;
    send_plain(outgoing.client->link, scratch_);
  }
  Slot* const slot = std::exchange(outgoing.slot, nullptr);
  // Delivering may settle the last one and erase the outgoing: nothing of it is used after its last delivery
  // is queued.
  for (Delivery* delivery = outgoing.deliveries.front(); delivery != nullptr;) {
    Delivery* const next = Outgoing::DeliveryList::next(delivery);
    if (slot != nullptr) delivery->slot = memory_.retain(slot);
    enqueue(*delivery);
    delivery = next;
  }
  release(slot);
}

// --- ends
// --------------------------------------------------------------------------------------------------------------------

// One destination is over, well or badly. A lent delivery keeps its slot and its place in the index.
void Engine::settle(Delivery& delivery, const Error& result) {
  Peer& peer = *delivery.peer;
  if (delivery.state == DeliveryState::kRefused) --peer.refused_by_it;
  if (delivery.in_queue.linked()) peer.queue.remove(&delivery);
  if (delivery.in_unsettled.linked()) {
    peer.unsettled.remove(&delivery);
    if (delivery.is_unlink) --peer.unlinks;
    if (!delivery.in_lent.linked()) outbox_.unindex(peer.rank, &delivery);
  }
  delivery.state = DeliveryState::kOver;
  delivery.result = result.code;
  if (!delivery.in_lent.linked()) release(std::exchange(delivery.slot, nullptr));
  Outgoing* const outgoing = delivery.outgoing;
  if (outgoing == nullptr) {
    if (!delivery.in_lent.linked()) outbox_.erase(&delivery);
    return;
  }
  if (result.code != Errc::kOk && outgoing->failed_code == Errc::kOk) {
    outgoing->failed_code = result.code;
    outgoing->failed_rank = peer.rank;
    outgoing->failed_text = error_text(result);
  }
  --outgoing->open;
  finish_if_over(*outgoing);
}

void Engine::finish_if_over(Outgoing& outgoing) {
  if (outgoing.open > 0 || outgoing.state != OutgoingState::kDelivering) return;
  if (outgoing.client != nullptr) answer_outgoing(outgoing, nullptr);
  drop_outgoing(outgoing);
}

// The final answer to the client, which is then told nothing more. `error`: something over and above what
// destinations said; those that are not over count as failed with it.
void Engine::answer_outgoing(Outgoing& outgoing, const Error* error) {
  Reply& reply = renew<Reply>(scratch_);
  reply.request = outgoing.request;
  reply.code = error != nullptr ? error->code : outgoing.failed_code;
  reply.rank = outgoing.failed_rank;
  reply.text = error != nullptr ? error_text(*error) : outgoing.failed_text;
  for (Delivery* d = outgoing.deliveries.front(); d != nullptr; d = Outgoing::DeliveryList::next(d)) {
    const Errc code = d->state == DeliveryState::kOver ? d->result
                      : error != nullptr               ? error->code
                                                       : Errc::kOk;
    if (code == Errc::kOk) continue;
    if (reply.rank == kNoRank) reply.rank = d->peer->rank;
    reply.failed_rank[reply.failures] = d->peer->rank;
    reply.failed_code[reply.failures] = code;
    ++reply.failures;
  }
  Client& client = *std::exchange(outgoing.client, nullptr);
  client.sends.remove(&outgoing);
  if (client.connected) send_plain(client.link, scratch_);
}

// Forgets a send in any state but kReceiving. Deliveries that are lent stay with their peers.
void Engine::drop_outgoing(Outgoing& outgoing) {
  timers_.cancel(outgoing.timer);
  if (outgoing.in_line.linked()) {
    outbox_.line().remove(&outgoing);
    send_room_changed_ = true;
  }
  discard(outgoing.link, std::exchange(outgoing.incoming, {}));
  if (outgoing.client != nullptr) outgoing.client->sends.remove(&outgoing);
  while (Delivery* delivery = outgoing.deliveries.pop_front()) {
    delivery->outgoing = nullptr;
    if (!delivery->in_lent.linked()) outbox_.erase(delivery);
  }
  release(std::exchange(outgoing.slot, nullptr));
  outbox_.erase(&outgoing);
}

// Deadline or cancel: the client is answered now, and what can be ended is ended. A delivery that is on its
// way stays until its peer has answered or the link is gone, since the peer may hold our slot.
void Engine::abandon(Outgoing& outgoing, const Error& why) {
  if (outgoing.client != nullptr) answer_outgoing(outgoing, &why);
  timers_.cancel(outgoing.timer);
  outgoing.abandoned = true;
  if (outgoing.state == OutgoingState::kReceiving) return;  // on_received drops it
  if (outgoing.state == OutgoingState::kParked) return drop_outgoing(outgoing);
  for (Delivery* delivery = outgoing.deliveries.front(); delivery != nullptr;) {
    Delivery* const next = Outgoing::DeliveryList::next(delivery);
    Peer& peer = *delivery->peer;
    const bool last = outgoing.open == 1;
    if (delivery->state == DeliveryState::kSent) {
      if (peer.state == LinkState::kUp) send_plain(peer.out, Withdraw{delivery->sequence});
    } else if (delivery->state != DeliveryState::kOver && !delivery->as_reference) {
      settle(*delivery, why);
      if (last) return;  // that was the end of `outgoing`
    }
    delivery = next;
  }
}

void Engine::pump_send_room() {
  send_room_changed_ = false;
  while (RoomWaiter* first = outbox_.line().front()) {
    if (first->is_allocation) {
      Allocation& allocation = *static_cast<Allocation*>(first);
      allocation.slot = memory_.take_send(allocation.bytes, allocation.unit_bytes);
      if (allocation.slot == nullptr) return;
      outbox_.line().remove(first);
      answer_allocation(allocation);
    } else {
      Outgoing& outgoing = *static_cast<Outgoing*>(first);
      outbox_.line().remove(first);
      if (!bring_in(outgoing, outgoing.inline_copy.get())) {
        outbox_.line().push_front(first);
        return;
      }
    }
  }
}

}  // namespace sidecar
