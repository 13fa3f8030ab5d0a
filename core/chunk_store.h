// What this sidecar holds and who waits for it: data, their chunks, the waiters and the holders of each
// chunk. A pure data structure: no ports, no memory management; the engine decides what happens, this
// remembers it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/flat_index.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/memory.h"
#include "core/pool.h"
#include "core/ports.h"
#include "core/ranges.h"
#include "core/size_tally.h"
#include "core/timer_heap.h"
#include "core/tombstones.h"

namespace sidecar {

struct Client;
struct ChunkEntry;
struct Datum;
struct Peer;

// A recv that waits for its chunk.
struct Waiter {
  Client* client = nullptr;
  ChunkEntry* entry = nullptr;
  RequestId request = 0;
  bool by_value = false;
  TimerNode timer;
  ListHook in_chunk, in_client;
};

// A client process may look at a slot, because a Reply told it where. Counts the replies; Release takes them
// back.
struct Grant {
  Client* client = nullptr;
  ChunkEntry* entry = nullptr;  // null once the chunk was marked done: the slot lives on for this holder
  Slot* slot = nullptr;         // one reference
  Hash128 id{};                 // and which chunk of that datum it is, for when the entry is gone
  ChunkIndex chunk = 0;
  std::uint32_t count = 0;
  ListHook in_chunk, in_client;
};

enum class ChunkState : std::uint8_t {
  kAbsent,     // only waited for
  kParked,     // its payload waits for room, still at the sender or in the transport
  kReceiving,  // it has its slot; what came of it is being moved there, more may be to come
  kReady,
};

// One transfer of a chunk's bytes: of all of them, or of a part.
struct Arrival {
  enum class State : std::uint8_t {
    kParked,  // waits for its chunk's slot
    kMoving,  // into the slot
    kLanded,  // acknowledged, except the last
  };
  State state = State::kParked;
  ChunkEntry* entry = nullptr;
  Slice part;
  LinkId link;
  Sequence sequence = 0;
  Incoming incoming;
  std::unique_ptr<std::byte[]> inline_copy;  // inline bytes while parked: pressure only
  ListHook in_chunk;
};

struct ChunkEntry {
  Datum* datum = nullptr;
  ChunkIndex chunk = 0;
  ChunkState state = ChunkState::kAbsent;
  bool done = false;  // marked done while its bytes are being received: freed when that has ended
  // What it is, as told by its sender.
  ChunkKind kind = ChunkKind::kTensor;
  Dtype dtype = Dtype::kU8;
  std::uint32_t codec = 0;
  std::uint64_t bytes = 0;
  std::uint64_t unit_bytes = 0;
  Shape shape;
  Slot* slot = nullptr;  // null also for a ready chunk of zero bytes
  // While parked or receiving: who sends it, and what has come of it.
  Peer* source = nullptr;
  InstanceId source_instance = 0;
  bool in_parts = false;
  bool retracted = false;    // what came is worth nothing: dropped when none of it is moving
  bool lacks_parts = false;  // some were refused, and their sender waits to be asked for them
  bool sender_lost = false;  // retracted for good: whoever waits is told so
  std::uint64_t landed = 0;  // bytes in place
  std::uint32_t moving = 0;  // arrivals in state kMoving
  using ArrivalList = List<Arrival, &Arrival::in_chunk>;
  ArrivalList arrivals;
  List<Waiter, &Waiter::in_chunk> waiters;
  using GrantList = List<Grant, &Grant::in_chunk>;
  GrantList grants;
  TimeNs ready_since = 0;
  ListHook in_datum, in_parked, in_ready;
};

struct Datum {
  DataId id;
  Hash128 hash{};
  bool mode_known = false;  // the first message fixes stream or not, and the producer
  bool stream = false;
  bool count_known = false;
  bool lost = false;  // its producer was lost: what is not here never comes
  ChunkIndex num_chunks = 0;
  Rank producer = kNoRank;
  InstanceId producer_instance = 0;
  Ranges arrived;  // came whole, whether still here or not
  Ranges done;     // marked done, whether it had come or not; or freed as an orphan
  // Nobody will get them, though nobody marked them done: freed as orphans (`done`, too), or begun by a
  // client that was lost and not sent again since.
  Ranges gone;
  bool awaited = false;         // more is to come from the producer, whose loss therefore matters
  std::uint64_t largest = 0;    // chunk of it that came for a slot here
  std::uint64_t room_kept = 0;  // for those that have none yet: 0 or `largest`
  std::uint32_t receiving = 0;  // chunks in state kReceiving
  bool dropped_early = false;   // some chunk was marked done before it came
  Handle named_by;              // the client that did so before anything came
  TimeNs touched = 0;
  using ChunkList = List<ChunkEntry, &ChunkEntry::in_datum>;
  ChunkList chunks;
  ListHook in_all;
  [[nodiscard]] bool past_end(ChunkIndex chunk) const { return count_known && chunk >= num_chunks; }
  [[nodiscard]] bool complete() const { return count_known && done.first_gap() >= num_chunks; }
};

class ChunkStore {
 public:
  ChunkStore(std::uint64_t key_low, std::uint64_t key_high) : hash_(key_low, key_high) {}
  ~ChunkStore();

  [[nodiscard]] Hash128 hash(const DataId& id) const { return hash_(id.view()); }
  Datum* find(const DataId& id, const Hash128& hash);
  Datum* make(const DataId& id, const Hash128& hash, TimeNs now);
  // It must hold no chunk.
  void erase(Datum* datum);

  ChunkEntry* find(const Datum& datum, ChunkIndex chunk);
  ChunkEntry* make(Datum& datum, ChunkIndex chunk);
  // It must have no waiter, no grant, no slot and not be parked.
  void erase(ChunkEntry* entry);

  Tombstones& tombstones() { return tombstones_; }
  [[nodiscard]] const Tombstones& tombstones() const { return tombstones_; }

  Pool<Waiter>& waiters() { return waiters_; }
  [[nodiscard]] const Pool<Waiter>& waiters() const { return waiters_; }
  Pool<Arrival>& arrivals() { return arrivals_; }
  Pool<Grant>& grants() { return grants_; }
  [[nodiscard]] const Pool<Grant>& grants() const { return grants_; }

  // Arrivals that wait for room, in the order of their coming; those somebody waits for are served first.
  using ParkedList = List<ChunkEntry, &ChunkEntry::in_parked>;
  ParkedList& parked() { return parked_; }
  ParkedList& parked_wanted() { return parked_wanted_; }
  [[nodiscard]] std::size_t parked_count() const { return parked_.size() + parked_wanted_.size(); }
  void unpark(ChunkEntry* entry) { (parked_.contains(entry) ? parked_ : parked_wanted_).remove(entry); }

  // Those in state kReady, in the order of their becoming so.
  using ReadyList = List<ChunkEntry, &ChunkEntry::in_ready>;
  ReadyList& ready() { return ready_; }

  // Every Datum::room_kept.
  SizeTally& rooms_kept() { return rooms_kept_; }

  // All data, in no order that means anything.
  using DatumList = List<Datum, &Datum::in_all>;
  [[nodiscard]] const DatumList& all() const { return all_; }
  void touch(Datum* datum, TimeNs now) {
    datum->touched = now;
    all_.remove(datum);
    all_.push_back(datum);
  }
  [[nodiscard]] std::size_t chunk_count() const { return chunk_index_.size(); }

 private:
  static constexpr std::size_t kRoomKept = 64;  // a datum that had more holes than that gives its memory back

  void take_spare(Ranges& ranges);
  void keep_spare(Ranges& ranges);
  std::uint32_t index_of(const Datum* datum) const { return data_.handle_of(datum).index; }
  // Chunk numbers come from outside too: with the datum's keyed hash nobody can choose ones that collide.
  static std::uint64_t key(const Datum& datum, ChunkIndex chunk) { return mix(datum.hash.low, chunk); }

  SipHash hash_;
  Pool<Datum> data_;
  Pool<ChunkEntry> chunks_;
  Pool<Arrival> arrivals_;
  Pool<Waiter> waiters_;
  Pool<Grant> grants_;
  FlatIndex datum_index_;
  FlatIndex chunk_index_;
  Tombstones tombstones_;
  std::vector<Ranges> spare_;  // empty ones with memory, so that a new datum takes none from the heap
  DatumList all_;
  ParkedList parked_, parked_wanted_;
  ReadyList ready_;
  SizeTally rooms_kept_;
};

}  // namespace sidecar
