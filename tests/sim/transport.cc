#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/process.h"

namespace sidecar::sim {

LinkId SimTransport::add(const LinkRef& link, int side) {
  if (free_links_.empty()) {
    free_links_.push_back(static_cast<std::uint32_t>(links_.size()));
    links_.emplace_back();
  }
  const std::uint32_t index = free_links_.back();
  free_links_.pop_back();
  links_[index].link = link;
  links_[index].side = side;
  ++links_made_;
  return {index, links_[index].generation};
}

void SimTransport::remove(LinkId id) {
  CHECK(find(id) != nullptr);
  ++links_[id.index].generation;
  links_[id.index].link.reset();
  free_links_.push_back(id.index);
}

const SimTransport::LinkCell* SimTransport::find(LinkId id) const {
  if (id.index >= links_.size() || links_[id.index].generation != id.generation) return nullptr;
  return links_[id.index].link == nullptr ? nullptr : &links_[id.index];
}

std::vector<LinkId> SimTransport::links_with(const SimProcess& other) const {
  std::vector<LinkId> found;
  for (std::uint32_t i = 0; i < links_.size(); ++i) {
    const LinkCell& cell = links_[i];
    if (cell.link == nullptr) continue;
    const SimProcess* const process = cell.link->end[static_cast<std::size_t>(1 - cell.side)].process;
    if (process == &other) found.push_back({i, cell.generation});
  }
  return found;
}

LinkId SimTransport::connect(const ConnectOptions& options, const Hello& hello) {
  auto link = std::make_shared<SimLink>();
  link->options = options;
  link->hello = hello;
  link->end[0].process = &process_;
  const LinkId id = add(link, 0);
  link->end[0].id = id;
  if (!process_.alive()) return id;
  link->end[0].state = SimLink::State::kConnecting;
  SimWorld& world = process_.world();
  SimNetwork& network = world.network();
  network.links_.push_back(link);
  const Conditions& conditions = world.conditions();
  const TimeNs delay = options.local ? conditions.local_delay : conditions.net_delay;
  world.at(world.random().between(1, 4 * delay), [&network, link] { network.hello_arrives(link); });
  world.post(process_, conditions.connect_timeout, [&network, link] {
    if (link->end[0].state != SimLink::State::kConnecting) return;
    link->broken = true;
    network.end_down(link, 0, Error{Errc::kUnavailable, kNoRank, "connecting took too long"});
    network.tell_other(link, 1, 0, "the other side gave up");
  });
  return id;
}

void SimTransport::send(LinkId id, const Message& message, ConstBytes payload, bool rendezvous, Token token) {
  ++sent_[message.index()];
  if (rendezvous) ++rendezvous_sent_;
  if (!process_.alive()) return;
  EXPECT_FALSE(rendezvous && payload.empty()) << "a rendezvous of no bytes";
  EXPECT_FALSE(!rendezvous && payload.size() > kEagerBytesMax)
      << "eager payload too large: " << payload.size();
  EXPECT_FALSE(!payload.empty() && token == 0) << "a payload without a completion";
  SimWorld& world = process_.world();
  const LinkCell* const cell = find(id);
  if (cell == nullptr || cell->link->end[static_cast<std::size_t>(cell->side)].state != SimLink::State::kUp) {
    EXPECT_EQ(cell, nullptr) << "a message on a link that is not up yet";
    if (token == 0) return;
    world.post(process_, world.random().below(50 * kMicrosecond), [this, token] {
      process_.events().on_sent(token, fail(Errc::kUnavailable, "the link is gone"));
    });
    return;
  }
  const auto packet = std::make_shared<Packet>();
  packet->link = cell->link;
  packet->from = cell->side;
  packet->message = message;
  packet->source = payload;
  packet->has_payload = !payload.empty();
  packet->rendezvous = rendezvous;
  packet->token = token;
  world.network().ship(packet);
}

Incoming SimTransport::hand_out(const PacketRef& packet) {
  if (!packet->has_payload) return {};
  if (free_incoming_.empty()) {
    free_incoming_.push_back(static_cast<std::uint32_t>(incoming_.size()));
    incoming_.emplace_back();
  }
  const std::uint32_t index = free_incoming_.back();
  free_incoming_.pop_back();
  incoming_[index].packet = packet;
  ++incoming_open_;
  if (!packet->rendezvous) {
    std::uint64_t& held = packet->link->end[static_cast<std::size_t>(1 - packet->from)].eager_held;
    held += packet->source.size();
    eager_held_max_ = std::max(eager_held_max_, held);
    // Clients have asked for what they get: they give no credit.
    const bool to_client = !packet->link->options.two_endpoints && packet->from == 1;
    EXPECT_TRUE(to_client || held <= kEagerWindowBytes)
        << "more eager bytes than the credits allow, to " << process_.name();
  }
  return {{index, incoming_[index].generation}, packet->source.size(), packet->rendezvous};
}

PacketRef SimTransport::take_back(const Incoming& incoming) {
  const Handle id = incoming.id;
  const bool known = id.index < incoming_.size() && incoming_[id.index].generation == id.generation &&
                     incoming_[id.index].packet != nullptr;
  EXPECT_TRUE(known) << "a payload ended twice, or never handed out";
  if (!known) return nullptr;
  PacketRef packet = std::move(incoming_[id.index].packet);
  ++incoming_[id.index].generation;
  free_incoming_.push_back(id.index);
  --incoming_open_;
  if (!packet->rendezvous) {
    packet->link->end[static_cast<std::size_t>(1 - packet->from)].eager_held -= packet->source.size();
  }
  return packet;
}

// As late as it may be: what arrives in the meantime does no harm.
void SimTransport::after_arrived(LinkId /*link*/, Token token) {
  if (!process_.alive()) return;
  process_.world().post(process_, process_.world().random().below(20 * kMicrosecond),
                        [this, token] { process_.events().on_received(token, {}); });
}

void SimTransport::receive(const Incoming& incoming, Bytes into, Token token) {
  if (!process_.alive()) return;
  const PacketRef packet = take_back(incoming);
  if (packet == nullptr) return;
  EXPECT_EQ(into.size(), packet->source.size());
  EXPECT_NE(token, 0u);
  SimWorld& world = process_.world();
  Random& random = world.random();
  if (!packet->rendezvous) {
    world.post(process_, random.below(20 * kMicrosecond), [this, packet, into, token] {
      std::memcpy(into.data(), packet->bytes.data(), into.size());
      process_.events().on_received(token, {});
    });
    return;
  }
  const auto receiving = std::make_shared<Receiving>();
  receiving->packet = packet;
  receiving->into = into;
  receiving->token = token;
  receiving_.push_back(receiving);
  SimNetwork& network = world.network();
  const auto moving = static_cast<TimeNs>(static_cast<double>(into.size()) / world.conditions().bytes_per_ns);
  const SimLink& link = *packet->link;
  const TimeNs extra =
      network.delay_of(link, *link.end[static_cast<std::size_t>(packet->from)].process, process_, true);
  world.at(random.below(world.conditions().rendezvous_delay + 1) + moving + extra,
           [&network, receiving] { network.transfer_ends(receiving); });
}

void SimTransport::discard(const Incoming& incoming) {
  if (!process_.alive()) return;
  const PacketRef packet = take_back(incoming);
  if (packet == nullptr || !packet->rendezvous) return;
  // The sender learns that its bytes are needed no more, not that nobody took them.
  SimWorld& world = process_.world();
  world.network().complete_later(packet, world.random().below(100 * kMicrosecond), {});
}

void SimTransport::close(LinkId id) {
  const LinkCell* const cell = find(id);
  if (cell == nullptr || !process_.alive()) return;
  const LinkRef link = cell->link;
  const int side = cell->side;
  SimWorld& world = process_.world();
  SimNetwork& network = world.network();
  if (!link->broken) network.settle_unread(link, side, world.random().chance(0.5));
  link->broken = true;
  network.leave(link, side);
  network.tell_other(link, 1 - side, world.random().below(200 * kMicrosecond), "closed by the other side");
}

LinkFacts SimTransport::facts(LinkId id) const {
  const LinkCell* const cell = find(id);
  LinkFacts facts;
  if (cell == nullptr) return facts;
  facts.local = cell->link->options.local;
  facts.transports.assign(facts.local ? "simulated memory" : "simulated network");
  return facts;
}

}  // namespace sidecar::sim
