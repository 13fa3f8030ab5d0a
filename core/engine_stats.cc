// What the engine tells about itself, and the check that its parts agree.
#include <array>

#include "core/engine.h"

namespace sidecar {
namespace {

const char* state_name(ChunkState state) {
  constexpr std::array<const char*, 4> kNames{"waited-for", "parked", "receiving", "ready"};
  return kNames[static_cast<std::size_t>(state)];
}

const char* state_name(LinkState state) {
  constexpr std::array<const char*, 5> kNames{"down", "in line", "connecting", "connecting", "connected"};
  return kNames[static_cast<std::size_t>(state)];
}

}  // namespace

EngineStats Engine::stats() const {
  EngineStats stats;
  stats.counters = counters_;
  stats.send = memory_.send_stats();
  stats.receive = memory_.receive_stats();
  stats.reserve = memory_.reserve_stats();
  stats.data = store_.all().size();
  stats.chunks = store_.chunk_count();
  stats.tombstones = store_.tombstones().size();
  stats.waiting_recvs = store_.waiters().size();
  stats.waiting_sends = outbox_.line().size();
  stats.parked_chunks = store_.parked_count();
  stats.outgoing = outbox_.outgoing_count();
  stats.foreign = memory_.foreign_count();
  stats.views = store_.grants().size();
  stats.draining = draining_;
  for (const auto& peer : peers_.all()) {
    stats.lent += peer->lent.size();
    if (peer->state == LinkState::kUp || peer->links_in > 0) ++stats.peers_connected;
  }
  for (const Client* c = clients_.all().front(); c != nullptr; c = ClientTable::ClientList::next(c)) {
    if (c->connected) ++stats.clients;
    if (c->gone) stats.quarantined += c->grants.size() + c->allocations.size();
  }
  const_cast<PeerTable&>(peers_).quarantines().for_each(
      [&](const Quarantine& quarantine) { stats.quarantined += quarantine.lent.size(); });
  return stats;
}

std::vector<ChunkInfo> Engine::chunks(std::size_t skip, std::size_t limit) const {
  std::vector<ChunkInfo> list;
  std::size_t position = 0;
  const auto add = [&](auto&& make) {
    if (position++ >= skip && list.size() < limit) list.push_back(make());
  };
  for (const Datum* datum = store_.all().front(); datum != nullptr;
       datum = ChunkStore::DatumList::next(datum)) {
    for (const ChunkEntry* e = datum->chunks.front(); e != nullptr; e = Datum::ChunkList::next(e)) {
      add([&] {
        return ChunkInfo{.id = std::string(datum->id.view()),
                         .chunk = e->chunk,
                         .num_chunks = datum->count_known ? datum->num_chunks : 0,
                         .bytes = e->bytes,
                         .state = state_name(e->state),
                         .producer = datum->producer,
                         .holders = static_cast<std::uint32_t>(e->grants.size()),
                         .waiters = static_cast<std::uint32_t>(e->waiters.size())};
      });
    }
  }
  auto& store = const_cast<ChunkStore&>(store_);  // visiting changes nothing
  store.grants().for_each([&](const Grant& grant) {
    if (grant.entry != nullptr) return;
    add([&] {
      return ChunkInfo{
          .id = "", .bytes = grant.slot->bytes, .state = "held", .producer = grant.slot->owner, .holders = 1};
    });
  });
  auto& outbox = const_cast<Outbox&>(outbox_);
  outbox.for_each_outgoing([&](const Outgoing& outgoing) {
    if (outgoing.end_of_stream) return;
    add([&] {
      return ChunkInfo{.id = std::string(outgoing.meta.id.view()),
                       .chunk = outgoing.meta.chunk,
                       .num_chunks = outgoing.meta.num_chunks,
                       .bytes = outgoing.meta.bytes,
                       .state = "sending",
                       .producer = options_.rank,
                       .holders = outgoing.open};
    });
  });
  outbox.for_each_delivery([&](const Delivery& delivery) {
    if (!delivery.in_lent.linked()) return;
    add([&] {
      return ChunkInfo{
          .id = "", .bytes = delivery.slot->bytes, .state = "lent", .producer = options_.rank, .holders = 1};
    });
  });
  return list;
}

std::vector<PeerInfo> Engine::peers() const {
  std::vector<PeerInfo> list;
  for (const auto& peer : peers_.all()) {
    PeerInfo info;
    info.rank = peer->rank;
    info.instance = peer->instance;
    info.state = peer->state == LinkState::kDown && peer->links_in > 0 ? "connected (inbound)"
                                                                       : state_name(peer->state);
    for (const Link& link : links_) {
      if (link.kind == Link::Kind::kNone || link.peer != peer.get()) continue;
      const LinkFacts facts = transport_.facts(link.id);
      info.path = facts.local ? "shared memory" : "network";
      info.transports = std::string(facts.transports.view());
      if (link.kind == Link::Kind::kPeerOut) break;  // what we send over says most
    }
    info.queued = peer->queue.size();
    info.unacknowledged = peer->unsettled.size();
    info.lent = peer->lent.size();
    info.bytes_sent = peer->bytes_sent;
    info.bytes_mapped = peer->bytes_mapped;
    list.push_back(std::move(info));
  }
  return list;
}

void Engine::check_invariants() {
  memory_.check_invariants();
  // Every reference to a slot has an owner here, and the other way round.
  std::uint64_t owned = store_.grants().size();
  for (Datum* datum = store_.all().front(); datum != nullptr; datum = ChunkStore::DatumList::next(datum)) {
    CHECK(!datum->chunks.empty() || datum->arrived.count() > 0 || datum->done.count() > 0 ||
          datum->gone.count() > 0 || (datum->count_known && datum->stream));
    for (ChunkEntry* e = datum->chunks.front(); e != nullptr; e = Datum::ChunkList::next(e)) {
      owned += e->slot != nullptr ? 1 : 0;
      CHECK((e->state == ChunkState::kParked) == e->in_parked.linked());
      CHECK((e->state == ChunkState::kParked || e->state == ChunkState::kReceiving) == !e->arrivals.empty());
      for (Arrival* a = e->arrivals.front(); a != nullptr; a = ChunkEntry::ArrivalList::next(a)) {
        CHECK((a->state == Arrival::State::kParked) == (a->incoming.present() || a->inline_copy != nullptr));
        CHECK((a->state == Arrival::State::kParked) == (e->state == ChunkState::kParked));
      }
      CHECK(e->state != ChunkState::kAbsent || (!e->waiters.empty() && e->slot == nullptr));
      CHECK(e->state != ChunkState::kReady || e->waiters.empty());
      CHECK((e->state == ChunkState::kReady) == e->in_ready.linked());
      CHECK((e->source != nullptr) ==
            (e->state == ChunkState::kParked || e->state == ChunkState::kReceiving));
    }
  }
  outbox_.for_each_delivery([&](const Delivery& delivery) { owned += delivery.slot != nullptr ? 1 : 0; });
  outbox_.for_each_outgoing([&](const Outgoing& outgoing) {
    owned += outgoing.slot != nullptr ? 1 : 0;
    CHECK(outgoing.open <= outgoing.destinations.size() && outgoing.moving <= outgoing.shards.size());
    CHECK(outgoing.open > 0 || outgoing.moving > 0 || (outgoing.not_in > 0 && !outgoing.abandoned));
    CHECK(outgoing.in_line.linked() || outgoing.slot != nullptr || outgoing.not_in == 0 ||
          outgoing.abandoned || outgoing.missing > 0);
  });
  clients_.allocations().for_each([&](const Allocation& a) { owned += a.slot != nullptr ? 1 : 0; });
  completions_.for_each([&](const Completion& completion) { owned += completion.slot != nullptr ? 1 : 0; });
  CHECK(owned == memory_.references());
  std::uint32_t connecting = 0;
  std::size_t parked = 0, owed = 0, crowd = 0;
  for (const auto& peer : peers_.all()) {
    CHECK(peer->queue.size() <= peer->unsettled.size());
    CHECK((peer->state == LinkState::kInLine) == peer->in_line.linked());
    parked += peer->parked;
    owed += peer->owed_resume ? 1 : 0;
    crowd += peer->owed_resume || peer->parked > 0 ? 1 : 0;
    connecting += peer->state == LinkState::kResolving || peer->state == LinkState::kConnecting ? 1 : 0;
  }
  CHECK(parked == store_.parked_count() && owed == owed_resumes_ && crowd == crowd_);
  CHECK(connecting == connecting_);
  CHECK(connecting >= kConnectingMax || peers_.line().empty());
}

}  // namespace sidecar
