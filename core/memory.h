// The arena as the engine sees it: three slabs (send, receive, reserve) and counted references to what lies
// in them.
//
// Send and receive have regions of their own, so that two full sidecars that send to each other cannot starve
// each other's receivers, by amount or by fragmentation. The reserve is a third region that only chunks
// somebody waits for may use.
#pragma once

#include <optional>

#include "core/pool.h"
#include "core/slab.h"
#include "core/types.h"

namespace sidecar {

// A run of slots in our arena, or a chunk that lies in a same-node peer's (foreign). Freed, or given back to
// its owner, when the last reference goes. References: a chunk entry, each client that may look at it, each
// transfer of it, each transport operation on it.
struct Slot {
  std::byte* data = nullptr;  // foreign: in our read-only mapping
  std::uint64_t offset = 0;   // from the first data byte of its arena
  std::uint64_t bytes = 0;
  std::uint32_t references = 0;
  bool foreign = false;
  InstanceId arena = 0;
  Rank owner = kNoRank;    // foreign: the rank to tell when it is needed no more,
  Sequence chunk_ref = 0;  // foreign: and how that rank calls it
};

struct MemoryOptions {
  Bytes arena;
  InstanceId instance = 0;
  // Of the arena, the rest is for receiving.
  double send_share = 0.5;
  double reserve_share = 0.0625;
};

class Memory {
 public:
  explicit Memory(const MemoryOptions& options);

  // One reference is the caller's. nullptr: no room now.
  Slot* take_send(std::uint64_t bytes, std::uint64_t unit_bytes);
  // For one that somebody waits for: it may use the reserve.
  Slot* take_wanted(std::uint64_t bytes, std::uint64_t unit_bytes);
  // For one that nobody waits for: only if `spare` bytes more would find room after it, here or in the
  // reserve.
  Slot* take_unwanted(std::uint64_t bytes, std::uint64_t unit_bytes, std::uint64_t spare);
  Slot* take_foreign(const std::byte* data, std::uint64_t offset, std::uint64_t bytes, InstanceId arena,
                     Rank owner, Sequence chunk_ref);

  Slot* retain(Slot* slot) {
    ++slot->references;
    return slot;
  }
  // True: that was the last reference of a foreign slot; the caller tells its owner, then calls
  // drop_foreign().
  [[nodiscard]] bool release(Slot* slot);
  void drop_foreign(Slot* slot) {
    --foreign_;
    slots_.release(slot);
  }

  // The end of the process, or of a test: what is released from now on keeps its bytes, since other processes
  // have them mapped and may look at them for as long as they like.
  void leave_bytes() { leave_bytes_ = true; }

  // Largest chunk that could ever be taken, when all else is gone.
  [[nodiscard]] std::uint64_t send_limit() const { return send_.largest(); }
  [[nodiscard]] std::uint64_t receive_limit() const { return receive_.largest(); }
  [[nodiscard]] std::uint64_t reserve_limit() const { return reserve_.largest(); }
  [[nodiscard]] bool send_can_fit(std::uint64_t bytes, std::uint64_t unit) const {
    return send_.can_ever_fit(bytes, unit);
  }
  [[nodiscard]] bool receive_can_fit(std::uint64_t bytes, std::uint64_t unit) const {
    return receive_.can_ever_fit(bytes, unit);
  }

  // Whether anything was freed since the last call: time to look at who waits.
  bool take_send_freed() { return std::exchange(send_freed_, false); }
  bool take_receive_freed() { return std::exchange(receive_freed_, false); }

  [[nodiscard]] Slab::Stats send_stats() const { return send_.stats(); }
  [[nodiscard]] bool receive_empty() const { return receive_.empty(); }
  [[nodiscard]] Slab::Stats receive_stats() const { return receive_.stats(); }
  [[nodiscard]] Slab::Stats reserve_stats() const { return reserve_.stats(); }
  [[nodiscard]] bool empty() const { return send_.empty() && receive_.empty() && reserve_.empty(); }
  void check_invariants() const;
  // Over all slots.
  [[nodiscard]] std::uint64_t references();
  [[nodiscard]] std::size_t foreign_count() const { return foreign_; }

 private:
  Slot* make(std::optional<std::uint64_t> offset, std::uint64_t bytes);
  Slot* make_guarded(const Slab& slab, std::optional<std::uint64_t> offset, std::uint64_t bytes);

  Bytes arena_;
  InstanceId instance_;
  std::uint64_t send_end_, receive_end_;  // regions: [0, send_end) [send_end, receive_end) [receive_end, end)
  Slab send_, receive_, reserve_;
  Pool<Slot> slots_;
  std::size_t foreign_ = 0;
  bool leave_bytes_ = false;
  bool send_freed_ = false;
  bool receive_freed_ = false;
};

}  // namespace sidecar
