// Room to receive: who may wait for it here, who is refused and keeps his bytes, and who is asked to come
// back.
#include <algorithm>

#include "core/engine.h"

namespace sidecar {

void Engine::pump_receive_room() {
  receive_room_changed_ = false;
  for (auto* list : {&store_.parked_wanted(), &store_.parked()}) {
    while (ChunkEntry* entry = list->front()) {
      list->remove(entry);
      if (start_receive(*entry, nullptr)) continue;
      list->push_front(entry);
      break;
    }
    if (!list->empty()) break;  // what is wanted goes first
  }
  resume_refused(Resume::kThoseWithRoom);
}

// Whether a chunk of that peer's which nobody waits for is refused even a place in line. Everybody may have
// one place, however full it is; more only while there are any, and while others are refused only his share.
// Who was refused something gets no place for what he sent later: that would pass what was refused, again and
// again, and he would never have so few in line that he is asked to come back.
bool Engine::must_turn_away(const Peer& peer) const {
  if (peer.owed_resume) return true;
  if (peer.parked == 0) return options_.parked_max == 0;
  return store_.parked_count() >= options_.parked_max ||
         (owed_resumes_ > 0 && peer.parked >= share_of_line());
}

// No room, not even to park: the sender keeps it until we say that there is.
void Engine::turn_away(Arrival& arrival) {
  ChunkEntry& entry = *arrival.entry;
  discard(arrival.link, std::exchange(arrival.incoming, {}));
  refuse(*entry.source, arrival.link, arrival.sequence);
  remove_arrival(arrival);
  back_to_absent(entry);
}

void Engine::refuse(Peer& peer, LinkId link, Sequence sequence) {
  ++counters_.refusals;
  peer.window.forget(sequence);
  change_crowd(peer, true, peer.parked);
  send_plain(link, Refuse{sequence});
}

// Those with room: who has half of his share of the line left. On each of a peer's links, since the other
// side may have given up the older ones without our knowing yet.
void Engine::resume_refused(Resume whom) {
  if (owed_resumes_ == 0) return;
  const std::size_t share = share_of_line();
  const auto is_due = [&](const Peer& peer) {
    return peer.owed_resume && (whom == Resume::kAll || peer.parked * 2 <= share);
  };
  for (Link& link : links_) {
    if (link.kind == Link::Kind::kPeerIn && is_due(*link.peer)) report_credit(link, true);
  }
  for (const auto& peer : peers_.all()) {
    if (is_due(*peer)) change_crowd(*peer, false, peer->parked);
  }
}

// While somebody is refused: as many places in line for each who has any, or was refused one.
std::size_t Engine::share_of_line() const {
  return std::max<std::size_t>(options_.parked_max / std::max<std::size_t>(crowd_, 1), 1);
}

void Engine::change_crowd(Peer& peer, bool owed_resume, std::size_t parked) {
  const bool before = peer.owed_resume || peer.parked > 0;
  owed_resumes_ += std::size_t{owed_resume} - std::size_t{peer.owed_resume};
  peer.owed_resume = owed_resume;
  peer.parked = parked;
  crowd_ += std::size_t{owed_resume || parked > 0} - std::size_t{before};
}

}  // namespace sidecar
