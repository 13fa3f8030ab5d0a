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
    if (const auto* retract = std::get_if<Retract>(&message)) return on_retract(link, *retract);
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
  if (result.code == Errc::kOk && link->version >= kAckRunsVersion) return owe_ack(*link, sequence);
  send_ack(*link, sequence, 1, result);
}

void Engine::send_ack(Link& link, Sequence sequence, std::uint32_t count, const Error& result) {
  link.reported = link.consumed;
  Ack& message = renew<Ack>(scratch_);
  message.sequence = sequence;
  message.count = count;
  message.code = result.code;
  message.text = error_text(result);
  message.consumed = link.consumed;
  send_plain(link.id, scratch_);
}

// What came together is acknowledged together, once all of it has been looked at: over TCP a small message
// costs as much as a small chunk.
void Engine::owe_ack(Link& link, Sequence sequence) {
  const bool follows = sequence == link.owed_from + link.owed_acks && link.owed_acks < kAckRunMax;
  if (link.owed_acks == 0)
    links_owed_acks_.push_back(link.id);
  else if (!follows)
    send_ack(link, link.owed_from, std::exchange(link.owed_acks, 0), kNoError);
  if (link.owed_acks == 0) link.owed_from = sequence;
  ++link.owed_acks;
}

void Engine::pay_acks() {
  for (const LinkId id : links_owed_acks_) {
    Link* const link = find_link(id);
    if (link != nullptr && link->owed_acks > 0)
      send_ack(*link, link->owed_from, std::exchange(link->owed_acks, 0), kNoError);
  }
  links_owed_acks_.clear();
}

// --- arrival
// -------------------------------------------------------------------------------------------------------------------

void Engine::on_chunk(Link& link, const Chunk& chunk, const Incoming& incoming) {
  Peer& peer = *link.peer;
  const LinkId id = link.id;
  const Sequence sequence = chunk.transfer.sequence;
  if (!is_new(link, chunk.transfer)) return discard(id, incoming);
  const ChunkMeta& meta = chunk.meta;
  const Hash128 hash = store_.hash(meta.id);
  if (ChunkEntry* begun = find_begun(peer, meta.id, hash, meta.chunk))
    return on_further_part(*begun, link, chunk, incoming);
  const bool in_parts = chunk.part_bytes > 0 && chunk.part_bytes < meta.bytes;
  Result<ChunkEntry*> admitted =
      memory_.receive_can_fit(meta.bytes, receive_unit(meta))
          ? admit(peer, meta, hash, in_parts)
          : fail(Errc::kNoSpace, "larger than the destination's receive region can ever hold", peer.rank,
                 meta.bytes, memory_.receive_limit());
  if (!admitted || *admitted == nullptr) {
    discard(id, incoming);
    ack(peer, id, sequence, admitted ? kNoError : admitted.error());
    if (Datum* const datum = store_.find(meta.id, hash)) tidy(datum);
    return;
  }
  ChunkEntry& entry = **admitted;
  describe(entry, meta, peer);
  entry.in_parts = in_parts;
  Arrival& arrival = add_arrival(entry, id, chunk, incoming);
  if (meta.bytes == 0 || entry.done) {
    begin_receiving(entry);
    return take_in(arrival, nullptr);
  }
  const std::byte* const inline_data = incoming.present() ? nullptr : chunk.inline_data.data();
  const bool wanted = !entry.waiters.empty();
  const bool first_in_line = store_.parked_wanted().empty() && (wanted || store_.parked().empty());
  if (first_in_line && start_receive(entry, inline_data)) return;
  if (!wanted && must_turn_away(peer)) return turn_away(arrival);
  ++counters_.parked;
  if (inline_data != nullptr) {
    arrival.inline_copy = std::make_unique_for_overwrite<std::byte[]>(meta.bytes);
    std::memcpy(arrival.inline_copy.get(), inline_data, meta.bytes);
  }
  entry.state = ChunkState::kParked;
  change_crowd(peer, peer.owed_resume, peer.parked + 1);
  note_size(*entry.datum, meta.bytes);
  (wanted ? store_.parked_wanted() : store_.parked()).push_back(&entry);
}

void Engine::describe(ChunkEntry& entry, const ChunkMeta& meta, Peer& source) {
  entry.kind = meta.kind;
  entry.dtype = meta.dtype;
  entry.codec = meta.codec;
  entry.bytes = meta.bytes;
  entry.unit_bytes = meta.unit_bytes;
  entry.shape = meta.shape;
  entry.source = &source;
  entry.source_instance = source.instance;
}

std::uint64_t Engine::receive_unit(const ChunkMeta& meta) const {
  if (meta.kind == ChunkKind::kObject) return kSlotAlign;
  for (const Client* c = clients_.all().front(); c != nullptr; c = ClientTable::ClientList::next(c)) {
    if (c->receive_unit_bytes != 0 && !c->gone) return c->receive_unit_bytes;
  }
  return meta.unit_bytes;
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
  const Hash128 hash = store_.hash(ref.meta.id);
  const Result<ChunkEntry*> admitted = admit(peer, ref.meta, hash, false);
  if (!admitted || *admitted == nullptr) {
    // An acknowledged reference is lent to us: give back what we drop. An error answer lends nothing.
    if (admitted) unlink(foreign_slot(*arena, ref, peer));
    ack(peer, link.id, sequence, admitted ? kNoError : admitted.error());
    if (Datum* const datum = store_.find(ref.meta.id, hash)) tidy(datum);
    return;
  }
  ChunkEntry& entry = **admitted;
  describe(entry, ref.meta, peer);
  entry.slot = foreign_slot(*arena, ref, peer);
  ++counters_.chunks_mapped;
  counters_.bytes_mapped += ref.meta.bytes;
  make_ready(entry, link.id, sequence);
}

Slot* Engine::foreign_slot(ForeignArena& arena, const ChunkRef& ref, const Peer& owner) {
  ++arena.slots;
  return memory_.take_foreign(arena.data + ref.offset, ref.offset, ref.meta.bytes, ref.arena, owner.rank,
                              ref.transfer.sequence);
}

// Its bytes are here (or it has none): it exists from now on. `link` and `sequence`: of what came last.
void Engine::make_ready(ChunkEntry& entry, LinkId link, Sequence sequence) {
  Datum& datum = *entry.datum;
  if (std::exchange(entry.state, ChunkState::kReady) == ChunkState::kReceiving) --datum.receiving;
  ++counters_.chunks_received;
  datum.arrived.add(entry.chunk);
  entry.ready_since = host_.now();
  store_.ready().push_back(&entry);
  store_.touch(&datum, host_.now());
  while (Waiter* waiter = entry.waiters.front()) {
    answer_chunk(*waiter->client, waiter->request, entry, waiter->by_value);
    remove_waiter(*waiter);
  }
  settle_arrival(entry, link, sequence, kNoError);
  while (Arrival* arrival = entry.arrivals.front()) remove_arrival(*arrival);
  entry.source = nullptr;
  update_awaited(datum);
  if (!store_.parked().empty()) receive_room_changed_ = true;  // one of them may be the last to come now
  if (entry.done) {
    free_entry(entry, nullptr);
    tidy(&datum);
  }
}

}  // namespace sidecar
