// What peers send: duplicates are dropped, chunks are admitted, wait for room or are refused, become ready,
// wake who waits.
#include <algorithm>
#include <cstring>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

void Engine::on_peer_message(Link& link, const Message& message, const Incoming& incoming) {
  Peer& peer = *link.peer;
  const bool inbound = link.kind == Link::Kind::kPeerIn;
  if (const auto* chunk = std::get_if<Chunk>(&message); chunk != nullptr && inbound)
    return on_chunk(link, *chunk, incoming);
  if (incoming.present()) {
    discard(link.id, incoming);
    return protocol_error(link, "a payload with a message that carries none");
  }
  if (const auto* ping = std::get_if<Ping>(&message)) {
    if (!ping->answer) send_plain(link.id, Ping{ping->value, true});
    return;
  }
  if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    if (goodbye->final) {
      return lose_peer(peer, Error{Errc::kPeerLost, peer.rank, "the peer said goodbye", 0, 0}, Loss::kProven);
    }
    const LinkId id = link.id;  // only this link ends
    transport_.close(id);
    return on_link_down(id, Error{Errc::kUnavailable, peer.rank, "closed by the peer", 0, 0});
  }
  if (inbound) {
    if (const auto* ref = std::get_if<ChunkRef>(&message)) return on_chunk_ref(link, *ref);
    if (const auto* unlink = std::get_if<Unlink>(&message)) return on_unlink(link, *unlink);
    if (const auto* end = std::get_if<StreamEnd>(&message)) return on_stream_end(link, *end);
    if (const auto* withdraw = std::get_if<Withdraw>(&message)) return on_withdraw(link, *withdraw);
  } else {
    if (const auto* ack = std::get_if<Ack>(&message)) return on_ack(peer, *ack);
    if (const auto* refuse = std::get_if<Refuse>(&message)) return on_refuse(peer, *refuse);
    if (const auto* credit = std::get_if<Credit>(&message)) return on_credit(link, *credit);
  }
  protocol_error(link, "a message that does not belong on this link");
}

// --- exactly once
// ----------------------------------------------------------------------------------------------------------

// True: this transfer has not been seen, and counts as begun. Otherwise it was answered as far as it can be.
bool Engine::is_new(Link& link, const Transfer& transfer) {
  Peer& peer = *link.peer;
  peer.window.settle_below(transfer.settled);
  switch (peer.window.seen(transfer.sequence)) {
    case DedupWindow::Seen::kNew: peer.window.begin(transfer.sequence); return true;
    case DedupWindow::Seen::kInProgress:  // the first copy will be answered
      ++counters_.duplicates;
      return false;
    case DedupWindow::Seen::kOver:
      ++counters_.duplicates;
      ack(peer, link.id, transfer.sequence, Error{peer.window.result(transfer.sequence), kNoRank, "", 0, 0});
      return false;
    case DedupWindow::Seen::kOutside: protocol_error(link, "a sequence outside the window"); return false;
  }
  return false;
}

void Engine::ack(Peer& peer, LinkId id, Sequence sequence, const Error& result) {
  peer.window.end(sequence, result.code);
  Link* const link = find_link(id);
  if (link == nullptr) return;  // it will send again, and then get this answer
  link->reported = link->consumed;
  Ack& message = renew<Ack>(scratch_);
  message.sequence = sequence;
  message.code = result.code;
  message.text = error_text(result);
  message.consumed = link->consumed;
  send_plain(id, scratch_);
}

void Engine::refuse(Peer& peer, LinkId link, Sequence sequence) {
  ++counters_.refusals;
  peer.window.forget(sequence);
  if (!std::exchange(peer.owed_resume, true)) ++owed_resumes_;
  send_plain(link, Refuse{sequence});
}

// --- arrival
// -------------------------------------------------------------------------------------------------------------------

void Engine::on_chunk(Link& link, const Chunk& chunk, const Incoming& incoming) {
  Peer& peer = *link.peer;
  const LinkId id = link.id;
  const Sequence sequence = chunk.transfer.sequence;
  if (!is_new(link, chunk.transfer)) return discard(id, incoming);
  const ChunkMeta& meta = chunk.meta;
  const std::uint64_t unit = receive_unit(meta);
  Result<ChunkEntry*> admitted =
      memory_.receive_can_fit(meta.bytes, unit)
          ? admit(peer, meta)
          : fail(Errc::kNoSpace, "larger than the destination's receive region can ever hold", peer.rank,
                 meta.bytes, memory_.receive_limit());
  if (!admitted || *admitted == nullptr) {
    discard(id, incoming);
    ack(peer, id, sequence, admitted ? kNoError : admitted.error());
    if (Datum* const datum = store_.find(meta.id, store_.hash(meta.id))) tidy(datum);
    return;
  }
  ChunkEntry& entry = **admitted;
  describe(entry, meta, peer, id, sequence);
  if (meta.bytes == 0) {
    discard(id, incoming);
    return chunk_ready(entry);
  }
  entry.incoming = incoming;
  const std::byte* const inline_data = incoming.present() ? nullptr : chunk.inline_data.data();
  const bool wanted = !entry.waiters.empty();
  const bool first_in_line = store_.parked_wanted().empty() && (wanted || store_.parked().empty());
  if (first_in_line && start_receive(entry, inline_data)) return;
  if (!wanted && store_.parked_count() >= options_.parked_max) return turn_away(entry);
  ++counters_.parked;
  if (inline_data != nullptr) {
    entry.inline_copy = std::make_unique_for_overwrite<std::byte[]>(meta.bytes);
    std::memcpy(entry.inline_copy.get(), inline_data, meta.bytes);
  }
  entry.state = ChunkState::kParked;
  note_size(*entry.datum, meta.bytes);
  (wanted ? store_.parked_wanted() : store_.parked()).push_back(&entry);
}

void Engine::describe(ChunkEntry& entry, const ChunkMeta& meta, Peer& source, LinkId link,
                      Sequence sequence) {
  entry.kind = meta.kind;
  entry.dtype = meta.dtype;
  entry.codec = meta.codec;
  entry.bytes = meta.bytes;
  entry.unit_bytes = meta.unit_bytes;
  entry.shape = meta.shape;
  entry.source = &source;
  entry.source_instance = source.instance;
  entry.link = link;
  entry.sequence = sequence;
}

std::uint64_t Engine::receive_unit(const ChunkMeta& meta) const {
  if (meta.kind == ChunkKind::kObject) return kSlotAlign;
  for (const Client* c = clients_.all().front(); c != nullptr; c = ClientTable::ClientList::next(c)) {
    if (c->receive_unit_bytes != 0 && !c->gone) return c->receive_unit_bytes;
  }
  return meta.unit_bytes;
}

// No room, not even to park: the sender keeps it until we say that there is.
void Engine::turn_away(ChunkEntry& entry) {
  discard(entry.link, std::exchange(entry.incoming, {}));
  refuse(*entry.source, entry.link, entry.sequence);
  back_to_absent(entry);
}

// The entry as if nothing of it had come: gone, unless somebody waits for it.
void Engine::back_to_absent(ChunkEntry& entry) {
  Datum* const datum = entry.datum;
  entry.state = ChunkState::kAbsent;
  entry.inline_copy.reset();
  if (entry.waiters.empty()) store_.erase(&entry);
  tidy(datum);
}

// Takes a slot and starts to fill it; inline bytes are there at once. False: no room now.
bool Engine::start_receive(ChunkEntry& entry, const std::byte* inline_data) {
  ChunkMeta like;
  like.kind = entry.kind;
  like.unit_bytes = entry.unit_bytes;
  const std::uint64_t unit = receive_unit(like);
  entry.slot = entry.waiters.empty() ? memory_.take_unwanted(entry.bytes, unit, spare_for(entry))
                                     : memory_.take_wanted(entry.bytes, unit);
  if (entry.slot == nullptr) return false;
  note_size(*entry.datum, entry.bytes);
  counters_.bytes_received += entry.bytes;
  if (inline_data != nullptr) {
    std::memcpy(entry.slot->data, inline_data, entry.bytes);
    entry.inline_copy.reset();
    chunk_ready(entry);
    return true;
  }
  entry.state = ChunkState::kReceiving;
  const Incoming incoming = std::exchange(entry.incoming, {});
  consume(entry.link, incoming);
  transport_.receive(incoming, {entry.slot->data, entry.bytes},
                     expect({.what = What::kChunkReceived, .entry = &entry}));
  return true;
}

void Engine::on_chunk_ref(Link& link, const ChunkRef& ref) {
  Peer& peer = *link.peer;
  const Sequence sequence = ref.transfer.sequence;
  if (!is_new(link, ref.transfer)) return;
  ForeignArena* const arena = peers_.find_arena(ref.arena);
  const bool inside = arena != nullptr && ref.arena == link.instance && ref.offset <= arena->bytes &&
                      ref.meta.bytes <= arena->bytes - ref.offset;
  if (!inside) {
    ack(peer, link.id, sequence,
        Error{Errc::kProtocol, kNoRank, "ChunkRef: not inside an arena that is mapped here", 0, 0});
    return protocol_error(link, "ChunkRef: not inside the sender's arena");
  }
  const Result<ChunkEntry*> admitted = admit(peer, ref.meta);
  if (!admitted || *admitted == nullptr) {
    // An acknowledged reference is lent to us: give back what we drop. An error answer lends nothing.
    if (admitted) unlink(foreign_slot(*arena, ref, peer));
    ack(peer, link.id, sequence, admitted ? kNoError : admitted.error());
    if (Datum* const datum = store_.find(ref.meta.id, store_.hash(ref.meta.id))) tidy(datum);
    return;
  }
  ChunkEntry& entry = **admitted;
  describe(entry, ref.meta, peer, link.id, sequence);
  entry.slot = foreign_slot(*arena, ref, peer);
  ++counters_.chunks_mapped;
  counters_.bytes_mapped += ref.meta.bytes;
  chunk_ready(entry);
}

// The room that a chunk nobody waits for must leave, so that whoever waits for another of its datum is never
// blocked by it (rule 10): that of the largest in any datum of which more is to come. None once it is the
// last to come of its own, nor for the first missing chunk in an empty region, which most will want next.
std::uint64_t Engine::spare_for(const ChunkEntry& entry) {
  const Datum& datum = *entry.datum;
  if (memory_.receive_empty() && datum.arrived.first_gap() == entry.chunk) return 0;
  SizeTally& sizes = store_.awaited_sizes();
  const bool last = datum.count_known && datum.arrived.count() + 1 >= datum.num_chunks;
  if (!last || !datum.awaited) return std::max(sizes.largest(), entry.bytes);
  sizes.remove(datum.largest);
  const std::uint64_t others = sizes.largest();
  sizes.add(datum.largest);
  return others;
}

Slot* Engine::foreign_slot(ForeignArena& arena, const ChunkRef& ref, const Peer& owner) {
  ++arena.slots;
  return memory_.take_foreign(arena.data + ref.offset, ref.offset, ref.meta.bytes, ref.arena, owner.rank,
                              ref.transfer.sequence);
}

// Its bytes are here (or it has none): it exists from now on.
void Engine::chunk_ready(ChunkEntry& entry) {
  Datum& datum = *entry.datum;
  entry.state = ChunkState::kReady;
  ++counters_.chunks_received;
  datum.arrived.add(entry.chunk);
  store_.touch(&datum, host_.now());
  while (Waiter* waiter = entry.waiters.front()) {
    answer_chunk(*waiter->client, waiter->request, entry, waiter->by_value);
    remove_waiter(*waiter);
  }
  settle_arrival(entry, kNoError);
  update_awaited(datum);
  if (!store_.parked().empty()) receive_room_changed_ = true;  // one of them may be the last to come now
  if (entry.done) {
    free_entry(entry, nullptr);
    tidy(&datum);
  }
}

// Tells the sender. It may be another process by now, which knows nothing of this sequence.
void Engine::settle_arrival(ChunkEntry& entry, const Error& result) {
  Peer& peer = *std::exchange(entry.source, nullptr);
  if (peer.window_of != entry.source_instance) return;
  ack(peer, entry.link, entry.sequence, result);
  // The sender may have a newer link, where it has sent this again and was told nothing yet.
  const bool only_link = peer.links_in == (find_link(entry.link) != nullptr ? 1u : 0u);
  if (only_link) return;
  for (const Link& link : links_) {
    if (link.kind != Link::Kind::kPeerIn || link.peer != &peer || link.id == entry.link) continue;
    ack(peer, link.id, entry.sequence, result);
  }
}

// The bytes did not come: its link broke. The sender sends again, and if it has done so already, is asked to.
void Engine::chunk_failed(ChunkEntry& entry) {
  release(std::exchange(entry.slot, nullptr));
  Peer& peer = *entry.source;
  Datum* const datum = entry.datum;
  if (peer.window_of == entry.source_instance) {
    peer.window.forget(entry.sequence);
    for (Link& link : links_) {
      if (link.kind != Link::Kind::kPeerIn || link.peer != &peer || link.id == entry.link) continue;
      refuse(peer, link.id, entry.sequence);
      receive_room_changed_ = true;
    }
  }
  entry.source = nullptr;
  if (datum->lost) {
    end_waiters(entry, Error{Errc::kPeerLost, datum->producer, "recv: the producer was lost", 0, 0});
  }
  if (entry.done) {
    // Marked done and never to come from this copy: a later copy is dropped.
    datum->dropped_early = true;
    entry.done = false;
  }
  back_to_absent(entry);
}

template <class Match>
void Engine::drop_parked(Match&& match) {
  for (auto* list : {&store_.parked(), &store_.parked_wanted()}) {
    for (ChunkEntry* entry = list->front(); entry != nullptr;) {
      ChunkEntry* const next = ChunkStore::ParkedList::next(entry);
      if (match(*entry)) {
        list->remove(entry);
        discard(entry->link, std::exchange(entry->incoming, {}));
        chunk_failed(*entry);
        receive_room_changed_ = true;
      }
      entry = next;
    }
  }
}

// Parked arrivals of a link that broke (their bytes cannot be fetched any more), or of a peer that is lost.
void Engine::drop_parked_on(LinkId link) {
  drop_parked([&](const ChunkEntry& entry) { return entry.link == link; });
}

void Engine::drop_parked_from(const Peer& peer) {
  drop_parked([&](const ChunkEntry& entry) { return entry.source == &peer; });
}

void Engine::on_withdraw(Link& link, const Withdraw& withdraw) {
  Peer& peer = *link.peer;
  for (auto* list : {&store_.parked(), &store_.parked_wanted()}) {
    for (ChunkEntry* entry = list->front(); entry != nullptr; entry = ChunkStore::ParkedList::next(entry)) {
      if (entry->source != &peer || entry->sequence != withdraw.sequence) continue;
      list->remove(entry);
      discard(entry->link, std::exchange(entry->incoming, {}));
      ack(peer, link.id, withdraw.sequence,
          Error{Errc::kCancelled, kNoRank, "withdrawn by the sender", 0, 0});
      entry->source = nullptr;
      back_to_absent(*entry);
      receive_room_changed_ = true;
      return;
    }
  }
  // It overtook its chunk, whose payload travels beside it: that will be dropped when it comes.
  if (peer.window.seen(withdraw.sequence) == DedupWindow::Seen::kNew) {
    ack(peer, link.id, withdraw.sequence, Error{Errc::kCancelled, kNoRank, "withdrawn by the sender", 0, 0});
  }
}

// --- room
// ------------------------------------------------------------------------------------------------------------------------

void Engine::pump_receive_room() {
  receive_room_changed_ = false;
  for (auto* list : {&store_.parked_wanted(), &store_.parked()}) {
    while (ChunkEntry* entry = list->front()) {
      list->remove(entry);
      if (start_receive(*entry, entry->inline_copy.get())) continue;
      list->push_front(entry);
      break;
    }
    if (!list->empty()) break;  // what is wanted goes first
  }
  if (store_.parked_count() * 2 <= options_.parked_max) resume_refused();
}

// On each of a peer's links: the other side may have given up the older ones without our knowing yet.
void Engine::resume_refused() {
  if (owed_resumes_ == 0) return;
  owed_resumes_ = 0;
  for (Link& link : links_) {
    if (link.kind == Link::Kind::kPeerIn && link.peer->owed_resume) report_credit(link, true);
  }
  for (const auto& peer : peers_.all()) peer->owed_resume = false;
}

}  // namespace sidecar
