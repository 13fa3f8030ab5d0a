// Transfers to peers: queueing, sending, acknowledgement, refusal, sending again; and what is lent to
// same-node peers.
#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

Peer& Engine::peer_of(Rank rank) {
  Peer* const peer = peers_.find(rank);
  return peer != nullptr ? *peer : peers_.make(rank);
}

void Engine::enqueue(Delivery& delivery) {
  Peer& peer = *delivery.peer;
  delivery.state = DeliveryState::kQueued;
  delivery.sequence = peer.next_sequence++;
  outbox_.index(peer.rank, &delivery);
  peer.unsettled.push_back(&delivery);
  peer.queue.push_back(&delivery);
  if (delivery.kind == Delivery::Kind::kUnlink) ++peer.unlinks;
  if (peer.state == LinkState::kUp)
    pump(peer);
  else if (wants_link(peer))
    want_link(peer);
}

// Sends what is queued, as far as the peer's duplicate window reaches.
void Engine::pump(Peer& peer) {
  if (peer.state != LinkState::kUp) return;
  while (Delivery* delivery = peer.queue.front()) {
    if (delivery->sequence - peer.unsettled.front()->sequence >= kTransferWindow) return;
    peer.queue.remove(delivery);
    transmit(peer, *delivery);
  }
}

void Engine::transmit(Peer& peer, Delivery& delivery) {
  delivery.state = DeliveryState::kSent;
  if (delivery.was_sent) ++counters_.resends;
  delivery.was_sent = true;
  const Transfer transfer{delivery.sequence, peer.unsettled.front()->sequence};
  if (delivery.kind == Delivery::Kind::kUnlink) {
    scratch_.emplace<Unlink>(Unlink{transfer, delivery.chunk_ref});
    send_plain(peer.out, scratch_);
    return;
  }
  const ChunkMeta& meta = delivery.destination->outgoing->meta;
  delivery.destination->sent = true;
  if (delivery.kind == Delivery::Kind::kStreamEnd) {
    scratch_.emplace<StreamEnd>(StreamEnd{transfer, meta.id, meta.num_chunks});
    send_plain(peer.out, scratch_);
    return;
  }
  if (delivery.kind == Delivery::Kind::kRetract) {
    if (peer.version < kGroupsVersion) return settle(delivery, kNoError);  // it has no parts to drop
    const bool lost = delivery.destination->outgoing->lost && !attempted_again(*delivery.destination);
    scratch_.emplace<Retract>(Retract{transfer, meta.id, meta.chunk, lost});
    send_plain(peer.out, scratch_);
    return;
  }
  const Slice part = delivery.part;
  const bool whole = part.bytes == meta.bytes;
  if (peer.mapped && whole && meta.bytes > kInlineBytesMax) {
    delivery.as_reference = true;
    peer.bytes_mapped += meta.bytes;
    scratch_.emplace<ChunkRef>(ChunkRef{transfer, meta, options_.instance, delivery.slot->offset});
    send_plain(peer.out, scratch_);
    return;
  }
  peer.bytes_sent += part.bytes;
  counters_.bytes_sent += part.bytes;
  Chunk& chunk = renew<Chunk>(scratch_);
  chunk.transfer = transfer;
  chunk.meta = meta;
  if (!whole) {
    chunk.part_begin = part.begin;
    chunk.part_bytes = part.bytes;
  } else if (meta.bytes <= kInlineBytesMax) {
    chunk.is_inline = true;
    chunk.inline_bytes = static_cast<std::uint32_t>(meta.bytes);
    if (meta.bytes > 0) std::copy_n(delivery.slot->data, meta.bytes, chunk.inline_data.data());
    send_plain(peer.out, scratch_);
    return;
  }
  // Eager while credit lasts; after that the bytes stay here until the peer fetches them.
  const bool credit = peer.eager_sent - peer.eager_consumed + part.bytes <= kEagerWindowBytes;
  const bool eager = part.bytes <= options_.eager_max && credit;
  if (eager) peer.eager_sent += part.bytes;
  const Token token = expect({.what = What::kFlight, .slot = memory_.retain(delivery.slot)});
  transport_.send(peer.out, scratch_, {delivery.slot->data + part.begin, part.bytes}, !eager, token);
}

void Engine::on_ack(Peer& peer, const Ack& ack) {
  peer.eager_consumed = std::max(peer.eager_consumed, ack.consumed);
  for (std::uint32_t i = 0; i < ack.count; ++i) {
    Delivery* const delivery = outbox_.find(&peer, peer.rank, ack.sequence + i);
    if (delivery == nullptr || !delivery->in_unsettled.linked())
      continue;  // settled before: a duplicate's answer
    if (ack.code == Errc::kOk) {
      delivered(*delivery);
    } else {
      const bool counts = delivery->destination != nullptr && delivery->kind != Delivery::Kind::kRetract;
      if (counts) note_failure(*delivery->destination, ack.code, ack.text);
      settle(*delivery, Error{ack.code, peer.rank, "", 0, 0});
    }
  }
  pump(peer);
}

// The destination holds it. As a reference the slot is lent until its Unlink comes, which may have overtaken
// the Ack.
void Engine::delivered(Delivery& delivery) {
  if (delivery.as_reference && !delivery.unlinked) delivery.peer->lent.push_back(&delivery);
  settle(delivery, kNoError);
}

void Engine::on_refuse(Peer& peer, const Refuse& refuse) {
  Delivery* const delivery = outbox_.find(&peer, peer.rank, refuse.sequence);
  if (delivery == nullptr || delivery->state != DeliveryState::kSent) return;
  const Destination* const destination = delivery->destination;
  if (destination != nullptr && destination->result != Errc::kOk &&
      delivery->kind != Delivery::Kind::kRetract) {
    settle(*delivery, Error{Errc::kCancelled, peer.rank, "", 0, 0});
    return;
  }
  delivery->state = DeliveryState::kRefused;
  ++peer.refused_by_it;
}

void Engine::on_credit(Link& link, const Credit& credit) {
  if (link.kind != Link::Kind::kPeerOut)
    return protocol_error(link, "Credit from a side that we send nothing");
  Peer& peer = *link.peer;
  peer.eager_consumed = std::max(peer.eager_consumed, credit.consumed);
  if (!credit.resume || peer.refused_by_it == 0) return;
  for (Delivery* d = peer.unsettled.front(); d != nullptr; d = Peer::UnsettledList::next(d)) {
    if (d->state != DeliveryState::kRefused) continue;
    d->state = DeliveryState::kQueued;
    peer.queue.push_back(d);
  }
  peer.refused_by_it = 0;
  pump(peer);
}

// --- same node: lent slots
// -----------------------------------------------------------------------------------------------

// We need a same-node peer's slot no more: tell it, unless it is gone.
void Engine::unlink(Slot* slot) {
  Peer& owner = peer_of(slot->owner);
  ForeignArena* const arena = peers_.find_arena(slot->arena);
  CHECK(arena != nullptr && arena->slots > 0);
  --arena->slots;
  if (owner.window_of == slot->arena) {
    Delivery* const delivery = outbox_.make_delivery();
    delivery->peer = &owner;
    delivery->kind = Delivery::Kind::kUnlink;
    delivery->chunk_ref = slot->chunk_ref;
    enqueue(*delivery);
  }
  memory_.drop_foreign(slot);
  drop_lost_arenas();
}

void Engine::drop_lost_arenas() {
  std::erase_if(peers_.arenas(), [&](const ForeignArena& arena) {
    if (!arena.lost || arena.slots > 0) return false;
    host_.unmap_arena(arena.info.instance);
    return true;
  });
}

void Engine::on_unlink(Link& link, const Unlink& message) {
  Peer& peer = *link.peer;
  if (!is_new(link, message.transfer)) return;
  if (Delivery* const delivery = outbox_.find(&peer, peer.rank, message.chunk_ref)) {
    if (delivery->in_lent.linked()) {
      end_lent(*delivery);
    } else if (delivery->as_reference) {
      delivery->unlinked = true;
      settle(*delivery, kNoError);
    }
  }
  ack(peer, link.id, message.transfer.sequence, kNoError);
  pump(peer);
}

// The peer, or its whole process, needs our slot no more.
void Engine::end_lent(Delivery& delivery) {
  LentList::of(&delivery)->remove(&delivery);  // the peer's, or a quarantine's
  outbox_.unindex(delivery.peer->rank, &delivery);
  release(std::exchange(delivery.slot, nullptr));
  outbox_.erase(&delivery);
}

// --- loss
// ------------------------------------------------------------------------------------------------------------------

// A new process has the rank: the old one is lost. What was never sent to the old one is for the new one.
void Engine::new_instance(Peer& peer, InstanceId instance) {
  if (peer.instance == instance) return;
  if (peer.instance != 0) {
    lose_peer(peer, Error{Errc::kPeerLost, peer.rank, "the destination was restarted", 0, 0},
              Loss::kReplaced);
  }
  if (peer.latest != 0 && peer.latest != instance)
    peer.retired[peer.retirements++ % peer.retired.size()] = peer.latest;
  peer.instance = peer.latest = instance;
  peer.heard = host_.now();
  if (peer.window_of != instance) {
    drop_unlinks(peer);  // they name chunks of the process before, and must not reach this one
    peer.window = DedupWindow{};
  }
  peer.window_of = instance;
}

// Final: the process that had this rank is gone, or as good as gone. Unless it was replaced
// nobody has the rank now, so that even what was never sent to it ends.
void Engine::lose_peer(Peer& peer, const Error& why, Loss loss) {
  ++counters_.peers_lost;
  const InstanceId lost = std::exchange(peer.instance, 0);
  close_links(peer);
  for (Delivery* delivery = peer.unsettled.front(); delivery != nullptr;) {
    // Settling one may end its whole send, but never another delivery to the same peer.
    Delivery* const next = Peer::UnsettledList::next(delivery);
    // Of what went to the old process in part, or was cut into parts for it, the new one gets nothing: it may
    // know no parts.
    const Destination* const to = delivery->destination;
    const bool begun = to != nullptr && (to->sent || to->in_parts);
    if (delivery->kind != Delivery::Kind::kUnlink && (loss != Loss::kReplaced || begun)) {
      delivery->destination->retracted = true;
      // The dead process may have been told of our slot; its clients may be looking at it.
      if (delivery->as_reference) peer.lent.push_back(delivery);
      settle(*delivery, why);
    }
    delivery = next;
  }
  fail_begun(peer, why);
  if (loss != Loss::kSilent || has_ended(peer)) drop_unlinks(peer);
  quarantine_lent(peer, lost);
  change_crowd(peer, false, peer.parked);
  peer.backoff = 0;
  peer.wanted_since = kNever;
  if (lost == 0) return;
  drop_parked_from(peer);
  for (Datum* datum = store_.all().front(); datum != nullptr;) {
    Datum* const next = ChunkStore::DatumList::next(datum);
    if (datum->awaited && datum->producer == peer.rank && datum->producer_instance == lost)
      lose_datum(*datum);
    datum = next;
  }
  if (ForeignArena* const arena = peers_.find_arena(lost)) arena->lost = true;
  drop_lost_arenas();
}

// What went to the lost process in part, and is under way no more since the next part is not here yet.
void Engine::fail_begun(Peer& peer, const Error& why) {
  outbox_.for_each_destination([&](Destination& destination) {
    if (destination.peer != &peer || destination.over || !destination.sent || !destination.open.empty())
      return;
    destination.retracted = true;
    note_failure(destination, why.code, error_text(why));
    check_destination(destination);
  });
}

// The process whose slots we gave back is no more. One that was only silent is told when it comes back: it
// may not have noticed anything.
void Engine::drop_unlinks(Peer& peer) {
  peer.window_of = 0;
  for (Delivery* delivery = peer.unsettled.front(); delivery != nullptr;) {
    Delivery* const next = Peer::UnsettledList::next(delivery);
    if (delivery->kind == Delivery::Kind::kUnlink) settle(*delivery, kNoError);
    delivery = next;
  }
}

// Slots that the lost process may still look at are freed once it is proven gone; at once when it is not on
// this node.
void Engine::quarantine_lent(Peer& peer, InstanceId lost) {
  const std::int64_t pid = std::exchange(peer.pid, 0);
  if (peer.lent.empty()) return;
  Quarantine* const quarantine = peers_.quarantines().acquire();
  quarantine->rank = peer.rank;
  quarantine->instance = lost;
  quarantine->pid = pid;
  while (Delivery* delivery = peer.lent.pop_front()) quarantine->lent.push_back(delivery);
  const Token token = expect({.what = What::kQuarantine, .peer = quarantine});
  if (pid > 0 && host_.watch_process(pid, token)) return;
  on_process_gone(token);
}

// Its process is gone. Clients of it that live on may still look at what it had told them of: the kernel says
// so, and the tick asks again.
void Engine::end_quarantine(Quarantine& quarantine) {
  quarantine.gone = true;
  if (host_.is_mapped_through(quarantine.instance)) return;
  while (Delivery* delivery = quarantine.lent.front()) end_lent(*delivery);
  peers_.quarantines().release(&quarantine);
}

}  // namespace sidecar
