// What consumers do: wait for a chunk, get it, mark it done.
#include <cstring>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

// --- answers
// -------------------------------------------------------------------------------------------------------------

void Engine::answer(const Client& client, RequestId request, const Error& error) {
  if (!client.connected) return;
  Reply& reply = renew<Reply>(scratch_);
  reply.request = request;
  reply.code = error.code;
  reply.rank = error.rank;
  reply.text = error_text(error);
  send_plain(client.link, scratch_);
}

// The chunk asked for is past the end: how long the datum is goes with it.
void Engine::answer_end(const Client& client, RequestId request, const DataId& id, ChunkIndex chunk,
                        ChunkIndex num_chunks) {
  if (!client.connected) return;
  Reply& reply = renew<Reply>(scratch_);
  reply.request = request;
  reply.code = Errc::kEndOfStream;
  reply.meta.id = id;
  reply.meta.chunk = chunk;
  reply.meta.num_chunks = num_chunks;
  reply.meta.kind = ChunkKind::kObject;  // no bytes, whatever the datum's chunks are
  send_plain(client.link, scratch_);
}

void Engine::answer_chunk(Client& client, RequestId request, ChunkEntry& entry, bool by_value) {
  Reply& reply = renew<Reply>(scratch_);
  const Datum& datum = *entry.datum;
  reply.request = request;
  reply.meta.id = datum.id;
  reply.meta.chunk = entry.chunk;
  reply.meta.num_chunks = datum.count_known ? datum.num_chunks : 0;
  reply.meta.stream = datum.stream;
  reply.meta.kind = entry.kind;
  reply.meta.dtype = entry.dtype;
  reply.meta.codec = entry.codec;
  reply.meta.shape = entry.shape;
  reply.meta.bytes = entry.bytes;
  reply.meta.unit_bytes = entry.unit_bytes;
  if (entry.bytes == 0 || (entry.kind == ChunkKind::kObject && entry.bytes <= kInlineBytesMax)) {
    reply.where = Where::kInline;
    reply.inline_bytes = static_cast<std::uint32_t>(entry.bytes);
    if (entry.bytes > 0) std::memcpy(reply.inline_data.data(), entry.slot->data, entry.bytes);
    send_plain(client.link, scratch_);
    return;
  }
  if (by_value || (!entry.slot->foreign && options_.arena_info.path.empty())) {
    reply.where = Where::kPayload;
    counters_.bytes_copied_out += entry.bytes;
    const Token token =
        expect({.what = What::kFlight, .slot = memory_.retain(entry.slot), .client = nullptr});
    transport_.send(client.link, scratch_, {entry.slot->data, entry.bytes}, entry.bytes > options_.eager_max,
                    token);
    return;
  }
  reply.where = Where::kArena;
  reply.offset = entry.slot->offset;
  if (entry.slot->foreign) {
    const ForeignArena* const arena = peers_.find_arena(entry.slot->arena);
    CHECK(arena != nullptr);
    reply.arena = arena->info;
  } else {
    reply.arena = options_.arena_info;
  }
  reply.view = store_.grants().handle_of(&grant(client, entry)).pack();
  send_plain(client.link, scratch_);
}

Grant& Engine::grant(Client& client, ChunkEntry& entry) {
  for (Grant* found = entry.grants.front(); found != nullptr; found = ChunkEntry::GrantList::next(found)) {
    if (found->client == &client) {
      ++found->count;
      return *found;
    }
  }
  Grant* const made = store_.grants().acquire();
  made->client = &client;
  made->entry = &entry;
  made->slot = memory_.retain(entry.slot);
  made->id = entry.datum->hash;
  made->chunk = entry.chunk;
  made->count = 1;
  entry.grants.push_back(made);
  client.grants.push_back(made);
  return *made;
}

// Not kAlreadyDone: nobody had it, and whoever wants it must have it sent again, under another id.
constexpr Error kOrphan{Errc::kPeerLost, kNoRank,
                        "recv: the chunk was freed: for --orphan-grace no client was here to get it", 0, 0};

// --- recv
// -------------------------------------------------------------------------------------------------------------------

void Engine::on_recv(Client& client, const Recv& recv) {
  ++counters_.recvs;
  const auto refuse_with = [&](Errc code, const char* what, Rank rank = kNoRank) {
    answer(client, recv.request, Error{code, rank, what, 0, 0});
  };
  if (recv.id.empty()) return refuse_with(Errc::kInvalidArgument, "id: empty (1 to 255 bytes)");
  const Hash128 hash = store_.hash(recv.id);
  if (const Tombstone* stone = store_.tombstones().find(hash)) {
    if (stone->past_end(recv.chunk)) {
      return answer_end(client, recv.request, recv.id, recv.chunk, stone->num_chunks);
    }
    if (stone->lost && recv.chunk >= stone->done_below)
      return refuse_with(Errc::kPeerLost, "recv: the producer was lost");
    if (stone->orphaned && recv.chunk >= stone->done_below) return answer(client, recv.request, kOrphan);
    return refuse_with(Errc::kAlreadyDone, "recv: the chunk was marked done");
  }
  Datum* datum = store_.find(recv.id, hash);
  if (datum != nullptr) {
    if (datum->past_end(recv.chunk)) {
      return answer_end(client, recv.request, recv.id, recv.chunk, datum->num_chunks);
    }
    const bool gone = datum->gone.contains(recv.chunk);
    if (datum->done.contains(recv.chunk)) {
      if (gone) return answer(client, recv.request, kOrphan);
      return refuse_with(Errc::kAlreadyDone, "recv: the chunk was marked done");
    }
    ChunkEntry* const entry = store_.find(*datum, recv.chunk);
    if (entry != nullptr && entry->state == ChunkState::kReady) {
      answer_chunk(client, recv.request, *entry, recv.by_value);
      return;
    }
    if (datum->lost) return refuse_with(Errc::kPeerLost, "recv: the producer was lost", datum->producer);
    if (gone) return answer(client, recv.request, chunk_gone(*datum));
  }
  if (recv.timeout_ns == 0) return refuse_with(Errc::kTimeout, "recv: the chunk is not here");
  if (const Status status = may_call(client.waiters.size()); !status)
    return answer(client, recv.request, status.error());
  if (datum == nullptr) datum = name_datum(client, recv.id, hash);
  if (datum == nullptr) return answer(client, recv.request, too_many_ids());
  wait_for(client, recv, *datum);
}

void Engine::wait_for(Client& client, const Recv& recv, Datum& datum) {
  ChunkEntry* entry = store_.find(datum, recv.chunk);
  if (entry == nullptr) entry = store_.make(datum, recv.chunk);
  Waiter* const waiter = store_.waiters().acquire();
  waiter->client = &client;
  waiter->entry = entry;
  waiter->request = recv.request;
  waiter->by_value = recv.by_value;
  entry->waiters.push_back(waiter);
  client.waiters.push_back(waiter);
  set_timer(waiter->timer, Timer::kWaiter, waiter, deadline(recv.timeout_ns));
  if (entry->state == ChunkState::kParked && store_.parked().contains(entry)) {
    // Somebody waits for it now: it goes first, and may use the reserve.
    store_.parked().remove(entry);
    receive_room_changed_ = true;  // who stood behind it may fit
    if (!store_.parked_wanted().empty() || !start_receive(*entry, nullptr))
      store_.parked_wanted().push_back(entry);
  } else if (entry->state == ChunkState::kAbsent) {
    // It may be among those we refused for lack of room: as a wanted one it would be let in now.
    resume_refused(Resume::kAll);
  }
}

void Engine::remove_waiter(Waiter& waiter) {
  timers_.cancel(waiter.timer);
  waiter.entry->waiters.remove(&waiter);
  waiter.client->waiters.remove(&waiter);
  store_.waiters().release(&waiter);
}

// Ends one wait without a word; the caller tidies the datum.
void Engine::drop_waiter(Waiter& waiter) {
  ChunkEntry* const entry = waiter.entry;
  remove_waiter(waiter);
  if (!entry->waiters.empty()) return;
  if (entry->state == ChunkState::kAbsent) {
    store_.erase(entry);
  } else if (store_.parked_wanted().contains(entry)) {
    // Without the reserve it may not fit for long, and must not be in the way of those that are wanted.
    store_.parked_wanted().remove(entry);
    store_.parked().push_front(entry);
    receive_room_changed_ = true;
  }
}

void Engine::end_waiter(Waiter& waiter, const Error& error) {
  answer(*waiter.client, waiter.request, error);
  drop_waiter(waiter);
}

void Engine::end_waiters(ChunkEntry& entry, const Error& error) {
  while (Waiter* waiter = entry.waiters.front()) {
    answer(*waiter->client, waiter->request, error);
    remove_waiter(*waiter);
  }
}

// --- mark_done
// ----------------------------------------------------------------------------------------------------------------

void Engine::on_mark_done(Client& client, const MarkDone& done) {
  const auto refuse_with = [&](const char* what) {
    answer(client, done.request, Error{Errc::kInvalidArgument, kNoRank, what, 0, 0});
  };
  if (done.id.empty()) return refuse_with("id: empty (1 to 255 bytes)");
  if (done.chunk == ~ChunkIndex{0}) return refuse_with("chunk_id: too large");
  const Hash128 hash = store_.hash(done.id);
  if (const Tombstone* stone = store_.tombstones().find(hash)) {
    if (stone->past_end(done.chunk)) return refuse_with("chunk_id: past the end of the datum");
    forfeit(client, hash, done.chunk);
    return answer_ok(client, done.request);
  }
  Datum* datum = store_.find(done.id, hash);
  if (datum != nullptr && datum->past_end(done.chunk))
    return refuse_with("chunk_id: past the end of the datum");
  if (datum == nullptr) datum = name_datum(client, done.id, hash);
  if (datum == nullptr) return answer(client, done.request, too_many_ids());
  if (datum->done.runs() >= kGapsMax && !datum->done.contains(done.chunk)) {
    return answer(client, done.request,
                  Error{Errc::kNoSpace, kNoRank,
                        "mark_done: too many gaps between the chunks of this id that are done (gaps)",
                        datum->done.runs(), 0});
  }
  if (datum->done.add(done.chunk)) {
    datum->gone.remove(done.chunk);  // whoever asks for it now is told that it is done
    ++counters_.dones;
    hide_chunk(client, *datum, done.chunk);
    if (Datum* const left = store_.find(done.id, hash)) tidy(left);
  } else {
    forfeit(client, hash, done.chunk);
  }
  answer_ok(client, done.request);
}

// Another client marked the chunk done before; now this one gives up what it still sees of it.
void Engine::forfeit(Client& client, const Hash128& id, ChunkIndex chunk) {
  for (Grant* held = client.grants.front(); held != nullptr;
       held = List<Grant, &Grant::in_client>::next(held)) {
    if (held->entry == nullptr && held->chunk == chunk && held->id == id) return drop_grant(*held);
  }
}

void Engine::hide_chunk(Client& client, Datum& datum, ChunkIndex chunk) {
  ChunkEntry* const entry = store_.find(datum, chunk);
  if (entry == nullptr || entry->state == ChunkState::kAbsent) datum.dropped_early = true;
  if (entry == nullptr) return;
  end_waiters(*entry, Error{Errc::kAlreadyDone, kNoRank, "recv: the chunk was marked done"});
  switch (entry->state) {
    case ChunkState::kAbsent: store_.erase(entry); return;
    case ChunkState::kParked: {
      store_.unpark(entry);
      receive_room_changed_ = true;  // who stood behind it may fit
      entry->done = true;
      begin_receiving(*entry);
      return take_all_in(*entry, nullptr);  // away
    }
    case ChunkState::kReceiving:
      entry->done = true;  // freed when all its bytes have come
      return;
    case ChunkState::kReady: free_entry(*entry, &client); return;
  }
}

// Takes a ready chunk out of the store. Its slots live on for the processes that look at them, except
// `forfeits`' own.
void Engine::free_entry(ChunkEntry& entry, const Client* forfeits) {
  while (Grant* held = entry.grants.front()) {
    if (held->client == forfeits) {
      drop_grant(*held);
    } else {
      entry.grants.remove(held);
      held->entry = nullptr;
    }
  }
  release(std::exchange(entry.slot, nullptr));
  store_.erase(&entry);
}

}  // namespace sidecar
