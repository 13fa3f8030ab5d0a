#include "tests/sim/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/process.h"
#include "tests/sim/sidecar.h"
#include "tests/sim/trace.h"

namespace sidecar::sim {
namespace {

SimLink::End& end_of(const LinkRef& link, int side) { return link->end[static_cast<std::size_t>(side)]; }

void read_source(Packet& packet) {
  if (packet.read || packet.rendezvous) return;
  packet.bytes.assign(packet.source.begin(), packet.source.end());
  packet.read = true;
}

}  // namespace

TimeNs SimNetwork::delay_of(const SimLink& link, SimProcess& from, SimProcess& to, bool bulk) {
  Random& random = world_.random();
  const Conditions& conditions = world_.conditions();
  TimeNs delay = random.between(1, link.options.local ? conditions.local_delay : conditions.net_delay);
  if (conditions.spike > 0 && random.chance(conditions.spike))
    delay += random.below(conditions.spike_delay + 1);
  if (bulk) {
    for (const auto& [pair, extra] : slow_) {
      if (pair == std::pair(from.pid(), to.pid())) delay += extra;
    }
  }
  return delay;
}

void SimNetwork::slow_bulk(SimProcess& from, SimProcess& to, TimeNs extra) {
  const std::pair pair(from.pid(), to.pid());
  std::erase_if(slow_, [&](const auto& entry) { return entry.first == pair; });
  if (extra > 0) slow_.emplace_back(pair, extra);
}

// --- connecting
// ----------------------------------------------------------------------------------------------------------

void SimNetwork::hello_arrives(const LinkRef& link) {
  SimProcess& from = *link->end[0].process;
  SimSidecar* const to = find_listener(world_, link->options, from);
  if (to == nullptr) {
    world_.post(from, world_.random().below(kMillisecond), [this, link] {
      if (link->end[0].state != SimLink::State::kConnecting) return;
      end_down(link, 0, Error{Errc::kUnavailable, kNoRank, "connection refused"});
    });
    return;
  }
  if (!world_.reachable(from, *to) || !world_.reachable(*to, from))
    return;  // the connector's time-out will tell
  if (link->end[0].state != SimLink::State::kConnecting && world_.random().chance(0.5)) return;
  world_.post(*to, 0, [this, link, to] {
    SimLink::End& end = link->end[1];
    end.process = to;
    end.id = to->transport().add(link, 1);
    end.state = SimLink::State::kConnecting;
    const LinkId id = end.id;
    Message hello = link->hello;
    if (spoil_) (void)spoil_(*link->end[0].process, *to, hello);
    Result<HelloAck> answer = to->events().on_hello(id, std::get<Hello>(hello));
    if (end.state != SimLink::State::kConnecting) return;  // closed meanwhile, the other end is told
    if (tracing())
      trace(world_.now(), to->name() + (answer ? " accepts " : " refuses ") + link->end[0].process->name());
    if (answer) {
      end.state = SimLink::State::kUp;
    } else {
      end.state = SimLink::State::kGone;
      to->transport().remove(id);
    }
    SimProcess& connector = *link->end[0].process;
    const TimeNs delay = delay_of(*link, *to, connector, false);
    link->end[0].lane_busy_until = {world_.now() + delay, world_.now() + delay};
    const auto arrive = [this, link, answer, &connector] {
      world_.post(connector, 0, [this, link, answer] { answer_arrives(link, answer); });
    };
    world_.at(delay, [this, to, &connector, arrive] {
      if (world_.reachable(*to, connector)) {
        arrive();
      } else {
        world_.hold_until_healed(arrive);
      }
    });
    if (link->end[0].state != SimLink::State::kConnecting)
      tell_other(link, 1, kMillisecond, "the connecting side went away");
  });
}

void SimNetwork::answer_arrives(const LinkRef& link, const Result<HelloAck>& answer) {
  SimLink::End& end = link->end[0];
  if (end.state != SimLink::State::kConnecting) return;
  if (!answer) {
    end_down(link, 0, answer.error());
    return;
  }
  end.state = SimLink::State::kUp;
  end.process->events().on_link_up(end.id, *answer);
}

// --- messages
// ------------------------------------------------------------------------------------------------------------

void SimNetwork::ship(const PacketRef& packet) {
  const LinkRef& link = packet->link;
  SimLink::End& from = end_of(link, packet->from);
  SimLink::End& to = end_of(link, 1 - packet->from);
  packet->position = from.unfinished.size();
  from.unfinished.push_back(packet);
  packet->lost = link->broken;
  const bool bulk = packet->has_payload && link->options.two_endpoints;
  const TimeNs delay = delay_of(*link, *from.process, *to.process, bulk);
  TimeNs arrival = world_.now() + delay;
  TimeNs& busy_until = to.lane_busy_until[bulk ? 1 : 0];
  if (!bulk || !world_.random().chance(world_.conditions().reorder))
    arrival = std::max(arrival, busy_until + 1);
  busy_until = std::max(busy_until, arrival);
  world_.at(arrival - world_.now(), [this, packet] { arrive(packet); });
  if (!packet->rendezvous) complete_later(packet, world_.random().below(2 * delay), {});
}

void SimNetwork::arrive(const PacketRef& packet) {
  const LinkRef& link = packet->link;
  if (packet->lost || (link->broken && !link->flush[static_cast<std::size_t>(packet->from)])) return;
  SimProcess& from = *end_of(link, packet->from).process;
  SimProcess& to = *end_of(link, 1 - packet->from).process;
  if (!world_.reachable(from, to)) {
    world_.hold_until_healed([this, packet] { arrive(packet); });
    return;
  }
  // The bytes are on their way into the other process now, whatever happens to the sender.
  if (from.alive()) read_source(*packet);
  world_.post(to, 0, [this, packet] { deliver(packet); });
}

void SimNetwork::deliver(const PacketRef& packet) {
  const LinkRef& link = packet->link;
  SimLink::End& end = end_of(link, 1 - packet->from);
  if (packet->lost || end.state != SimLink::State::kUp) return;
  if (packet->has_payload && !packet->rendezvous && !packet->read) return;  // died with its sender
  if (keep_ && !keep_(*end_of(link, packet->from).process, *end.process, packet->message)) {
    packet->lost = true;
    break_link(link);
    return;
  }
  if (tracing()) {
    const std::string text = describe(packet->message);
    const std::string& from = end_of(link, packet->from).process->name();
    if (!text.empty()) trace(world_.now(), from + " -> " + end.process->name() + ": " + text);
  }
  const bool spoilt = spoil_ && spoil_(*end_of(link, packet->from).process, *end.process, packet->message);
  const Incoming incoming = end.process->transport().hand_out(packet);
  if (spoilt) {
    const Error why{Errc::kProtocol, kNoRank, "field: spoilt", 0, 0};
    return end.process->events().on_bad_message(end.id, packet->message, incoming, why);
  }
  end.process->events().on_message(end.id, packet->message, incoming);
}

void SimNetwork::complete_later(const PacketRef& packet, TimeNs delay, const Status& status) {
  world_.post(*end_of(packet->link, packet->from).process, delay,
              [this, packet, status] { complete(packet, status); });
}

void SimNetwork::complete(const PacketRef& packet, const Status& status) {
  if (packet->completed) return;
  packet->completed = true;
  if (status && !packet->lost) read_source(*packet);
  if (!packet->read && packet->has_payload) packet->lost = true;  // its bytes may change from here on
  SimLink::End& end = end_of(packet->link, packet->from);
  if (packet->position < end.unfinished.size() && end.unfinished[packet->position] == packet) {
    end.unfinished[packet->position] = end.unfinished.back();
    end.unfinished[packet->position]->position = packet->position;
    end.unfinished.pop_back();
  }
  if (packet->token != 0) end.process->events().on_sent(packet->token, status);
}

void SimNetwork::transfer_ends(const std::shared_ptr<SimTransport::Receiving>& receiving) {
  if (receiving->over) return;
  const PacketRef& packet = receiving->packet;
  const LinkRef& link = packet->link;
  SimProcess& from = *end_of(link, packet->from).process;
  SimProcess& to = *end_of(link, 1 - packet->from).process;
  if (!to.alive()) return;
  const auto again = [this, receiving] { world_.at(1, [this, receiving] { transfer_ends(receiving); }); };
  if (link->broken || packet->lost || packet->completed || !from.alive() ||
      end_of(link, 1 - packet->from).state != SimLink::State::kUp) {
    transfer_fails(receiving);
  } else if (from.stopped()) {
    world_.post(from, 0, again);
  } else if (to.stopped()) {
    world_.post(to, 0, again);
  } else if (!world_.reachable(from, to) || !world_.reachable(to, from)) {
    world_.hold_until_healed(again);
  } else {
    receiving->over = true;
    std::erase(to.transport().receiving_, receiving);
    std::memcpy(receiving->into.data(), packet->source.data(), receiving->into.size());
    packet->read = true;
    world_.post(to, world_.random().below(20 * kMicrosecond),
                [&to, token = receiving->token] { to.events().on_received(token, {}); });
    complete_later(packet, world_.random().below(200 * kMicrosecond), {});
  }
}

void SimNetwork::transfer_fails(const std::shared_ptr<SimTransport::Receiving>& receiving) {
  if (receiving->over) return;
  receiving->over = true;
  SimProcess& to = *end_of(receiving->packet->link, 1 - receiving->packet->from).process;
  std::erase(to.transport().receiving_, receiving);
  if (!to.alive()) return;
  std::memset(receiving->into.data(), 0xee, (receiving->into.size() + 1) / 2);
  world_.post(to, world_.random().below(50 * kMicrosecond), [&to, token = receiving->token] {
    to.events().on_received(token, fail(Errc::kIo, "the transfer broke off"));
  });
}

// --- ends
// ----------------------------------------------------------------------------------------------------------------

void SimNetwork::leave(const LinkRef& link, int side) {
  SimLink::End& end = end_of(link, side);
  SimProcess& process = *end.process;
  end.state = SimLink::State::kGone;
  process.transport().remove(end.id);
  const std::vector<PacketRef> unfinished = std::move(end.unfinished);
  end.unfinished.clear();
  for (const PacketRef& packet : unfinished) {
    packet->position = ~std::size_t{0};
    // A small message may have been taken by the system long ago.
    const bool sent = !packet->rendezvous && world_.random().chance(0.5);
    complete_later(packet, world_.random().below(200 * kMicrosecond),
                   sent ? Status{} : Status{fail(Errc::kIo, "the link broke")});
  }
  const auto receiving = process.transport().receiving_;
  for (const auto& one : receiving) {
    if (one->packet->link == link)
      world_.at(world_.random().below(200 * kMicrosecond), [this, one] { transfer_fails(one); });
  }
}

void SimNetwork::end_down(const LinkRef& link, int side, const Error& why) {
  SimLink::End& end = end_of(link, side);
  if (end.state != SimLink::State::kUp && end.state != SimLink::State::kConnecting) return;
  const LinkId id = end.id;
  if (tracing()) trace(world_.now(), end.process->name() + " loses a link: " + why.what);
  leave(link, side);
  end.process->events().on_link_down(id, why);
}

void SimNetwork::tell_other(const LinkRef& link, int side, TimeNs delay, const char* why) {
  SimLink::End& end = end_of(link, side);
  if (end.process == nullptr || end.state == SimLink::State::kIdle || end.state == SimLink::State::kGone)
    return;
  const TimeNs last = std::max(end.lane_busy_until[0], end.lane_busy_until[1]);
  if (last >= world_.now() + delay) delay = last + 1 - world_.now();
  SimProcess& gone = *end_of(link, 1 - side).process;
  SimProcess& told = *end.process;
  const auto tell = [this, link, side, why, &told] {
    world_.post(told, 0, [this, link, side, why] { end_down(link, side, Error{Errc::kIo, kNoRank, why}); });
  };
  world_.at(delay, [this, &gone, &told, tell] {
    if (world_.reachable(gone, told)) {
      tell();
    } else {
      world_.hold_until_healed(tell);
    }
  });
}

// Decides for what this end had under way whether it still arrives.
void SimNetwork::settle_unread(const LinkRef& link, int side, bool lose) {
  link->flush[static_cast<std::size_t>(side)] = !lose;
  if (lose) return;
  for (const PacketRef& packet : end_of(link, side).unfinished) {
    if (packet->has_payload) read_source(*packet);
  }
}

void SimNetwork::break_link(const LinkRef& link) {
  if (link->broken) return;
  for (const int side : {0, 1}) {
    if (end_of(link, side).process == nullptr) continue;
    settle_unread(link, side, world_.random().chance(0.5));
    world_.post(*end_of(link, side).process, world_.random().below(kMillisecond),
                [this, link, side] { end_down(link, side, Error{Errc::kIo, kNoRank, "connection reset"}); });
  }
  link->broken = true;
}

void SimNetwork::reset(SimProcess& a, SimProcess& b) {
  for (const auto& weak : links_) {
    const LinkRef link = weak.lock();
    if (link == nullptr || link->end[1].process == nullptr) continue;
    SimProcess* const one = link->end[0].process;
    SimProcess* const two = link->end[1].process;
    if ((one == &a && two == &b) || (one == &b && two == &a)) break_link(link);
  }
}

bool SimNetwork::reset_some(SimProcess& process) {
  std::vector<LinkRef> candidates;
  for (const auto& weak : links_) {
    LinkRef link = weak.lock();
    if (link == nullptr || link->broken || link->end[1].process == nullptr) continue;
    if (link->end[0].process == &process || link->end[1].process == &process)
      candidates.push_back(std::move(link));
  }
  if (candidates.empty()) return false;
  break_link(candidates[world_.random().below(candidates.size())]);
  return true;
}

void SimNetwork::process_died(SimProcess& process) {
  std::erase_if(links_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : links_) {
    const LinkRef link = weak.lock();
    if (link == nullptr) continue;
    for (const int side : {0, 1}) {
      SimLink::End& end = end_of(link, side);
      if (end.process != &process || end.state == SimLink::State::kGone) continue;
      if (!link->broken) settle_unread(link, side, world_.random().chance(0.5));
      link->broken = true;
      end.state = SimLink::State::kGone;
      end.unfinished.clear();
      tell_other(link, 1 - side, world_.random().below(world_.conditions().death_notice + 1),
                 "the process died");
    }
  }
  process.transport().receiving_.clear();
}

int SimNetwork::links_up(const SimProcess& a, const SimProcess& b) const {
  int count = 0;
  for (const auto& weak : links_) {
    const LinkRef link = weak.lock();
    if (link == nullptr || link->broken) continue;
    if (link->end[0].state != SimLink::State::kUp || link->end[1].state != SimLink::State::kUp) continue;
    const SimProcess* const one = link->end[0].process;
    const SimProcess* const two = link->end[1].process;
    if ((one == &a && two == &b) || (one == &b && two == &a)) ++count;
  }
  return count;
}

}  // namespace sidecar::sim
