#include "tests/contract_sim/soak.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace sidecar::sim {
namespace {

constexpr TimeNs kPeerTimeout = 6 * kSecond;
constexpr TimeNs kPingTimeout = 2 * kSecond;
constexpr int kOperations = 160;

Conditions conditions_for(std::uint64_t seed) {
  Random random(seed ^ 0x5eed);
  Conditions conditions;
  if (random.chance(0.5)) conditions.spike = 0.02;
  if (random.chance(0.5)) conditions.reorder = 0.3;
  if (random.chance(0.3)) conditions.bytes_per_ns = 0.01;
  if (random.chance(0.3)) conditions.rendezvous_delay = 20 * kMillisecond;
  return conditions;
}

}  // namespace

std::vector<std::vector<Rank>> Soak::Datum::groups() const {
  std::vector<std::vector<Rank>> made;
  for (const Rank rank : to) made.push_back({rank});
  return made;
}

Soak::Soak(std::uint64_t seed, bool gentle)
    : conditions_(conditions_for(seed)),
      world_(seed, conditions_),
      random_(world_.random()),
      gentle_(gentle) {}

void Soak::run() {
  make_world();
  for (int i = 0; i < kOperations; ++i) {
    operation();
    if (random_.chance(0.08)) fault();
    world_.run_for(random_.below(random_.chance(0.1) ? 300 * kMillisecond : 2 * kMillisecond));
    end_faults();
    judge_all();
    if (::testing::Test::HasFailure()) return;
  }
  finish_calls();
  check_delivered_is_readable();
  clean_up();
  expect_nothing_left();
}

void Soak::make_world() {
  ranks_ = static_cast<Rank>(random_.between(2, 5));
  for (Rank rank = 0; rank < ranks_; ++rank) {
    SidecarSpec spec;
    spec.rank = rank;
    spec.node = random_.chance(0.6) ? "a" : "b";
    spec.machine = random_.chance(0.05) ? "elsewhere" : spec.node;
    spec.arena_bytes = random_.between(2, 16) * 64 * 1024;
    spec.mappable = !random_.chance(0.1);
    const std::uint32_t parked_max =
        random_.chance(0.5) ? 4096 : static_cast<std::uint32_t>(random_.below(4));
    const std::uint64_t eager_max = random_.chance(0.7) ? kEagerBytesMax : random_.between(1100, 8000);
    // Connecting to somebody who is away takes seconds to fail, and a gentle world wants no loss.
    const TimeNs peer_timeout = gentle_ ? 5 * kPeerTimeout : kPeerTimeout;
    spec.adjust = [=](EngineOptions& options) {
      options.peer_timeout = peer_timeout;
      options.ping_timeout = kPingTimeout;
      options.parked_max = parked_max;
      options.eager_max = eager_max;
      options.reserve_share = 0.25;
    };
    specs_.push_back(spec);
    world_.add_sidecar(spec);
    for (std::uint64_t n = random_.between(1, 3); n > 0; --n) add_client(rank);
  }
  world_.run_for(100 * kMillisecond);
}

void Soak::add_client(Rank rank) {
  if (!world_.sidecar(rank)->alive() || world_.sidecar(rank)->stopped()) return;
  ClientSpec spec;
  spec.rank = rank;
  if (random_.chance(0.1)) spec.machine = "far away";
  if (random_.chance(0.5)) spec.send_unit_bytes = random_.between(1, 5000);
  if (random_.chance(0.5)) spec.receive_unit_bytes = random_.between(1, 5000);
  clients_.push_back(&world_.add_client(spec));
}

// One that can be used: connected and running.
SimClient* Soak::some_client(std::optional<Rank> rank) {
  std::vector<SimClient*> fit;
  for (SimClient* client : clients_) {
    if (client->alive() && !client->stopped() && client->connected() && (!rank || client->rank() == *rank)) {
      fit.push_back(client);
    }
  }
  return fit.empty() ? nullptr : fit[random_.below(fit.size())];
}

TimeNs Soak::some_timeout() {
  if (random_.chance(0.15)) return random_.below(50 * kMillisecond);
  return gentle_ ? 600 * kSecond : random_.between(5, 60) * kSecond;
}

Soak::Asked& Soak::asked(SimClient& client, RequestId request, Call call, std::size_t datum, ChunkIndex chunk,
                         TimeNs timeout) {
  Asked made{.client = &client,
             .request = request,
             .call = call,
             .datum = datum,
             .chunk = chunk,
             .timeout = timeout,
             .at = world_.sidecar(client.rank())->instance(),
             .dest = {}};
  if (call == Call::kSend || call == Call::kClose) {
    for (const Rank rank : data_[datum].to) made.dest.push_back(world_.sidecar(rank)->instance());
  }
  calls_.push_back(made);
  return calls_.back();
}

// --- operations
// ----------------------------------------------------------------------------------------------------------

void Soak::operation() {
  const std::uint64_t dice = random_.below(100);
  if (data_.empty() || dice < 8)
    new_datum();
  else if (dice < 45)
    send();
  else if (dice < 68)
    recv();
  else if (dice < 84)
    mark_done();
  else if (dice < 88)
    close();
  else if (dice < 92)
    cancel();
  else if (dice < 98)
    give_back();
  else
    add_client(static_cast<Rank>(random_.below(static_cast<std::uint64_t>(ranks_))));
}

void Soak::new_datum() {
  SimClient* const client = some_client();
  if (client == nullptr) return;
  Datum datum;
  datum.id = "d" + std::to_string(data_.size());
  datum.producer = client->rank();
  datum.producer_instance = world_.sidecar(client->rank())->instance();
  for (Rank rank = 0; rank < ranks_; ++rank) {
    if (rank != datum.producer && random_.chance(0.6)) datum.to.push_back(rank);
  }
  if (datum.to.empty()) datum.to.push_back(datum.producer == 0 ? 1 : 0);
  datum.stream = random_.chance(0.3);
  datum.num_chunks = static_cast<ChunkIndex>(random_.between(1, 8));
  datum.sends.resize(datum.num_chunks);
  data_.push_back(datum);
}

void Soak::send() {
  const std::size_t index = random_.below(data_.size());
  Datum& datum = data_[index];
  if (world_.sidecar(datum.producer)->instance() != datum.producer_instance)
    return;  // its successor has other data
  SimClient* const client = some_client(datum.producer);
  if (client == nullptr) return;
  auto chunk = static_cast<ChunkIndex>(random_.below(datum.num_chunks));
  // Mostly what was not sent yet; now and then again.
  for (int i = 0; i < 8 && datum.sends[chunk] > 0 && !random_.chance(0.05); ++i)
    chunk = (chunk + 1) % datum.num_chunks;
  if (datum.sends[chunk] > 0 && !random_.chance(0.1)) return;
  ++datum.sends[chunk];
  if (!client->slots().empty() && random_.chance(0.8)) return send_slot(datum, index, chunk, *client);
  SendSpec spec;
  spec.id = datum.id;
  spec.chunk = chunk;
  spec.num_chunks = datum.num_chunks;
  spec.stream = datum.stream;
  spec.to = datum.groups();
  spec.kind = random_.chance(0.3) ? ChunkKind::kObject : ChunkKind::kTensor;
  spec.bytes = random_.chance(0.05) ? 0 : random_.below(random_.chance(0.5) ? 1'200 : 14'000);
  spec.unit_bytes = random_.chance(0.3) ? random_.below(4'000) : 0;
  spec.eager = random_.chance(0.5);
  if (client->maps_home() && random_.chance(0.3)) spec.source = Source::kFill;
  spec.timeout = some_timeout();
  asked(*client, client->send(spec), Call::kSend, index, chunk, spec.timeout);
}

void Soak::send_slot(Datum& datum, std::size_t index, ChunkIndex chunk, SimClient& client) {
  SendSpec spec;
  spec.id = datum.id;
  spec.chunk = chunk;
  spec.num_chunks = datum.num_chunks;
  spec.stream = datum.stream;
  spec.to = datum.groups();
  spec.source = Source::kSlot;
  spec.slot = client.slots().begin()->first;
  spec.bytes = client.slots().begin()->second;
  spec.timeout = some_timeout();
  asked(client, client.send(spec), Call::kSend, index, chunk, spec.timeout);
}

void Soak::recv() {
  const std::size_t index = random_.below(data_.size());
  const Datum& datum = data_[index];
  SimClient* const client = some_client(datum.to[random_.below(datum.to.size())]);
  if (client == nullptr) return;
  const auto chunk = static_cast<ChunkIndex>(random_.below(datum.num_chunks + (random_.chance(0.1) ? 3 : 0)));
  const TimeNs timeout = some_timeout();
  const bool by_value = client->machine() != world_.sidecar(client->rank())->machine() || random_.chance(0.2);
  asked(*client, client->recv(datum.id, chunk, timeout, by_value), Call::kRecv, index, chunk, timeout);
}

void Soak::mark_done() {
  const std::size_t index = random_.below(data_.size());
  const Datum& datum = data_[index];
  SimClient* const client = some_client(datum.to[random_.below(datum.to.size())]);
  if (client == nullptr) return;
  const auto chunk = static_cast<ChunkIndex>(random_.below(datum.num_chunks));
  if (datum.sends[chunk] == 0 && !random_.chance(0.1)) return;
  Held& held = held_[{world_.sidecar(client->rank())->instance(), index, chunk}];
  held.done_asked = std::min(held.done_asked, world_.now());
  asked(*client, client->mark_done(datum.id, chunk), Call::kDone, index, chunk, kNever);
}

void Soak::close() {
  const std::size_t index = random_.below(data_.size());
  Datum& datum = data_[index];
  if (!datum.stream || world_.sidecar(datum.producer)->instance() != datum.producer_instance) return;
  SimClient* const client = some_client(datum.producer);
  if (client == nullptr) return;
  const bool wrong = random_.chance(0.15);
  const auto count = wrong ? static_cast<ChunkIndex>(random_.below(datum.num_chunks)) : datum.num_chunks;
  // A wrong count that nothing contradicts would stand.
  if (wrong && !datum.closed) return;
  datum.closes.push_back(count);
  const TimeNs timeout = some_timeout();
  asked(*client, client->close_stream(datum.id, count, datum.groups(), timeout), Call::kClose, index, count,
        timeout);
}

void Soak::cancel() {
  std::vector<Asked*> open;
  for (Asked& call : calls_) {
    if (!call.client->over(call.request) && call.client->alive() && !call.client->stopped() &&
        call.client->connected()) {
      open.push_back(&call);
    }
  }
  if (open.empty()) return;
  Asked& chosen = *open[random_.below(open.size())];
  chosen.cancelled = true;
  chosen.client->cancel(chosen.request);
}

// Views and slots.
void Soak::give_back() {
  SimClient* const client = some_client();
  if (client == nullptr) return;
  if (!client->views().empty() && random_.chance(0.7)) {
    auto view = client->views().begin();
    std::advance(view, random_.below(client->views().size()));
    client->release_view(view->first);
  } else if (!client->slots().empty() && random_.chance(0.3)) {
    client->release_slot(client->slots().begin()->first);
  } else if (client->machine() == world_.sidecar(client->rank())->machine() &&
             specs_[static_cast<std::size_t>(client->rank())].mappable) {
    const TimeNs timeout = random_.below(5 * kSecond);
    asked(*client, client->allocate(random_.below(10'000), timeout, random_.below(2'000)), Call::kAllocate, 0,
          0, timeout);
  }
}

// --- faults
// ----------------------------------------------------------------------------------------------------------------

void Soak::fault() {
  SimSidecar& one = *world_.sidecar(static_cast<Rank>(random_.below(static_cast<std::uint64_t>(ranks_))));
  SimSidecar& other = *world_.sidecar(static_cast<Rank>(random_.below(static_cast<std::uint64_t>(ranks_))));
  const std::uint64_t dice = random_.below(gentle_ ? 10 : 20);
  // A gentle world lets things recover before the next interruption, so that silences do not add up.
  if (gentle_ && dice >= 4 && (!stopped_.empty() || cut_until_ != 0)) return;
  if (dice < 4) {
    if (&one != &other) world_.network().reset(one, other);
  } else if (dice < 7 || (dice >= 13 && dice < 15)) {
    if (!one.alive() || one.stopped()) return;
    const TimeNs time = dice < 7 ? random_.below(gentle_ ? kPingTimeout : kPeerTimeout)
                                 : random_.between(1, 3) * kPeerTimeout;
    if (!gentle_) lossy_ = true;
    world_.stop(one);
    stopped_.emplace_back(&one, world_.now() + time);
  } else if (dice < 9 || dice == 15) {
    if (&one == &other) return;
    if (!gentle_) lossy_ = true;
    world_.cut_off(one, other);
    if (random_.chance(0.5)) world_.cut_off(other, one);
    cut_until_ = world_.now() + (dice < 9 ? random_.below(kPingTimeout) : 2 * kPeerTimeout);
  } else if (dice == 9) {
    SimClient* const client = some_client();
    if (client == nullptr) return;
    world_.stop(*client);
    stopped_.emplace_back(client, world_.now() + random_.below(5 * kSecond));
  } else if (dice < 12) {
    SimClient* const client = some_client();
    if (client == nullptr) return;
    client_lost_ = true;
    if (random_.chance(0.7))
      world_.kill(*client);
    else
      world_.network().reset(*client, *world_.sidecar(client->rank()));
  } else if (dice == 12) {
    SimClient* const client = some_client();
    if (client != nullptr && client->open_requests() == 0) client->disconnect();
  } else {
    lossy_ = true;
    if (one.alive())
      world_.kill(one);
    else
      restart(one.rank());
  }
}

void Soak::restart(Rank rank) {
  world_.add_sidecar(specs_[static_cast<std::size_t>(rank)]);
  for (SimClient* client : clients_) {
    if (client->alive() && client->rank() == rank && !client->connected() && !client->stopped())
      world_.kill(*client);
  }
  add_client(rank);
}

void Soak::end_faults() {
  // Long ones end while nothing else goes on, now and then.
  if ((!stopped_.empty() || cut_until_ != 0) && random_.chance(0.1))
    world_.run_for(random_.below(3 * kSecond));
  std::erase_if(stopped_, [&](const auto& entry) {
    if (entry.second > world_.now() && entry.first->alive()) return false;
    world_.go_on(*entry.first);
    if (gentle_) world_.run_for(kSecond);
    return true;
  });
  if (cut_until_ != 0 && cut_until_ <= world_.now()) {
    cut_until_ = 0;
    world_.heal();
    if (gentle_) world_.run_for(kSecond);
  }
}

}  // namespace sidecar::sim
