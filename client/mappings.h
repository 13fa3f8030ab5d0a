// The arenas this client has mapped, by instance.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "client/pin.h"
#include "core/messages.h"

namespace sidecar::client_internal {

struct MappedRegion {
  const std::byte* data = nullptr;
  std::byte* writable = nullptr;  // the same address, if it was asked for as writable
  std::uint64_t bytes = 0;
  std::shared_ptr<void> keep{};  // unmaps when the last copy is gone
  Pin* pin = nullptr;            // as long as `keep` holds it
};

// Maps an arena after proving its nonce.
using MapArena = std::function<Result<MappedRegion>(const ArenaInfo& arena, bool writable)>;

// Loop thread only. Failures are remembered: an arena that could not be mapped once is not tried again.
class Mappings {
 public:
  explicit Mappings(MapArena map) : map_(std::move(map)) {}

  // Null when it cannot be mapped. The pointer is good until the next call; copies of `keep` outlive it.
  const MappedRegion* get(const ArenaInfo& arena, bool writable);
  // Only what views need stays mapped, and only as long as they do.
  void clear() { entries_.clear(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    ArenaInfo arena;
    bool writable = false;
    MappedRegion mapping;  // without data: could not be mapped
  };
  // A restarted sidecar has a new arena; the old one's pages stay with us for as long as we map them.
  void drop_gone();

  MapArena map_;
  std::vector<Entry> entries_;  // a handful: one per sidecar on this node
};

}  // namespace sidecar::client_internal
