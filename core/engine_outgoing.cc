// From the outbox to the destinations: what has come in is handed on, whole or in parts; ends, answers, and
// giving up. engine_peers.cc sends it.
#include <algorithm>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

// --- handing on
// --------------------------------------------------------------------------------------------------------------

// More of `shard` is in place. Another node gets a large chunk part by part, so that its way there and its
// way into our arena overlap; a destination on this node, or one that is not connected yet, is told once all
// is in.
void Engine::issue(Outgoing& outgoing, Shard& shard) {
  const bool all_in = outgoing.not_in == 0;
  const Slice part{shard.slice.begin + shard.issued, shard.ready - shard.issued};
  // Few enough parts, whatever the sizes: kPartsMax.
  const std::uint64_t step = std::max(outgoing.meta.bytes / kPartsOfOne, std::uint64_t{options_.eager_max});
  const bool enough = part.bytes > 0 && (shard.state == ShardState::kIn || part.bytes >= step);
  if (enough && !all_in && outgoing.meta.bytes > options_.eager_max) choose_parts(outgoing);
  for (Destination* d = outgoing.destinations.front(); d != nullptr; d = Outgoing::DestinationList::next(d)) {
    if (d->over || d->result != Errc::kOk) continue;
    if (d->in_parts && enough) {
      deliver(*d, Delivery::Kind::kChunk, part);
    } else if (!d->in_parts && all_in) {
      const auto kind = outgoing.end_of_stream ? Delivery::Kind::kStreamEnd : Delivery::Kind::kChunk;
      deliver(*d, kind, {0, outgoing.meta.bytes});
    }
  }
  if (enough) shard.issued = shard.ready;
  if (!all_in) return;
  release(std::exchange(outgoing.slot, nullptr));
  ++outgoing.open;  // it stays until all its destinations were looked at
  for (Destination* d = outgoing.destinations.front(); d != nullptr; d = Outgoing::DestinationList::next(d))
    check_destination(*d);  // the last shard may have been an empty one
  --outgoing.open;
  finish_if_over(outgoing);
}

// Who is connected over the network gets this chunk in parts from now on, and first what went to the others
// before.
void Engine::choose_parts(Outgoing& outgoing) {
  for (Destination* d = outgoing.destinations.front(); d != nullptr; d = Outgoing::DestinationList::next(d)) {
    const bool able =
        d->peer->state == LinkState::kUp && !d->peer->mapped && d->peer->version >= kGroupsVersion;
    if (d->over || d->in_parts || d->result != Errc::kOk || !able || must_wait(*d)) continue;
    d->in_parts = true;
    outbox_.index_parts(d, parts_key(*d));
    for (Shard* s = outgoing.shards.front(); s != nullptr; s = Outgoing::ShardList::next(s)) {
      if (s->issued > 0) deliver(*d, Delivery::Kind::kChunk, {s->slice.begin, s->issued});
    }
  }
}

void Engine::deliver(Destination& destination, Delivery::Kind kind, Slice part) {
  Delivery* const delivery = outbox_.make_delivery();
  delivery->kind = kind;
  delivery->destination = &destination;
  delivery->peer = destination.peer;
  delivery->part = part;
  if (part.bytes > 0) delivery->slot = memory_.retain(destination.outgoing->slot);
  destination.open.push_back(delivery);
  if (kind == Delivery::Kind::kChunk && !destination.in_parts && must_wait(destination))
    return outbox_.held().push_back(delivery);
  enqueue(*delivery);
}

std::uint64_t Engine::parts_key(const Destination& destination) const {
  const ChunkMeta& meta = destination.outgoing->meta;
  return mix(mix(store_.hash(meta.id).low, meta.chunk), static_cast<std::uint64_t>(destination.peer->rank));
}

// An earlier attempt at the same chunk is not over there: parts of two would be taken for one, and what ends
// the one would end the other.
bool Engine::must_wait(const Destination& destination) {
  return outbox_.any_in_parts() && outbox_.find_in_parts(parts_key(destination), destination) != nullptr;
}

void Engine::let_next_attempt_go(Destination& destination) {
  outbox_.unindex_parts(&destination);
  for (Delivery* delivery = outbox_.held().front(); delivery != nullptr;) {
    Delivery* const next = Outbox::HeldList::next(delivery);
    if (Outbox::same_chunk(*delivery->destination, destination)) {
      outbox_.held().remove(delivery);
      enqueue(*delivery);
    }
    delivery = next;
  }
}

// --- ends
// --------------------------------------------------------------------------------------------------------------------

// One transfer is over, well or badly. A lent delivery keeps its slot and its place in the index.
void Engine::settle(Delivery& delivery, const Error& result) {
  Peer& peer = *delivery.peer;
  if (delivery.state == DeliveryState::kRefused) --peer.refused_by_it;
  if (auto* queue = Outbox::HeldList::of(&delivery)) queue->remove(&delivery);  // the peer's, or held
  if (delivery.in_unsettled.linked()) {
    peer.unsettled.remove(&delivery);
    if (delivery.kind == Delivery::Kind::kUnlink) --peer.unlinks;
    if (!delivery.in_lent.linked()) outbox_.unindex(peer.rank, &delivery);
  }
  delivery.state = DeliveryState::kOver;
  const Slice part = delivery.part;
  const Delivery::Kind kind = delivery.kind;
  Destination* const destination = std::exchange(delivery.destination, nullptr);
  if (destination != nullptr) destination->open.remove(&delivery);
  if (!delivery.in_lent.linked()) {
    release(std::exchange(delivery.slot, nullptr));
    outbox_.erase(&delivery);
  }
  if (destination == nullptr) return;
  if (result.code == Errc::kOk) {
    if (destination->in_parts && kind == Delivery::Kind::kChunk) destination->delivered += part.bytes;
  } else if (kind != Delivery::Kind::kRetract) {
    note_failure(*destination, result.code, error_text(result));
  }
  check_destination(*destination);
}

void Engine::note_failure(Destination& destination, Errc code, const Text& text) {
  if (destination.result == Errc::kOk) destination.result = code;
  Outgoing& outgoing = *destination.outgoing;
  if (outgoing.failed_code != Errc::kOk) return;
  outgoing.failed_code = code;
  outgoing.failed_rank = destination.peer->rank;
  outgoing.failed_text = text;
}

// Whether it has everything; or has failed, and knows that the parts it got are worth nothing.
void Engine::check_destination(Destination& destination) {
  if (destination.over || !destination.open.empty()) return;
  Outgoing& outgoing = *destination.outgoing;
  if (destination.result == Errc::kOk) {
    if (outgoing.not_in > 0) return;  // more will be handed to it
    if (destination.in_parts && destination.delivered < outgoing.meta.bytes) return;
  } else if (must_retract(destination)) {
    destination.retracted = true;
    return deliver(destination, Delivery::Kind::kRetract, {});
  }
  destination.over = true;
  if (destination.in_parts) let_next_attempt_go(destination);
  --outgoing.open;
  finish_if_over(outgoing);
}

// Parts of it are there, or the client that brought it is gone and those who wait for it are to hear of that.
// Where another attempt is under way, they wait for that one.
bool Engine::must_retract(Destination& destination) {
  if (destination.retracted) return false;
  if (destination.in_parts) return destination.sent || destination.outgoing->lost;
  if (!destination.outgoing->lost || must_wait(destination) || attempted_again(destination)) return false;
  destination.in_parts = true;  // no other attempt begins there until this is over
  outbox_.index_parts(&destination, parts_key(destination));
  return true;
}

// Another send of the same chunk to there is not given up: its client has taken a lost one's place.
bool Engine::attempted_again(const Destination& destination) {
  bool again = false;
  outbox_.for_each_destination([&](const Destination& other) {
    again |= &other != &destination && other.result == Errc::kOk && !other.outgoing->end_of_stream &&
             Outbox::same_chunk(other, destination);
  });
  return again;
}

// Members whose shards are still to come are waited for even if all destinations have failed: they are told
// so too.
void Engine::finish_if_over(Outgoing& outgoing) {
  if (outgoing.open > 0 || outgoing.moving > 0) return;
  if (outgoing.not_in > 0 && !outgoing.abandoned) return;
  for (Shard* s = outgoing.shards.front(); s != nullptr; s = Outgoing::ShardList::next(s))
    answer_shard(*s, nullptr);
  drop_outgoing(outgoing);
}

// The final answer to one client, which is then told nothing more. `error`: something over and above what
// destinations said; those that are not over count as failed with it.
void Engine::answer_shard(Shard& shard, const Error* error) {
  if (shard.client == nullptr) return;
  timers_.cancel(shard.timer);
  const Outgoing& outgoing = *shard.outgoing;
  Reply& reply = renew<Reply>(scratch_);
  reply.request = shard.request;
  reply.code = error != nullptr ? error->code : outgoing.failed_code;
  reply.rank = error != nullptr && error->rank != kNoRank ? error->rank : outgoing.failed_rank;
  reply.text = error != nullptr ? error_text(*error) : outgoing.failed_text;
  for (const Destination* d = outgoing.destinations.front(); d != nullptr;
       d = Outgoing::DestinationList::next(d)) {
    const Errc code = d->over || d->result != Errc::kOk ? d->result
                      : error != nullptr                ? error->code
                                                        : Errc::kOk;
    if (code == Errc::kOk) continue;
    if (reply.rank == kNoRank) reply.rank = d->peer->rank;
    reply.failed_rank[reply.failures] = d->peer->rank;
    reply.failed_code[reply.failures] = code;
    ++reply.failures;
  }
  Client& client = *std::exchange(shard.client, nullptr);
  client.sends.remove(&shard);
  if (client.connected) send_plain(client.link, scratch_);
}

// Forgets a send of which nothing is moving and nothing under way. What is lent stays with its peers.
void Engine::drop_outgoing(Outgoing& outgoing) {
  CHECK(outgoing.moving == 0);
  leave_lines(outgoing);
  while (Shard* shard = outgoing.shards.pop_front()) {
    timers_.cancel(shard->timer);
    discard(shard->link, std::exchange(shard->incoming, {}));
    if (shard->client != nullptr) shard->client->sends.remove(shard);
    uncharge(*shard);
    outbox_.erase(shard);
  }
  while (Destination* destination = outgoing.destinations.pop_front()) outbox_.erase(destination);
  release(std::exchange(outgoing.slot, nullptr));
  outbox_.erase(&outgoing);
}

// It waits for room and for members' shards no more.
void Engine::leave_lines(Outgoing& outgoing) {
  if (outgoing.in_line.linked()) {
    outbox_.line().remove(&outgoing);
    send_room_changed_ = true;  // who stood behind it may fit
  }
  if (outgoing.group != nullptr && std::exchange(outgoing.missing, 0) > 0) outbox_.stop_gathering(&outgoing);
}

// --- giving up
// --------------------------------------------------------------------------------------------------------------

// The clients are answered now, `cause`'s with its own reason, and what can be ended is ended. A delivery
// that is on its way stays until its peer has answered or the link is gone, since the peer may hold our slot.
void Engine::abandon(Outgoing& outgoing, const Shard* cause, const Error& why, const Error& others) {
  for (Shard* s = outgoing.shards.front(); s != nullptr; s = Outgoing::ShardList::next(s)) {
    answer_shard(*s, s == cause ? &why : &others);
    timers_.cancel(s->timer);
    if (s->state == ShardState::kWaiting) discard(s->link, std::exchange(s->incoming, {}));
    if (s->state == ShardState::kMoving && s->source == Source::kDevice) device_->cancel(s->copying);
  }
  outgoing.abandoned = true;
  leave_lines(outgoing);
  ++outgoing.open;  // it stays until all its destinations were looked at
  for (Destination* d = outgoing.destinations.front(); d != nullptr; d = Outgoing::DestinationList::next(d))
    give_up(*d, others);
  --outgoing.open;
  finish_if_over(outgoing);
}

void Engine::give_up(Destination& destination, const Error& why) {
  if (destination.over) return;
  if (destination.result == Errc::kOk) destination.result = why.code;
  for (Delivery* delivery = destination.open.front(); delivery != nullptr;) {
    Delivery* const next = Destination::DeliveryList::next(delivery);
    if (delivery->state == DeliveryState::kSent) {
      if (delivery->peer->state == LinkState::kUp && delivery->kind != Delivery::Kind::kRetract)
        send_plain(delivery->peer->out, Withdraw{delivery->sequence});
    } else if (!delivery->as_reference && delivery->kind != Delivery::Kind::kRetract) {
      settle(*delivery, why);
    }
    delivery = next;
  }
  check_destination(destination);
}

// One client wants no more of it, or its time is up. Once all shards are in, the others need it no longer.
void Engine::end_shard(Shard& shard, const Error& why) {
  Outgoing& outgoing = *shard.outgoing;
  answer_shard(shard, &why);
  const auto waits = [&] {
    for (const Shard* s = outgoing.shards.front(); s != nullptr; s = Outgoing::ShardList::next(s)) {
      if (s->client != nullptr) return true;
    }
    return false;
  };
  if (outgoing.not_in == 0 && waits()) return;
  Error others = why;
  if (why.code == Errc::kCancelled)
    others = Error{Errc::kCancelled, shard.member, "send: another member of the group cancelled it"};
  abandon(outgoing, &shard, why, others);
}

// What it would have brought never comes: its client is gone, or its GPU has failed.
void Engine::shard_lost(Shard& shard, const Error& why) {
  shard.outgoing->lost |= why.code == Errc::kPeerLost;
  const Error others{Errc::kPeerLost, shard.member,
                     "send: a member of the group was lost before its shard was here"};
  abandon(*shard.outgoing, &shard, why, others);
}

// Why a send's time was not enough.
Error Engine::why_late(const Shard& shard) const {
  const Outgoing& outgoing = *shard.outgoing;
  if (outgoing.in_line.linked()) {  // no destination is to blame
    return Error{Errc::kTimeout, kNoRank,
                 "send: no room in the sender's own arena in time (bytes asked, bytes there)",
                 outgoing.meta.bytes, memory_.send_limit()};
  }
  if (outgoing.missing > 0) {
    std::size_t member = 0;
    while (outgoing.came.test(member)) ++member;
    return Error{Errc::kTimeout, (*outgoing.group)[member],
                 "send: a member of the group has not sent its shard in time (members missing)",
                 outgoing.missing, 0};
  }
  if (shard.state == ShardState::kFilling)
    return Error{Errc::kTimeout, kNoRank, "send: its client has not copied the bytes in time"};
  return Error{Errc::kTimeout, kNoRank, "send: not delivered to every destination in time"};
}

}  // namespace sidecar
