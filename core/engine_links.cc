// Links to peers: who connects when, Hello on both sides, retry with back-off, silence, and when a peer
// counts as lost.
#include "core/engine.h"

namespace sidecar {

// --- our own link
// ----------------------------------------------------------------------------------------------------------

// Deliveries that somebody waits for; giving back slots to a peer that is lost can wait until it is found
// again.
std::size_t Engine::unsettled(const Peer& peer) const {
  return peer.unsettled.size() - (peer.instance == 0 ? peer.unlinks : 0);
}

// Whether there is anything that makes the peer's being alive matter to us.
bool Engine::wants_link(const Peer& peer) const {
  if (unsettled(peer) > 0) return true;
  return peer.links_in == 0 && (peer.awaited > 0 || !peer.lent.empty());
}

// A few at a time: where many sidecars begin to send to all others, connecting to all of them at once would
// take each attempt longer than it may. The time in line is not held against the peer.
void Engine::want_link(Peer& peer) {
  if (peer.state != LinkState::kDown || peer.retry.set()) return;
  if (connecting_ < kConnectingMax) return begin_link(peer);
  set_state(peer, LinkState::kInLine);
  peer.lined_since = host_.now();
  peers_.line().push_back(&peer);
}

void Engine::begin_link(Peer& peer) {
  if (peer.wanted_since == kNever) peer.wanted_since = host_.now();
  set_state(peer, LinkState::kResolving);
  directory_.resolve(peer.rank);
}

// Who leaves its place among those being connected to leaves it to the next in line.
void Engine::set_state(Peer& peer, LinkState state) {
  const auto connects = [](const Peer& p) {
    return p.state == LinkState::kResolving || p.state == LinkState::kConnecting;
  };
  if (peer.in_line.linked()) peers_.line().remove(&peer);
  connecting_ -= connects(peer) ? 1 : 0;
  peer.state = state;
  connecting_ += connects(peer) ? 1 : 0;
  while (connecting_ < kConnectingMax) {
    Peer* const next = peers_.line().front();
    if (next == nullptr) return;
    if (next->wanted_since != kNever) next->wanted_since += host_.now() - next->lined_since;
    begin_link(*next);
  }
}

void Engine::on_resolved(Rank rank, const Result<PeerRecord>& record) {
  Peer* const peer = peers_.find(rank);
  if (peer == nullptr || peer->state != LinkState::kResolving) return;
  // An answer that was under way while its sender's rank went to another process.
  if (!record || is_retired(*peer, record->instance)) return link_failed(*peer);
  new_instance(*peer, record->instance);
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = options_.rank;
  hello.instance = options_.instance;
  hello.to_instance = record->instance;
  hello.pid = options_.pid;
  hello.node = options_.node;
  hello.ticket = record->ticket;
  ConnectOptions connect;
  // Same node is proven by opening its arena; a different name only vetoes.
  connect.local =
      record->node == options_.node && !record->local_address.empty() && map_foreign(record->arena);
  // Who is not on our node, or must not share memory with us, is not offered the arena.
  if (connect.local) hello.arena = options_.arena_info;
  connect.address = connect.local ? record->local_address : record->net_address;
  peer->local = connect.local;
  set_state(*peer, LinkState::kConnecting);
  peer->out = transport_.connect(connect, hello);
  Link& link = add_link(peer->out, Link::Kind::kPeerOut);
  link.peer = peer;
  link.instance = record->instance;
}

bool Engine::map_foreign(const ArenaInfo& info) {
  if (info.path.empty() || info.instance == 0) return false;
  if (ForeignArena* const known = peers_.find_arena(info.instance)) {
    known->lost = false;  // its process counted as lost, and is back
    return true;
  }
  const Result<MappedArena> mapped = host_.map_arena(info);
  if (!mapped) return false;
  peers_.arenas().push_back(ForeignArena{info, mapped->data, mapped->bytes, 0, false});
  return true;
}

void Engine::on_link_up(LinkId id, const HelloAck& answer) {
  Link* const link = find_link(id);
  if (link == nullptr || link->kind != Link::Kind::kPeerOut) return;
  Peer& peer = *link->peer;
  if (answer.rank != peer.rank || answer.instance != peer.instance) {
    return protocol_error(*link, "HelloAck: another process answers there");
  }
  const TimeNs now = host_.now();
  set_state(peer, LinkState::kUp);
  peer.mapped = answer.mapped;
  peer.version = answer.version;
  peer.eager_sent = peer.eager_consumed = 0;
  peer.backoff = 0;
  peer.wanted_since = kNever;
  peer.heard = link->heard = now;
  if (peer.local) peer.pid = answer.pid;
  watch_for_end(peer);
  // Everything not acknowledged goes (again), in order; the peer drops what it has.
  while (peer.queue.pop_front() != nullptr) {
  }
  peer.refused_by_it = 0;
  const auto given_up = [](const Delivery& d) {
    return d.destination != nullptr && d.destination->result != Errc::kOk &&
           d.kind != Delivery::Kind::kRetract && !d.as_reference;
  };
  for (Delivery* d = peer.unsettled.front(); d != nullptr; d = Peer::UnsettledList::next(d)) {
    d->state = DeliveryState::kQueued;
    if (!given_up(*d)) peer.queue.push_back(d);
  }
  // Settling may queue more: what takes back the parts, or the next attempt.
  for (Delivery* d = peer.unsettled.front(); d != nullptr;) {
    Delivery* const next = Peer::UnsettledList::next(d);
    if (given_up(*d)) {
      if (d->was_sent && d->destination->in_parts) {  // it may be under way on an older link
        d->state = DeliveryState::kSent;
        send_plain(peer.out, Withdraw{d->sequence});
      } else {
        settle(*d, Error{Errc::kCancelled, peer.rank, "", 0, 0});
      }
    }
    d = next;
  }
  pump(peer);
}

void Engine::link_failed(Peer& peer) {
  set_state(peer, LinkState::kDown);
  peer.out = {};
  peer.mapped = false;
  peer.backoff = peer.backoff == 0 ? kBackoffFirst : std::min(peer.backoff * 2, kBackoffMax);
  if (peer.wanted_since == kNever) peer.wanted_since = host_.now();
  set_timer(peer.retry, Timer::kRetry, &peer, host_.now() + peer.backoff);
}

// --- a peer's link to us
// ------------------------------------------------------------------------------------------------------

Result<HelloAck> Engine::on_hello(LinkId link, const Hello& hello) {
  if (hello.instance == 0) return fail(Errc::kProtocol, "Hello: instance 0");
  if (hello.version_min > kProtocolVersionMax || hello.version_max < kProtocolVersionMin) {
    return fail(Errc::kProtocol, "Hello: no protocol version in common (theirs at least, ours at most)",
                options_.rank, hello.version_min, kProtocolVersionMax);
  }
  if (hello.to_instance != 0 && hello.to_instance != options_.instance) {
    return fail(Errc::kUnavailable, "Hello: meant for another process, which had this address before",
                options_.rank);
  }
  Result<HelloAck> answer =
      hello.role == Role::kClient ? hello_from_client(link, hello) : hello_from_peer(link, hello);
  if (!answer) return answer;
  answer->version = std::min(hello.version_max, kProtocolVersionMax);
  answer->rank = options_.rank;
  answer->instance = options_.instance;
  answer->pid = options_.pid;
  answer->node = options_.node;
  answer->arena = options_.arena_info;
  return answer;
}

Result<HelloAck> Engine::hello_from_peer(LinkId id, const Hello& hello) {
  if (hello.rank < 0 || hello.rank == options_.rank || !directory_.knows(hello.rank)) {
    return fail(Errc::kUnauthorized, "Hello: not the rank of a peer", hello.rank);
  }
  if (const Status status = directory_.redeem(hello); !status) return tl::unexpected(status.error());
  Peer& peer = peer_of(hello.rank);
  if (is_retired(peer, hello.instance))
    return fail(Errc::kUnauthorized, "Hello: another process has this rank now; end this one", hello.rank);
  new_instance(peer, hello.instance);
  peer.heard = host_.now();
  ++peer.links_in;
  const bool same_node =
      hello.node == options_.node && hello.arena.instance == hello.instance && map_foreign(hello.arena);
  if (same_node) peer.pid = hello.pid;
  watch_for_end(peer);
  Link& link = add_link(id, Link::Kind::kPeerIn);
  link.peer = &peer;
  link.instance = hello.instance;
  link.version = std::min(hello.version_max, kProtocolVersionMax);
  HelloAck answer;
  answer.mapped = same_node;
  // It is alive: whoever waits to try again need not wait.
  if (peer.state == LinkState::kDown && wants_link(peer)) {
    timers_.cancel(peer.retry);
    want_link(peer);
  }
  return answer;
}

// --- down
// ---------------------------------------------------------------------------------------------------------------------

void Engine::on_link_down(LinkId id, const Error&) {
  Link* const found = find_link(id);
  if (found == nullptr) return;
  const Link link = std::exchange(*found, Link{});
  if (link.kind == Link::Kind::kClient) {
    client_gone(*link.client, false);
    return;
  }
  Peer& peer = *link.peer;
  if (link.kind == Link::Kind::kPeerOut) {
    link_failed(peer);
  } else {
    --peer.links_in;
    drop_parked_on(id);
  }
  if (has_ended(peer)) return lose_ended(peer);
  if (link.kind == Link::Kind::kPeerIn && wants_link(peer) && peer.state == LinkState::kDown) want_link(peer);
}

// On this node there is better proof of a loss than silence: that the process has ended. It is watched from
// the start, because nobody can watch one that has ended.
void Engine::watch_for_end(Peer& peer) {
  if (peer.pid <= 0 || peer.watched == peer.instance) return;
  const Token token = expect({.what = What::kPeerEnded, .rank = peer.rank, .instance = peer.instance});
  if (host_.watch_process(peer.pid, token))
    peer.watched = peer.instance;
  else
    completions_.release(completions_.find(Handle::unpack(token)));
}

// What it said before its end still counts, so that its links end first.
bool Engine::has_ended(const Peer& peer) const {
  return peer.ended != 0 && peer.ended == peer.window_of && !peer.out.valid() && peer.links_in == 0;
}

void Engine::lose_ended(Peer& peer) {
  peer.ended = 0;
  if (peer.instance == 0) return drop_unlinks(peer);  // it counted as lost already
  lose_peer(peer, Error{Errc::kPeerLost, peer.rank, "the destination's process has ended", 0, 0},
            Loss::kProven);
}

// Without telling Events: the caller deals with what that means.
void Engine::close_links(Peer& peer) {
  for (Link& link : links_) {
    if (link.kind == Link::Kind::kNone || link.peer != &peer) continue;
    transport_.close(link.id);
    link = Link{};
  }
  peer.links_in = 0;
  peer.out = {};
  peer.mapped = false;
  timers_.cancel(peer.retry);
  set_state(peer, LinkState::kDown);
}

// Lost: nothing heard on any link for the peer time-out although something depends on it.
void Engine::check_peer(Peer& peer) {
  if (peer.state == LinkState::kUp) return pump(peer);
  if (!wants_link(peer)) {
    if (peer.state == LinkState::kInLine) set_state(peer, LinkState::kDown);
    peer.wanted_since = kNever;
    return;
  }
  check_departed(peer);
  if (!wants_link(peer)) return;
  want_link(peer);
  if (peer.state == LinkState::kInLine) return;
  const TimeNs since = std::max(peer.wanted_since == kNever ? host_.now() : peer.wanted_since, peer.heard);
  if (host_.now() - since > options_.peer_timeout) {
    lose_peer(
        peer,
        Error{Errc::kPeerLost, peer.rank, "the destination was not heard of for the peer time-out", 0, 0},
        Loss::kSilent);
  }
}

}  // namespace sidecar
