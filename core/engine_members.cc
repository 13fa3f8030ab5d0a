// What the membership says of peers: who joined, whose record is gone, who has whose rank. What we hear from
// a peer itself counts for more: a lease ends also when etcd was away, and news of it may be late.
#include "core/engine.h"

namespace sidecar {

void Engine::member_joined(Rank rank, InstanceId instance) {
  Peer* const peer = peers_.find(rank);
  if (peer == nullptr || is_retired(*peer, instance)) return;
  // The one that we know has lost its rank, even if it is alive.
  if (peer->instance != 0 && peer->instance == peer->departed) new_instance(*peer, instance);
  peer->departed = 0;
  // It is there: whoever waits to try again need not wait.
  if (peer->state == LinkState::kDown && wants_link(*peer)) {
    timers_.cancel(peer->retry);
    want_link(*peer);
  }
}

void Engine::member_replaced(Rank rank, InstanceId before, InstanceId instance) {
  Peer* const peer = peers_.find(rank);
  if (peer == nullptr || is_retired(*peer, instance)) return;
  if (peer->instance == before) new_instance(*peer, instance);
  member_joined(rank, instance);
}

void Engine::member_gone(Rank rank, InstanceId instance) {
  Peer* const peer = peers_.find(rank);
  if (peer == nullptr || (peer->instance != 0 && peer->instance != instance)) return;
  peer->departed = instance;  // the next tick looks at it: it knows whether it was us who stood still
}

// Its record is gone. Whoever is heard of is not lost by that alone.
void Engine::check_departed(Peer& peer) {
  if (peer.departed == 0 || (peer.instance != 0 && peer.instance != peer.departed)) return;
  if (!wants_link(peer)) return;
  const bool heard = peer.instance != 0 && host_.now() - peer.heard <= options_.ping_timeout;
  if (heard) return;
  lose_peer(
      peer,
      Error{Errc::kPeerLost, peer.rank, "the destination left the membership, or its lease ended", 0, 0},
      Loss::kSilent);
}

// A rank that is no member any more can still be talked to while it is there.
bool Engine::can_reach(Rank rank) {
  if (directory_.knows(rank)) return true;
  const Peer* const peer = peers_.find(rank);
  return peer != nullptr && peer->instance != 0 && (peer->state == LinkState::kUp || peer->links_in > 0);
}

bool Engine::is_retired(const Peer& peer, InstanceId instance) {
  return std::ranges::find(peer.retired, instance) != peer.retired.end();
}

}  // namespace sidecar
