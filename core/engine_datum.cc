// A datum as a whole: what may join it, how long it is, when it is over, lost or forgotten.
#include <algorithm>

#include "core/engine.h"

namespace sidecar {

// The entry for a chunk that may come in; null: dropped, to be acknowledged; an error: to be answered.
Result<ChunkEntry*> Engine::admit(const Peer& peer, const ChunkMeta& meta, const Hash128& hash,
                                  bool in_parts) {
  if (const Tombstone* stone = store_.tombstones().find(hash)) {
    if (stone->lost) return fail(Errc::kPeerLost, "this id belongs to a datum whose producer was lost");
    if (stone->all_arrived)
      return fail(Errc::kAlreadyExists, "this chunk was sent and done before; ids cannot be reused");
    return nullptr;
  }
  Datum* datum = store_.find(meta.id, hash);
  if (datum == nullptr && draining_) return tl::unexpected(refuse_new());
  if (datum == nullptr) datum = store_.make(meta.id, hash, host_.now());
  ChunkEntry* const entry = store_.find(*datum, meta.chunk);
  if (datum->arrived.contains(meta.chunk) || (entry != nullptr && entry->state != ChunkState::kAbsent)) {
    return fail(Errc::kAlreadyExists, "this chunk was sent before; the first data stays");
  }
  if (const Status status = agree(*datum, peer, meta.stream); !status) return tl::unexpected(status.error());
  if (datum->lost)
    return fail(Errc::kPeerLost, "the producer of this datum was lost; what is not here never comes");
  if (!meta.stream && datum->count_known && datum->num_chunks != meta.num_chunks) {
    return fail(Errc::kInvalidArgument, "num_chunks: not as before (given, before)", kNoRank, meta.num_chunks,
                datum->num_chunks);
  }
  if (datum->past_end(meta.chunk)) {
    return fail(Errc::kInvalidArgument, "chunk_id: the stream was closed with fewer chunks", kNoRank,
                meta.chunk, datum->num_chunks);
  }
  if (!meta.stream && !datum->count_known) count_known(*datum, meta.num_chunks);
  if (!datum->done.contains(meta.chunk)) datum->gone.remove(meta.chunk);
  if (datum->done.contains(meta.chunk)) {
    if (in_parts) {  // dropped as they come, and acknowledged to the last
      ChunkEntry* const dropped = store_.make(*datum, meta.chunk);
      dropped->done = true;
      return dropped;
    }
    datum->arrived.add(meta.chunk);
    update_awaited(*datum);
    return nullptr;
  }
  return entry != nullptr ? entry : store_.make(*datum, meta.chunk);
}

// The first message of a datum fixes its mode and its producer; later ones must agree.
Status Engine::agree(Datum& datum, const Peer& peer, bool stream) {
  if (!datum.mode_known) {
    unname_datum(datum);
    datum.mode_known = true;
    datum.stream = stream;
    datum.producer = peer.rank;
    datum.producer_instance = peer.instance;
    update_awaited(datum);
    return {};
  }
  if (datum.stream != stream) {
    return fail(Errc::kInvalidArgument,
                stream ? "stream: this datum is not one" : "stream: this datum is one");
  }
  if (datum.producer != peer.rank) {
    return fail(Errc::kInvalidArgument, "id: this datum has another producer", datum.producer);
  }
  return {};
}

Error Engine::refuse_new() const {
  return {Errc::kUnavailable, options_.rank, "the destination is draining and takes nothing new", 0, 0};
}

Status Engine::close_datum(const Peer& peer, const StreamEnd& end) {
  const Hash128 hash = store_.hash(end.id);
  if (const Tombstone* stone = store_.tombstones().find(hash)) {
    if (stone->lost || stone->num_chunks == end.num_chunks) return {};
    return fail(Errc::kInvalidArgument, "close_stream: closed before with another count", kNoRank,
                end.num_chunks, stone->num_chunks);
  }
  Datum* datum = store_.find(end.id, hash);
  if (datum == nullptr && draining_) return tl::unexpected(refuse_new());
  if (datum == nullptr) datum = store_.make(end.id, hash, host_.now());
  Status status = agree(*datum, peer, true);
  if (status && datum->count_known && datum->num_chunks != end.num_chunks) {
    status = fail(Errc::kInvalidArgument, "close_stream: closed before with another count (now, before)",
                  kNoRank, end.num_chunks, datum->num_chunks);
  }
  std::uint64_t bound = datum->arrived.bound();
  for (ChunkEntry* e = datum->chunks.front(); e != nullptr; e = Datum::ChunkList::next(e)) {
    if (e->state != ChunkState::kAbsent) bound = std::max(bound, std::uint64_t{e->chunk} + 1);
  }
  if (status && bound > end.num_chunks) {
    status = fail(Errc::kInvalidArgument, "close_stream: more chunks than that were sent (count, sent)",
                  kNoRank, end.num_chunks, bound);
  }
  if (status && !datum->count_known) count_known(*datum, end.num_chunks);
  tidy(datum);
  return status;
}

void Engine::on_stream_end(Link& link, const StreamEnd& end) {
  if (!is_new(link, end.transfer)) return;
  const Status status = close_datum(*link.peer, end);
  ack(*link.peer, link.id, end.transfer.sequence, status ? kNoError : status.error());
}

// Everybody who waits for a chunk past the end is told so.
void Engine::count_known(Datum& datum, ChunkIndex num_chunks) {
  datum.count_known = true;
  datum.num_chunks = num_chunks;
  for (ChunkEntry* entry = datum.chunks.front(); entry != nullptr;) {
    ChunkEntry* const next = Datum::ChunkList::next(entry);
    if (entry->chunk >= num_chunks) {
      CHECK(entry->state == ChunkState::kAbsent);  // checked before the count was accepted
      while (Waiter* waiter = entry->waiters.front()) {
        answer_end(*waiter->client, waiter->request, datum.id, entry->chunk, num_chunks);
        remove_waiter(*waiter);
      }
      store_.erase(entry);
    }
    entry = next;
  }
  update_awaited(datum);
}

// Keeps the producer's count of data that would suffer from its loss.
void Engine::update_awaited(Datum& datum) {
  const bool all_here = datum.count_known && datum.arrived.first_gap() >= datum.num_chunks;
  const bool awaited = datum.mode_known && !datum.lost && !all_here;
  if (awaited != datum.awaited) {
    datum.awaited = awaited;
    Peer& peer = peer_of(datum.producer);
    if (awaited)
      ++peer.awaited;
    else
      --peer.awaited;
  }
  keep_room(datum);
}

// One of its chunks has come, and is not turned away.
void Engine::note_size(Datum& datum, std::uint64_t bytes) {
  datum.largest = std::max(datum.largest, bytes);
  keep_room(datum);
}

// Room is kept for a datum as long as chunks of it are to come that have no slot yet.
void Engine::keep_room(Datum& datum) {
  const bool more = datum.awaited && !(datum.count_known && datum.arrived.count() + datum.receiving >=
                                                                std::uint64_t{datum.num_chunks});
  const std::uint64_t room = more ? datum.largest : 0;
  const std::uint64_t before = std::exchange(datum.room_kept, room);
  if (room == before) return;
  if (before > 0) store_.rooms_kept().remove(before);
  if (room > 0) store_.rooms_kept().add(room);
  if (room < before && before > memory_.reserve_limit()) receive_room_changed_ = true;
}

// A client of the producer's was to send this chunk, and is gone. Nothing of it is here; should it be sent
// again, by whoever takes that client's place, it is welcome.
void Engine::chunk_lost(const Peer& peer, const Retract& retract, const Hash128& hash) {
  if (store_.tombstones().find(hash) != nullptr) return;
  Datum* datum = store_.find(retract.id, hash);
  if (datum == nullptr && draining_) return;
  if (datum == nullptr) datum = store_.make(retract.id, hash, host_.now());
  const ChunkIndex chunk = retract.chunk;
  const bool others = datum->mode_known && datum->producer != peer.rank;
  if (others || datum->past_end(chunk) || datum->arrived.contains(chunk) || datum->done.contains(chunk))
    return;
  ChunkEntry* const entry = store_.find(*datum, chunk);
  if (entry != nullptr && entry->state != ChunkState::kAbsent) return;  // another attempt is coming in
  datum->producer = peer.rank;
  if (datum->gone.runs() < kGapsMax) datum->gone.add(chunk);
  if (entry == nullptr) return;
  end_waiters(*entry, chunk_gone(*datum));
  store_.erase(entry);
}

Error Engine::chunk_gone(const Datum& datum) {
  return {Errc::kPeerLost, datum.producer, "recv: the client that was sending the chunk is gone"};
}

void Engine::lose_datum(Datum& datum) {
  datum.lost = true;
  update_awaited(datum);
  for (ChunkEntry* entry = datum.chunks.front(); entry != nullptr;) {
    ChunkEntry* const next = Datum::ChunkList::next(entry);
    if (entry->state == ChunkState::kAbsent) {
      end_waiters(*entry, Error{Errc::kPeerLost, datum.producer, "recv: the producer was lost", 0, 0});
      store_.erase(entry);
    } else if (entry->state == ChunkState::kReceiving && entry->moving == 0) {  // in part, and never whole
      drop_parts(*entry);
      reset_entry(*entry);
    }
    entry = next;
  }
  tidy(&datum);
}

// Called whenever a datum may have become superfluous: all done (or lost and nothing left) becomes a
// tombstone, a mere placeholder vanishes.
void Engine::tidy(Datum* datum) {
  if (!datum->chunks.empty()) return;
  // A tombstone knows what was done of a lost datum only as long as that has no gaps.
  const bool over = datum->complete() || (datum->lost && datum->done.count() == datum->done.first_gap());
  // A closed stream is remembered even while it is empty; the count of any other datum comes with each of its
  // chunks.
  const bool nothing = datum->arrived.count() == 0 && datum->done.count() == 0 && datum->gone.count() == 0 &&
                       !(datum->count_known && datum->stream);
  if (!over && !nothing) return;
  if (over) {
    const bool all_arrived = datum->arrived.first_gap() >= datum->num_chunks;
    const bool orphaned = datum->complete() && datum->gone.count() > 0;
    store_.tombstones().bury(Tombstone{
        .id = datum->hash,
        .buried = host_.now(),
        .num_chunks = datum->num_chunks,
        .done_below = static_cast<ChunkIndex>(orphaned ? datum->gone.lowest() : datum->done.first_gap()),
        .all_arrived = all_arrived,
        .lost = datum->lost && !datum->complete(),
        .orphaned = orphaned});
  }
  erase_datum(datum);
}

void Engine::erase_datum(Datum* datum) {
  if (std::exchange(datum->awaited, false)) --peer_of(datum->producer).awaited;
  keep_room(*datum);
  unname_datum(*datum);
  store_.erase(datum);
}

// Ids that hold nothing here but were never completed: marked done before anything of them came, or given up
// by their producer half way. Nobody spoke of them for long. Looks at a few per tick, all of them in turn,
// and at more the more there are, so that no rate of new ones outruns it.
void Engine::forget_idle_data(TimeNs now) {
  const std::size_t all = store_.all().size();
  for (std::size_t left = std::min(all, std::max<std::size_t>(256, all / 256)); left > 0; --left) {
    Datum* const datum = store_.all().front();
    const TimeNs kept = datum->arrived.count() > 0 ? kIdleDatumNs : kTombstoneNs;
    if (datum->chunks.empty() && now - datum->touched >= kept) {
      erase_datum(datum);
    } else {
      store_.touch(datum, datum->touched);  // to the end of the line, as old as it is
    }
  }
}

}  // namespace sidecar
