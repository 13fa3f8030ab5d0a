#include "core/engine.h"

#include <algorithm>
#include <cstdio>

#include "core/check.h"
#include "core/engine_text.h"

namespace sidecar {

Engine::Engine(const EngineOptions& options, Transport& transport, Directory& directory, Host& host,
               Device* device)
    : options_(options),
      transport_(transport),
      directory_(directory),
      host_(host),
      device_(device),
      alone_(std::make_shared<const Ranks>(Ranks{options.rank})),
      memory_(MemoryOptions{options.arena, options.instance, options.send_share, options.reserve_share}),
      store_(options.hash_key[0], options.hash_key[1]) {
  CHECK(options.rank >= 0 && options.instance != 0);
  CHECK(options.eager_max <= kEagerBytesMax);
  last_tick_ = host_.now();
  set_timer(tick_, Timer::kTick, nullptr, last_tick_ + tick_interval());
  note_clients();
}

// --- what the transport and the clock tell
// ----------------------------------------------------------------------------

void Engine::step() {
  const TimeNs now = host_.now();
  while (TimerNode* timer = timers_.pop_due(now)) on_timer(*timer);
  if (memory_.take_send_freed() | send_room_changed_) pump_send_room();
  if (memory_.take_receive_freed() | receive_room_changed_) pump_receive_room();
  pay_acks();
#ifndef NDEBUG
  memory_.check_invariants();
#endif
}

void Engine::on_timer(TimerNode& timer) {
  switch (static_cast<Timer>(timer.kind)) {
    case Timer::kTick: tick(); return;
    case Timer::kWaiter: {
      ++counters_.timeouts;
      Waiter& waiter = *static_cast<Waiter*>(timer.object);
      Datum* const datum = waiter.entry->datum;
      end_waiter(waiter, Error{Errc::kTimeout, kNoRank, "recv: the chunk did not arrive in time"});
      tidy(datum);
      return;
    }
    case Timer::kShard: {
      ++counters_.timeouts;
      Shard& shard = *static_cast<Shard*>(timer.object);
      return end_shard(shard, why_late(shard));
    }
    case Timer::kAllocation: {
      ++counters_.timeouts;
      Allocation& allocation = *static_cast<Allocation*>(timer.object);
      answer(*allocation.client, allocation.request,
             Error{Errc::kTimeout, kNoRank, "allocate: no room in time", allocation.bytes,
                   memory_.send_limit()});
      drop_allocation(allocation);
      return;
    }
    case Timer::kRetry: {
      Peer& peer = *static_cast<Peer*>(timer.object);
      if (wants_link(peer)) want_link(peer);
      return;
    }
    case Timer::kOrphans: return free_orphans();
  }
  CHECK(false);
}

// Everything that is looked at now and then: silent links, lost peers, forgotten registrations and ids.
void Engine::tick() {
  const TimeNs now = host_.now();
  // If it was us who stood still, nobody else was silent.
  const bool stood_still = now - last_tick_ > options_.ping_timeout / 2 + tick_interval();
  last_tick_ = now;
  for (Link& link : links_) {
    if (link.kind != Link::Kind::kPeerOut && link.kind != Link::Kind::kPeerIn) continue;
    if (stood_still) link.heard = now;
    if (link.kind == Link::Kind::kPeerOut && link.peer->state != LinkState::kUp) continue;
    if (now - link.heard > options_.ping_timeout) {
      const LinkId id = link.id;
      transport_.close(id);
      on_link_down(id, Error{Errc::kIo, link.peer->rank, "silent for longer than the ping timeout"});
    } else if (link.kind == Link::Kind::kPeerOut) {
      send_plain(link.id, Ping{now, false});
    }
  }
  for (const auto& peer : peers_.all()) {
    if (stood_still) peer->heard = now;
    check_peer(*peer);
  }
  for (Client* client = clients_.all().front(); client != nullptr;) {
    Client* const next = ClientTable::ClientList::next(client);
    const bool unused = !client->connected && !client->gone && !client->leased;
    if (unused && now - client->registered > kRegistrationNs) forget_client(*client);
    client = next;
  }
  peers_.quarantines().for_each([this](Quarantine& quarantine) {
    if (quarantine.gone) end_quarantine(quarantine);
  });
  if (stood_still && alone_since_ != kNever) alone_since_ = now;
  free_orphans();
  forget_idle_data(now);
  set_timer(tick_, Timer::kTick, nullptr, now + tick_interval());
}

void Engine::on_message(LinkId id, const Message& message, const Incoming& incoming) {
  Link* const link = find_link(id);
  if (link == nullptr) {
    if (incoming.present()) transport_.discard(incoming);
    return;
  }
  if (incoming.present() && !incoming.rendezvous) {
    link->arrived += incoming.bytes;
    if (link->arrived - link->consumed > kEagerWindowBytes) {
      discard(id, incoming);
      return protocol_error(*link, "more eager bytes than the credit allows");
    }
  }
  if (link->kind == Link::Kind::kClient) {
    on_client_message(*link, message, incoming);
  } else {
    link->heard = host_.now();
    link->peer->heard = link->heard;
    on_peer_message(*link, message, incoming);
  }
}

Token Engine::expect(const Completion& completion) {
  Completion* const cell = completions_.acquire();
  *cell = completion;
  return completions_.handle_of(cell).pack();
}

void Engine::on_sent(Token token, const Status&) {
  Completion* const completion = completions_.find(Handle::unpack(token));
  CHECK(completion != nullptr && completion->what == What::kFlight);
  // A failed send needs nothing more: its link is down or will be, and that is where transfers are sent
  // again.
  Slot* const slot = completion->slot;
  completions_.release(completion);
  release(slot);
}

// Bytes count only while the connection that announced them stands. The other side may have ended it long ago
// and used its memory again, and what UCX then reads over shared memory is what lies there now.
void Engine::on_received(Token token, const Status& status) {
  Completion* const found = completions_.find(Handle::unpack(token));
  CHECK(found != nullptr);
  const Completion completion = *found;
  completions_.release(found);
  if (completion.what == What::kArrived) {
    if (status && find_link(completion.arrival->link) != nullptr)
      landed(*completion.arrival);
    else
      arrival_failed(*completion.arrival);
    return;
  }
  if (completion.what == What::kUnregistered) return end_client(completion.instance, "unregistered");
  CHECK(completion.what == What::kShardReceived);
  shard_moved(*completion.shard, status);
}

void Engine::on_process_gone(Token token) {
  Completion* const found = completions_.find(Handle::unpack(token));
  CHECK(found != nullptr);
  const Completion completion = *found;
  completions_.release(found);
  if (completion.what == What::kPeerEnded) {
    Peer& peer = peer_of(completion.rank);
    if (peer.window_of != completion.instance) return;
    peer.ended = completion.instance;
    if (has_ended(peer)) lose_ended(peer);
    return;
  }
  CHECK(completion.what == What::kQuarantine);
  if (completion.client != nullptr) {
    forget_client(*completion.client);
    return;
  }
  end_quarantine(*completion.peer);
}

// --- small things used everywhere
// -----------------------------------------------------------------------------------------

TimeNs Engine::tick_interval() const { return std::min(options_.ping_interval, kSecond); }

TimeNs Engine::deadline(std::uint64_t timeout_ns) const {
  const TimeNs now = host_.now();
  return timeout_ns >= kNever - now ? kNever : now + timeout_ns;
}

void Engine::set_timer(TimerNode& node, Timer kind, void* object, TimeNs at) {
  node.kind = static_cast<std::uint32_t>(kind);
  node.object = object;
  timers_.set(node, at);
}

void Engine::release(Slot* slot) {
  if (slot != nullptr && memory_.release(slot)) unlink(slot);
}

void Engine::consume(LinkId id, const Incoming& incoming) {
  if (incoming.rendezvous) return;
  Link* const link = find_link(id);
  if (link == nullptr) return;
  link->consumed += incoming.bytes;
  if (link->consumed - link->reported >= kEagerWindowBytes / 4) report_credit(*link, false);
}

void Engine::discard(LinkId link, const Incoming& incoming) {
  if (!incoming.present()) return;
  consume(link, incoming);
  transport_.discard(incoming);
}

void Engine::report_credit(Link& link, bool resume) {
  link.reported = link.consumed;
  send_plain(link.id, Credit{link.consumed, resume});
}

Link* Engine::find_link(LinkId id) {
  if (id.index >= links_.size()) return nullptr;
  Link& link = links_[id.index];
  return link.kind != Link::Kind::kNone && link.id == id ? &link : nullptr;
}

Link& Engine::add_link(LinkId id, Link::Kind kind) {
  while (links_.size() <= id.index) links_.emplace_back();
  Link& link = links_[id.index];
  CHECK(link.kind == Link::Kind::kNone);
  link = Link{};
  link.kind = kind;
  link.id = id;
  link.heard = host_.now();
  return link;
}

// --- the end
// ---------------------------------------------------------------------------------------------------------------

void Engine::drain() { draining_ = true; }

bool Engine::drained() const {
  if (outbox_.outgoing_count() > 0) return false;
  return std::ranges::all_of(peers_.all(), [this](const auto& peer) { return unsettled(*peer) == 0; });
}

std::size_t Engine::undone(std::size_t enough) const {
  std::size_t count = 0;
  for (const Datum* datum = store_.all().front(); datum != nullptr;
       datum = ChunkStore::DatumList::next(datum)) {
    for (const ChunkEntry* e = datum->chunks.front(); e != nullptr; e = Datum::ChunkList::next(e)) {
      if (count >= enough) return count;
      if (e->state != ChunkState::kAbsent && !e->done) ++count;
    }
  }
  return count;
}

void Engine::say_goodbye() {
  pay_acks();  // what is not acknowledged before a Goodbye counts as lost
  for (const Link& link : links_) {
    if (link.kind != Link::Kind::kNone) send_plain(link.id, Goodbye{true});
  }
}

// Forgets everything without telling anybody: the process ends, or a test killed it.
Engine::~Engine() {
  memory_.leave_bytes();
  timers_.cancel(tick_);
  timers_.cancel(orphans_);
  outbox_.clear(timers_, [&](Slot* slot) { drop_reference(slot); });
  while (peers_.line().pop_front() != nullptr) {
  }
  completions_.for_each([&](Completion& completion) {
    if (completion.slot != nullptr) drop_reference(completion.slot);
    completions_.release(&completion);
  });
  peers_.quarantines().for_each([&](Quarantine& each) { peers_.quarantines().release(&each); });
  while (Client* client = clients_.all().front()) {
    while (Waiter* waiter = client->waiters.front()) remove_waiter(*waiter);
    while (Grant* grant = client->grants.front()) {
      drop_reference(grant->slot);
      grant->slot = nullptr;
      remove_grant(*grant);
    }
    while (Allocation* allocation = client->allocations.front()) {
      if (allocation->slot != nullptr) clients_.unindex(allocation);
      if (allocation->slot != nullptr) drop_reference(std::exchange(allocation->slot, nullptr));
      drop_allocation(*allocation);
    }
    clients_.erase(client);
  }
  for (const auto& peer : peers_.all()) timers_.cancel(peer->retry);
  while (Datum* datum = store_.all().front()) {
    while (ChunkEntry* entry = datum->chunks.front()) {
      if (entry->in_parked.linked()) store_.unpark(entry);
      while (Arrival* arrival = entry->arrivals.pop_front()) store_.arrivals().release(arrival);
      if (entry->slot != nullptr) drop_reference(std::exchange(entry->slot, nullptr));
      store_.erase(entry);
    }
    store_.erase(datum);
  }
}

void Engine::drop_reference(Slot* slot) {
  if (memory_.release(slot)) memory_.drop_foreign(slot);
}

}  // namespace sidecar
