// What this sidecar is sending and who still has to get it. One Outgoing per chunk (or end of a stream); one
// Shard per client's call that brings it, one Destination per leader that gets it, one Delivery per transfer
// to a peer. An Unlink is a Delivery without a Destination.
#pragma once

#include <bitset>
#include <memory>
#include <vector>

#include "core/flat_index.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/pool.h"
#include "core/ports.h"
#include "core/timer_heap.h"

namespace sidecar {

struct Client;
struct Destination;
struct Outgoing;
struct Peer;

enum class DeliveryState : std::uint8_t {
  kQueued,   // to be sent on the peer's link, now or when there is one
  kSent,     // on its way; Ack or Refuse will tell
  kRefused,  // the peer had no room; sent again when it says so
  kOver,     // settled
};

struct Delivery {
  enum class Kind : std::uint8_t { kChunk, kStreamEnd, kUnlink, kRetract };
  Kind kind = Kind::kChunk;
  // Null: an Unlink, or one that is settled and of which only the slot matters.
  Destination* destination = nullptr;
  Peer* peer = nullptr;
  DeliveryState state = DeliveryState::kQueued;
  bool was_sent = false;      // at least once, to the instance that the peer had then
  bool as_reference = false;  // last sent as ChunkRef: the peer may hold our slot
  bool unlinked = false;      // the peer's Unlink overtook its Ack
  Slice part;                 // of the chunk
  Sequence sequence = 0;
  Sequence chunk_ref = 0;  // Unlink: what is given back
  Slot* slot = nullptr;    // one reference, when there are bytes
  ListHook in_destination, in_unsettled, in_queue;
  ListHook in_lent;  // acknowledged as a reference: the slot stays until the peer's Unlink
};
using LentList = List<Delivery, &Delivery::in_lent>;

// One leader that is to get the chunk: whole, in one delivery, or in parts as they come in.
struct Destination {
  Outgoing* outgoing = nullptr;
  Peer* peer = nullptr;
  bool over = false;
  bool in_parts = false;        // decided when the first part could leave
  bool sent = false;            // something of it, to the instance that the peer had then
  bool retracted = false;       // the peer was told, or is no more, that it never comes as it was begun
  Errc result = Errc::kOk;      // the first failure
  std::uint64_t delivered = 0;  // bytes acknowledged, in parts
  std::uint64_t parts_key = 0;  // while it gets them
  using DeliveryList = List<Delivery, &Delivery::in_destination>;
  DeliveryList open;  // not settled
  ListHook in_outgoing;
};

enum class ShardState : std::uint8_t {
  kWaiting,  // for room in the send region
  kMoving,   // its bytes are being moved in: the slot must stay
  kFilling,  // by its client, whose allocation keeps the slot (kFill)
  kIn,
};

// What one client's call brings: the whole chunk, or its share of it.
struct Shard {
  Outgoing* outgoing = nullptr;
  Client* client = nullptr;  // null: died, or was answered
  Handle charged_to;         // whose limits it counts against until it is dropped
  RequestId request = 0;
  ShardState state = ShardState::kWaiting;
  Source source = Source::kInline;
  Slice slice;               // of the chunk
  std::uint64_t ready = 0;   // of the slice, bytes in place
  std::uint64_t issued = 0;  // and of those, handed to destinations that get it in parts
  Rank member = kNoRank;     // whose it is
  LinkId link;               // payload: where it comes from
  Incoming incoming;
  std::unique_ptr<std::byte[]> inline_copy;  // inline bytes while there is no room: pressure only
  DeviceSource device;                       // GPU memory,
  Token copying = 0;                         // and its copy, while moving
  TimerNode timer;
  ListHook in_outgoing, in_client;
};

using Ranks = std::vector<Rank>;

// Something of a client's that waits for room in the send region: one line for all, first come first served,
// so that a large request is not starved by small ones.
struct RoomWaiter {
  bool is_allocation = false;
  ListHook in_line;
};
using RoomLine = List<RoomWaiter, &RoomWaiter::in_line>;

struct Outgoing : RoomWaiter {
  bool end_of_stream = false;  // meta.id and meta.num_chunks only
  bool abandoned = false;      // deadline, cancel or death: end what can be ended
  bool lost = false;           // by the death of a client: it never comes as it was begun
  ChunkMeta meta;
  Slot* slot = nullptr;  // one reference until all shards are in
  // The group whose members bring it together; null: one client alone.
  std::shared_ptr<const Ranks> group;
  std::bitset<kDestinationsMax> came;  // which of them have called
  std::uint32_t missing = 0;           // how many have not
  std::uint32_t moving = 0;            // shards in state kMoving
  std::uint32_t not_in = 0;            // shards not in yet, whether they came or not
  std::uint64_t gather_key = 0;        // while some are missing
  using ShardList = List<Shard, &Shard::in_outgoing>;
  ShardList shards;
  std::uint32_t open = 0;      // destinations not over
  Rank failed_rank = kNoRank;  // the first failure, for the answer's text
  Errc failed_code = Errc::kOk;
  Text failed_text;
  using DestinationList = List<Destination, &Destination::in_outgoing>;
  DestinationList destinations;
};

class Outbox {
 public:
  Outgoing* make_outgoing() { return outgoing_.acquire(); }
  void erase(Outgoing* outgoing) { outgoing_.release(outgoing); }
  Shard* make_shard() { return shards_.acquire(); }
  void erase(Shard* shard) { shards_.release(shard); }
  Shard* find(Handle shard) { return shards_.find(shard); }
  [[nodiscard]] Handle handle_of(const Shard& shard) const { return shards_.handle_of(&shard); }
  Destination* make_destination() { return destinations_.acquire(); }
  void erase(Destination* destination) { destinations_.release(destination); }
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

  // Sends of which some members' shards are missing, by what `key` is made of.
  void gather(Outgoing* outgoing, std::uint64_t key) {
    outgoing->gather_key = key;
    gathering_.insert(key, outgoing_.handle_of(outgoing).index);
  }
  void stop_gathering(Outgoing* outgoing) {
    const std::uint32_t index = outgoing_.handle_of(outgoing).index;
    CHECK(gathering_.erase(outgoing->gather_key, [&](std::uint32_t i) { return i == index; }));
  }
  Outgoing* find_gathering(std::uint64_t key, const DataId& id, ChunkIndex chunk, const Ranks& group) {
    const std::uint32_t at = gathering_.find(key, [&](std::uint32_t i) {
      const Outgoing* o = outgoing_.at(i);
      return o->meta.chunk == chunk && o->meta.id == id && *o->group == group;
    });
    return at == FlatIndex::kNone ? nullptr : outgoing_.at(at);
  }

  // Destinations that get their chunk in parts, until they are over, by what `key` is made of.
  void index_parts(Destination* destination, std::uint64_t key) {
    destination->parts_key = key;
    in_parts_.insert(key, destinations_.handle_of(destination).index);
  }
  void unindex_parts(Destination* destination) {
    const std::uint32_t index = destinations_.handle_of(destination).index;
    CHECK(in_parts_.erase(destination->parts_key, [&](std::uint32_t i) { return i == index; }));
  }
  Destination* find_in_parts(std::uint64_t key, const Destination& like) {
    const std::uint32_t at =
        in_parts_.find(key, [&](std::uint32_t i) { return same_chunk(*destinations_.at(i), like); });
    return at == FlatIndex::kNone ? nullptr : destinations_.at(at);
  }
  [[nodiscard]] bool any_in_parts() const { return in_parts_.size() > 0; }
  static bool same_chunk(const Destination& a, const Destination& b) {
    return a.peer == b.peer && a.outgoing->meta.chunk == b.outgoing->meta.chunk &&
           a.outgoing->meta.id == b.outgoing->meta.id;
  }
  // Deliveries of chunks of which their destination is still getting an earlier attempt in parts.
  using HeldList = List<Delivery, &Delivery::in_queue>;
  HeldList& held() { return held_; }

  RoomLine& line() { return line_; }
  [[nodiscard]] const RoomLine& line() const { return line_; }
  // At the end of the process, or of a test: forgets everything. `drop` gets each slot reference; lists that
  // live elsewhere (peers', clients', quarantines') are left empty of deliveries.
  template <class Drop>
  void clear(TimerHeap& timers, Drop&& drop) {
    deliveries_.for_each([&](Delivery& delivery) {
      if (auto* list = Destination::DeliveryList::of(&delivery)) list->remove(&delivery);
      if (auto* list = List<Delivery, &Delivery::in_unsettled>::of(&delivery)) list->remove(&delivery);
      if (auto* list = List<Delivery, &Delivery::in_queue>::of(&delivery)) list->remove(&delivery);
      if (auto* list = LentList::of(&delivery)) list->remove(&delivery);
      if (delivery.slot != nullptr) drop(delivery.slot);
      deliveries_.release(&delivery);
    });
    destinations_.for_each([&](Destination& destination) {
      Outgoing::DestinationList::of(&destination)->remove(&destination);
      destinations_.release(&destination);
    });
    shards_.for_each([&](Shard& shard) {
      timers.cancel(shard.timer);
      if (auto* list = List<Shard, &Shard::in_client>::of(&shard)) list->remove(&shard);
      Outgoing::ShardList::of(&shard)->remove(&shard);
      shards_.release(&shard);
    });
    outgoing_.for_each([&](Outgoing& outgoing) {
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
  void for_each_destination(Visit&& visit) {
    destinations_.for_each(visit);
  }
  template <class Visit>
  void for_each_outgoing(Visit&& visit) {
    outgoing_.for_each(visit);
  }

  [[nodiscard]] std::size_t outgoing_count() const { return outgoing_.size(); }

 private:
  Pool<Outgoing> outgoing_;
  Pool<Shard> shards_;
  Pool<Destination> destinations_;
  Pool<Delivery> deliveries_;
  FlatIndex index_;
  FlatIndex gathering_;
  FlatIndex in_parts_;
  HeldList held_;
  RoomLine line_;
};

}  // namespace sidecar
