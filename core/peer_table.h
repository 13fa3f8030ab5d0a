// The other sidecars as this one knows them, and every link to anybody.
//
// A sidecar's transfers to a peer go over the link that it opened itself, and their answers come back on it;
// the peer's transfers come over the link that the peer opened. So nobody has to agree on who connects.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "core/client_table.h"
#include "core/dedup_window.h"
#include "core/outbox.h"

namespace sidecar {

enum class LinkState : std::uint8_t { kDown, kInLine, kResolving, kConnecting, kUp };

struct Peer {
  Rank rank = kNoRank;
  InstanceId instance = 0;  // 0: not known yet
  InstanceId latest = 0;    // the one known last, also when it is lost
  // Those before it, the last few: what they still say is not heard. For them the rank is gone for good.
  std::array<InstanceId, 8> retired{};
  std::uint32_t retirements = 0;
  InstanceId departed = 0;  // the instance whose membership ended; 0: it has not
  std::int64_t pid = 0;     // when it is on this node
  InstanceId watched = 0;   // the instance whose process is being watched
  InstanceId ended = 0;     // the one whose process has ended, though a link may not know it yet
  // Our own link to it.
  LinkState state = LinkState::kDown;
  LinkId out;
  bool mapped = false;                          // it has our arena mapped: chunks go as references
  std::uint16_t version = kProtocolVersionMin;  // of the protocol, on this link
  bool local = false;
  std::uint64_t eager_sent = 0;      // on this link, payload bytes
  std::uint64_t eager_consumed = 0;  // as it told us
  TimeNs backoff = 0;
  TimerNode retry;
  // When we last heard anything of this instance, on any link; and since when we have been trying in vain.
  TimeNs heard = 0;
  TimeNs wanted_since = kNever;
  ListHook in_line;        // kInLine: it waits for its turn,
  TimeNs lined_since = 0;  // since then
  std::uint32_t links_in = 0;
  // What we send it. `unsettled` in sequence order; `queue` what is to be sent on the next occasion.
  Sequence next_sequence = 1;
  using UnsettledList = List<Delivery, &Delivery::in_unsettled>;
  UnsettledList unsettled;
  List<Delivery, &Delivery::in_queue> queue;
  LentList lent;
  std::size_t unlinks = 0;          // of the unsettled
  std::uint64_t refused_by_it = 0;  // deliveries in state kRefused
  // What it sends us.
  DedupWindow window;
  InstanceId window_of =
      0;  // whose transfers it knows: kept when that one counts as lost, since it may be alive
  bool owed_resume = false;   // we refused something and will say when there is room
  std::size_t parked = 0;     // chunks of its that wait for room here
  std::uint64_t awaited = 0;  // data of its that are not complete here
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_mapped = 0;
};

// One connection, in either direction.
struct Link {
  enum class Kind : std::uint8_t { kNone, kClient, kPeerOut, kPeerIn };
  Kind kind = Kind::kNone;
  LinkId id;
  Client* client = nullptr;
  Peer* peer = nullptr;
  InstanceId instance = 0;  // of the other side
  TimeNs heard = 0;
  std::uint64_t arrived = 0;                    // eager payload bytes received,
  std::uint64_t consumed = 0;                   // of these, taken
  std::uint64_t reported = 0;                   // of these, told to the other side
  std::uint16_t version = kProtocolVersionMin;  // kPeerIn: of the protocol
  // kPeerIn: transfers that are over, of which the other side is told when the step ends.
  Sequence owed_from = 0;
  std::uint32_t owed_acks = 0;
};

// Slots lent to a peer's process that is lost but not proven gone: it, or its clients, may still look at
// them.
struct Quarantine {
  Rank rank = kNoRank;
  InstanceId instance = 0;
  bool gone = false;  // it is proven gone, but what it told its clients of they still have mapped
  std::int64_t pid = 0;
  LentList lent;
};

// Another sidecar's arena in our address space.
struct ForeignArena {
  ArenaInfo info;
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;
  std::uint64_t slots = 0;  // of it that we refer to
  bool lost = false;        // its process is gone: unmapped with the last slot
};

class PeerTable {
 public:
  // For each destination of each send: not by looking through them all.
  Peer* find(Rank rank) {
    const std::uint32_t at = by_rank_.find(mix(static_cast<std::uint64_t>(rank), 0),
                                           [&](std::uint32_t i) { return peers_[i]->rank == rank; });
    return at == FlatIndex::kNone ? nullptr : peers_[at].get();
  }
  Peer& make(Rank rank) {
    by_rank_.insert(mix(static_cast<std::uint64_t>(rank), 0), static_cast<std::uint32_t>(peers_.size()));
    peers_.push_back(std::make_unique<Peer>());
    peers_.back()->rank = rank;
    return *peers_.back();
  }
  [[nodiscard]] const std::vector<std::unique_ptr<Peer>>& all() const { return peers_; }
  ForeignArena* find_arena(InstanceId instance) {
    for (ForeignArena& arena : arenas_) {
      if (arena.info.instance == instance) return &arena;
    }
    return nullptr;
  }
  std::vector<ForeignArena>& arenas() { return arenas_; }
  using Line = List<Peer, &Peer::in_line>;
  Line& line() { return line_; }
  Pool<Quarantine>& quarantines() { return quarantines_; }
  [[nodiscard]] const Pool<Quarantine>& quarantines() const { return quarantines_; }

 private:
  std::vector<std::unique_ptr<Peer>> peers_;  // never removed: at most one per rank ever named
  FlatIndex by_rank_;
  Line line_;  // those that wait to be connected to; destroyed before them, so emptied by the engine
  std::vector<ForeignArena> arenas_;
  Pool<Quarantine> quarantines_;
};

}  // namespace sidecar
