// What this sidecar is sending and who still has to get it. One Outgoing per client request (a chunk, or the
// end of a stream), one Delivery per destination leader; an Unlink is a Delivery without an Outgoing.
#pragma once

#include <memory>

#include "core/flat_index.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/pool.h"
#include "core/ports.h"
#include "core/timer_heap.h"

namespace sidecar {

struct Client;
struct Outgoing;
struct Peer;

enum class DeliveryState : std::uint8_t {
  kHeld,     // its Outgoing is not captured yet
  kQueued,   // to be sent on the peer's link, now or when there is one
  kSent,     // on its way; Ack or Refuse will tell
  kRefused,  // the peer had no room; sent again when it says so
  kOver,     // settled: only its result is still to be reported
};

struct Delivery {
  Outgoing* outgoing =
      nullptr;  // null: an Unlink, or the client was answered already and only the slot matters
  Peer* peer = nullptr;
  DeliveryState state = DeliveryState::kHeld;
  bool is_unlink = false;
  bool was_sent = false;      // at least once, to the instance that the peer had then
  bool as_reference = false;  // last sent as ChunkRef: the peer may hold our slot
  bool unlinked = false;      // the peer's Unlink overtook its Ack
  Errc result = Errc::kOk;
  Sequence sequence = 0;
  Sequence chunk_ref = 0;  // Unlink: what is given back
  Slot* slot = nullptr;    // one reference, when there are bytes
  ListHook in_outgoing, in_unsettled, in_queue;
  ListHook in_lent;  // acknowledged as a reference: the slot stays until the peer's Unlink
};
using LentList = List<Delivery, &Delivery::in_lent>;

enum class OutgoingState : std::uint8_t {
  kParked,     // waits for room in the send region
  kReceiving,  // its bytes are being moved in
  kDelivering,
};

// Something of a client's that waits for room in the send region: one line for all, first come first served,
// so that a large request is not starved by small ones.
struct RoomWaiter {
  bool is_allocation = false;
  ListHook in_line;
};
using RoomLine = List<RoomWaiter, &RoomWaiter::in_line>;

struct Outgoing : RoomWaiter {
  Client* client = nullptr;  // null: died, or was answered
  RequestId request = 0;
  OutgoingState state = OutgoingState::kParked;
  bool end_of_stream = false;  // meta.id and meta.num_chunks only
  bool abandoned = false;      // deadline, cancel or death: end what can be ended
  ChunkMeta meta;
  Slot* slot = nullptr;  // one reference while bringing in and delivering
  Source source = Source::kInline;
  LinkId link;  // payload: where it comes from
  Incoming incoming;
  std::unique_ptr<std::byte[]> inline_copy;  // inline bytes while parked: pressure only
  std::uint32_t open = 0;                    // deliveries not over
  Rank failed_rank = kNoRank;                // the first failure, for the answer's text
  Errc failed_code = Errc::kOk;
  Text failed_text;
  TimerNode timer;
  using DeliveryList = List<Delivery, &Delivery::in_outgoing>;
  DeliveryList deliveries;
  ListHook in_client;
};

class Outbox {
 public:
  Outgoing* make_outgoing() { return outgoing_.acquire(); }
  void erase(Outgoing* outgoing) { outgoing_.release(outgoing); }
  Delivery* make_delivery() { return deliveries_.acquire(); }
  void erase(Delivery* delivery) { deliveries_.release(delivery); }

  // Deliveries by (peer, sequence), from their first queueing until they are settled and no longer lent.
  void index(Rank rank, Delivery* delivery) {
    index_.insert(mix(static_cast<std::uint64_t>(rank), delivery->sequence),
                  deliveries_.handle_of(delivery).index);
  }
  void unindex(Rank rank, Delivery* delivery) {
    const std::uint32_t index = deliveries_.handle_of(delivery).index;
    CHECK(index_.erase(mix(static_cast<std::uint64_t>(rank), delivery->sequence),
                       [&](std::uint32_t i) { return i == index; }));
  }
  Delivery* find(const Peer* peer, Rank rank, Sequence sequence) {
    const std::uint32_t at =
        index_.find(mix(static_cast<std::uint64_t>(rank), sequence), [&](std::uint32_t i) {
          const Delivery* delivery = deliveries_.at(i);
          return delivery->peer == peer && delivery->sequence == sequence;
        });
    return at == FlatIndex::kNone ? nullptr : deliveries_.at(at);
  }

  RoomLine& line() { return line_; }
  [[nodiscard]] const RoomLine& line() const { return line_; }
  // At the end of the process, or of a test: forgets everything. `drop` gets each slot reference; lists that
  // live elsewhere (peers', clients', quarantines') are left empty of deliveries.
  template <class Drop>
  void clear(TimerHeap& timers, Drop&& drop) {
    deliveries_.for_each([&](Delivery& delivery) {
      if (auto* list = Outgoing::DeliveryList::of(&delivery)) list->remove(&delivery);
      if (auto* list = List<Delivery, &Delivery::in_unsettled>::of(&delivery)) list->remove(&delivery);
      if (auto* list = List<Delivery, &Delivery::in_queue>::of(&delivery)) list->remove(&delivery);
      if (auto* list = LentList::of(&delivery)) list->remove(&delivery);
      if (delivery.slot != nullptr) drop(delivery.slot);
      deliveries_.release(&delivery);
    });
    outgoing_.for_each([&](Outgoing& outgoing) {
      timers.cancel(outgoing.timer);
      if (auto* list = List<Outgoing, &Outgoing::in_client>::of(&outgoing)) list->remove(&outgoing);
      if (outgoing.in_line.linked()) line_.remove(&outgoing);
      if (outgoing.slot != nullptr) drop(outgoing.slot);
      outgoing_.release(&outgoing);
    });
  }

  // For listings and checks.
  template <class Visit>
  void for_each_delivery(Visit&& visit) {
    deliveries_.for_each(visit);
  }
  template <class Visit>
  void for_each_outgoing(Visit&& visit) {
    outgoing_.for_each(visit);
  }

  [[nodiscard]] std::size_t outgoing_count() const { return outgoing_.size(); }

 private:
  Pool<Outgoing> outgoing_;
  Pool<Delivery> deliveries_;
  FlatIndex index_;
  RoomLine line_;
};

}  // namespace sidecar
