// Bytes of chunks on their way in: they wait for room, move into their slot, whole or in parts, or fail to
// come.
#include <algorithm>
#include <cstring>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

// --- what comes
// --------------------------------------------------------------------------------------------------------------

// A chunk of which this process of the peer has sent parts, and not all.
ChunkEntry* Engine::find_begun(const Peer& peer, const DataId& id, const Hash128& hash, ChunkIndex chunk) {
  const Datum* const datum = store_.find(id, hash);
  ChunkEntry* const entry = datum == nullptr ? nullptr : store_.find(*datum, chunk);
  const bool begun = entry != nullptr && entry->in_parts && entry->source == &peer &&
                     entry->source_instance == peer.instance;
  return begun ? entry : nullptr;
}

void Engine::on_further_part(ChunkEntry& entry, Link& link, const Chunk& chunk, const Incoming& incoming) {
  const bool crowded =
      entry.state == ChunkState::kParked && store_.arrivals().size() >= 2 * std::size_t{options_.parked_max};
  if (crowded || entry.retracted) {  // another attempt, and the one before is not out of the way yet
    entry.lacks_parts |= crowded;
    discard(link.id, incoming);
    return refuse(*link.peer, link.id, chunk.transfer.sequence);
  }
  if (const Status status = check_part(entry, chunk); !status) {
    discard(link.id, incoming);
    return ack(*link.peer, link.id, chunk.transfer.sequence, status.error());
  }
  Arrival& arrival = add_arrival(entry, link.id, chunk, incoming);
  if (entry.state == ChunkState::kReceiving) take_in(arrival, nullptr);
}

Status Engine::check_part(const ChunkEntry& entry, const Chunk& chunk) const {
  const ChunkMeta& meta = chunk.meta;
  if (chunk.part_bytes == 0 || chunk.part_bytes == meta.bytes)
    return fail(Errc::kAlreadyExists, "parts of this chunk were sent before");
  if (meta.bytes != entry.bytes || meta.kind != entry.kind || meta.dtype != entry.dtype ||
      !(meta.shape == entry.shape)) {
    return fail(Errc::kInvalidArgument, "part: of another chunk than those before (bytes, before)", kNoRank,
                meta.bytes, entry.bytes);
  }
  if (entry.arrivals.size() >= kPartsMax)
    return fail(Errc::kInvalidArgument, "part: too many of them (limit)", kNoRank, kPartsMax);
  for (const Arrival* a = entry.arrivals.front(); a != nullptr; a = ChunkEntry::ArrivalList::next(a)) {
    if (chunk.part_begin < a->part.begin + a->part.bytes &&
        a->part.begin < chunk.part_begin + chunk.part_bytes)
      return fail(Errc::kAlreadyExists, "part: it was sent before", kNoRank, chunk.part_begin);
  }
  return {};
}

Arrival& Engine::add_arrival(ChunkEntry& entry, LinkId link, const Chunk& chunk, const Incoming& incoming) {
  Arrival* const arrival = store_.arrivals().acquire();
  arrival->entry = &entry;
  arrival->part =
      chunk.part_bytes > 0 ? Slice{chunk.part_begin, chunk.part_bytes} : Slice{0, chunk.meta.bytes};
  arrival->link = link;
  arrival->sequence = chunk.transfer.sequence;
  arrival->incoming = incoming;
  entry.arrivals.push_back(arrival);
  return *arrival;
}

void Engine::remove_arrival(Arrival& arrival) {
  if (arrival.state == Arrival::State::kLanded) arrival.entry->landed -= arrival.part.bytes;
  arrival.entry->arrivals.remove(&arrival);
  store_.arrivals().release(&arrival);
}

// The room that a chunk nobody waits for must leave, so that whoever waits for another of its datum is never
// blocked by it (rule 10): that of the largest in any datum of which chunks are to come that have no slot
// yet. None for its own datum once it is the last of those, nor for the first missing chunk in an empty
// region, which most will want next.
std::uint64_t Engine::spare_for(const ChunkEntry& entry) {
  const Datum& datum = *entry.datum;
  if (memory_.receive_empty() && datum.arrived.first_gap() == entry.chunk) return 0;
  SizeTally& rooms = store_.rooms_kept();
  const bool last = datum.count_known && datum.arrived.count() + datum.receiving + 1 >= datum.num_chunks;
  if (!last) return std::max(rooms.largest(), entry.bytes);
  if (datum.room_kept > 0) rooms.remove(datum.room_kept);
  const std::uint64_t others = rooms.largest();
  if (datum.room_kept > 0) rooms.add(datum.room_kept);
  return others;
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
  begin_receiving(entry);
  take_all_in(entry, inline_data);
  return true;
}

void Engine::begin_receiving(ChunkEntry& entry) {
  if (entry.state == ChunkState::kParked) left_line(*entry.source);
  entry.state = ChunkState::kReceiving;
  ++entry.datum->receiving;
  note_size(*entry.datum, entry.bytes);
}

void Engine::take_all_in(ChunkEntry& entry, const std::byte* inline_data) {
  const bool lacks_parts = std::exchange(entry.lacks_parts, false);
  for (Arrival* arrival = entry.arrivals.front(); arrival != nullptr;) {
    Arrival* const next = ChunkEntry::ArrivalList::next(arrival);
    take_in(*arrival, inline_data);  // the last one may end the entry
    arrival = next;
  }
  if (lacks_parts) resume_refused(Resume::kAll);  // it has taken room, and gives none back without them
}

// Into the slot; without one, for a chunk that was marked done before it came, away.
void Engine::take_in(Arrival& arrival, const std::byte* inline_data) {
  ChunkEntry& entry = *arrival.entry;
  if (entry.slot == nullptr) {
    discard(arrival.link, std::exchange(arrival.incoming, {}));
    arrival.inline_copy.reset();
    return landed(arrival);
  }
  counters_.bytes_received += arrival.part.bytes;
  const Bytes into{entry.slot->data + arrival.part.begin, arrival.part.bytes};
  if (!arrival.incoming.present()) {
    std::memcpy(into.data(), inline_data != nullptr ? inline_data : arrival.inline_copy.get(), into.size());
    arrival.inline_copy.reset();
    return landed(arrival);
  }
  arrival.state = Arrival::State::kMoving;
  ++entry.moving;
  const Incoming incoming = std::exchange(arrival.incoming, {});
  consume(arrival.link, incoming);
  transport_.receive(incoming, into, expect({.what = What::kArrived, .arrival = &arrival}));
}

// In place. The last one makes the chunk; the others are acknowledged now.
void Engine::landed(Arrival& arrival) {
  ChunkEntry& entry = *arrival.entry;
  if (arrival.state == Arrival::State::kMoving) --entry.moving;
  arrival.state = Arrival::State::kLanded;
  entry.landed += arrival.part.bytes;
  if (entry.landed == entry.bytes && !entry.retracted)
    return make_ready(entry, arrival.link, arrival.sequence);
  settle_arrival(entry, arrival.link, arrival.sequence, kNoError);
  drop_if_void(entry);
}

// --- answers
// --------------------------------------------------------------------------------------------------------------

// Tells the sender. It may be another process by now, which knows nothing of this sequence.
void Engine::settle_arrival(ChunkEntry& entry, LinkId id, Sequence sequence, const Error& result) {
  Peer& peer = *entry.source;
  if (peer.window_of != entry.source_instance) return;
  ack(peer, id, sequence, result);
  // The sender may have a newer link, where it has sent this again and was told nothing yet.
  const bool only_link = peer.links_in == (find_link(id) != nullptr ? 1u : 0u);
  if (only_link) return;
  for (const Link& link : links_) {
    if (link.kind != Link::Kind::kPeerIn || link.peer != &peer || link.id == id) continue;
    ack(peer, link.id, sequence, result);
  }
}

// --- what does not come
// --------------------------------------------------------------------------------------------------------------

// The bytes did not come: its link broke. The sender sends again, and if it has done so already, is asked to.
void Engine::arrival_failed(Arrival& arrival) {
  ChunkEntry& entry = *arrival.entry;
  Peer& peer = *entry.source;
  if (arrival.state == Arrival::State::kMoving) --entry.moving;
  if (peer.window_of == entry.source_instance) {
    peer.window.forget(arrival.sequence);
    for (Link& link : links_) {
      if (link.kind != Link::Kind::kPeerIn || link.peer != &peer || link.id == arrival.link) continue;
      refuse(peer, link.id, arrival.sequence);
      entry.lacks_parts = receive_room_changed_ = true;
    }
  }
  remove_arrival(arrival);
  if (entry.arrivals.empty()) return back_to_absent(entry);
  // While it has room of which others wait, and the rest of it was refused, nobody gets any further.
  if (entry.state == ChunkState::kReceiving && std::exchange(entry.lacks_parts, false))
    resume_refused(Resume::kAll);
  drop_if_void(entry);
}

// What came of it in part is worth nothing, and nothing of it is moving any more.
void Engine::drop_if_void(ChunkEntry& entry) {
  if (entry.moving > 0 || !(entry.retracted || entry.datum->lost)) return;
  drop_parts(entry);
  back_to_absent(entry);
}

void Engine::drop_parts(ChunkEntry& entry) {
  if (entry.in_parked.linked()) store_.unpark(&entry);
  while (Arrival* arrival = entry.arrivals.front()) {
    if (arrival->state == Arrival::State::kParked) {
      discard(arrival->link, std::exchange(arrival->incoming, {}));
      settle_arrival(entry, arrival->link, arrival->sequence, Error{Errc::kCancelled, kNoRank, "withdrawn"});
    }
    remove_arrival(*arrival);
  }
  receive_room_changed_ = true;
}

// The entry as if nothing of it had come: gone, unless somebody waits for it.
void Engine::back_to_absent(ChunkEntry& entry) {
  Datum* const datum = entry.datum;
  reset_entry(entry);
  tidy(datum);
}

void Engine::reset_entry(ChunkEntry& entry) {
  CHECK(entry.arrivals.empty() && entry.moving == 0);
  if (entry.state == ChunkState::kParked) left_line(*entry.source);
  release(std::exchange(entry.slot, nullptr));
  entry.source = nullptr;
  entry.in_parts = entry.retracted = entry.lacks_parts = false;
  Datum& datum = *entry.datum;
  if (std::exchange(entry.state, ChunkState::kAbsent) == ChunkState::kReceiving) --datum.receiving;
  keep_room(datum);
  if (std::exchange(entry.sender_lost, false) && !entry.done) datum.gone.add(entry.chunk);
  if (datum.gone.contains(entry.chunk)) end_waiters(entry, chunk_gone(datum));
  if (datum.lost)
    end_waiters(entry, Error{Errc::kPeerLost, datum.producer, "recv: the producer was lost", 0, 0});
  // Marked done and never to come from this copy: a later copy is dropped.
  if (std::exchange(entry.done, false)) datum.dropped_early = true;
  if (entry.waiters.empty()) store_.erase(&entry);
}

void Engine::on_retract(Link& link, const Retract& retract) {
  if (!is_new(link, retract.transfer)) return;
  Peer& peer = *link.peer;
  const Hash128 hash = store_.hash(retract.id);
  if (ChunkEntry* entry = find_begun(peer, retract.id, hash, retract.chunk)) {
    entry->retracted = true;
    entry->sender_lost |= retract.lost;
    drop_if_void(*entry);
  } else if (retract.lost) {
    chunk_lost(peer, retract, hash);
  }
  ack(peer, link.id, retract.transfer.sequence, kNoError);
}

template <class Match>
void Engine::drop_parked(Match&& match) {
  for (auto* list : {&store_.parked(), &store_.parked_wanted()}) {
    for (ChunkEntry* entry = list->front(); entry != nullptr;) {
      ChunkEntry* const next = ChunkStore::ParkedList::next(entry);
      for (Arrival* arrival = entry->arrivals.front(); arrival != nullptr;) {
        Arrival* const next_arrival = ChunkEntry::ArrivalList::next(arrival);
        if (match(*arrival)) {
          if (entry->arrivals.size() == 1) list->remove(entry);
          discard(arrival->link, std::exchange(arrival->incoming, {}));
          arrival_failed(*arrival);
          receive_room_changed_ = true;
        }
        arrival = next_arrival;
      }
      entry = next;
    }
  }
}

// Parked arrivals of a link that broke (their bytes cannot be fetched any more), or of a peer that is lost.
void Engine::drop_parked_on(LinkId link) {
  drop_parked([&](const Arrival& arrival) { return arrival.link == link; });
}

void Engine::drop_parked_from(const Peer& peer) {
  drop_parked([&](const Arrival& arrival) { return arrival.entry->source == &peer; });
}

void Engine::on_withdraw(Link& link, const Withdraw& withdraw) {
  Peer& peer = *link.peer;
  const Error withdrawn{Errc::kCancelled, kNoRank, "withdrawn by the sender", 0, 0};
  for (auto* list : {&store_.parked(), &store_.parked_wanted()}) {
    for (ChunkEntry* entry = list->front(); entry != nullptr; entry = ChunkStore::ParkedList::next(entry)) {
      if (entry->source != &peer) continue;
      for (Arrival* a = entry->arrivals.front(); a != nullptr; a = ChunkEntry::ArrivalList::next(a)) {
        if (a->sequence != withdraw.sequence) continue;
        discard(a->link, std::exchange(a->incoming, {}));
        ack(peer, link.id, withdraw.sequence, withdrawn);
        remove_arrival(*a);
        receive_room_changed_ = true;
        if (!entry->arrivals.empty()) return;
        list->remove(entry);
        return back_to_absent(*entry);
      }
    }
  }
  // It overtook its chunk, whose payload travels beside it or on an older link: that will be dropped when it
  // comes. What is over was told on an older link, perhaps in vain.
  const DedupWindow::Seen seen = peer.window.seen(withdraw.sequence);
  if (seen == DedupWindow::Seen::kNew) {
    ack(peer, link.id, withdraw.sequence, withdrawn);
  } else if (seen == DedupWindow::Seen::kOver) {
    ack(peer, link.id, withdraw.sequence, Error{peer.window.result(withdraw.sequence), kNoRank, "", 0, 0});
  }
}

}  // namespace sidecar
