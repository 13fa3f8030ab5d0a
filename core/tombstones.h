// What is remembered of a datum after its last chunk was marked done: enough to answer, never its memory.
#pragma once

#include <memory>

#include "core/flat_index.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/types.h"

namespace sidecar {

struct Tombstone {
  Hash128 id;
  TimeNs buried;
  ChunkIndex num_chunks;
  ChunkIndex done_below;  // every chunk below was marked done; num_chunks unless lost or orphaned
  bool all_arrived;       // false: some chunk was marked done before it came, and is dropped when it does
  bool lost;              // the producer was lost: the other chunks never come
  bool orphaned;          // others were freed because no client was there
  // Nobody knows where a stream that was lost unclosed would have ended: num_chunks is 0.
  [[nodiscard]] bool past_end(ChunkIndex chunk) const {
    return chunk >= num_chunks && (!lost || num_chunks > 0);
  }
};

// A ring of the latest burials. An id is forgotten once kTombstonesMin later ones exist and kTombstoneNs have
// passed; in a flood of ids the ring grows instead. Memory is taken as burials come, so a quiet service pays
// nothing.
class Tombstones {
 public:
  [[nodiscard]] const Tombstone* find(const Hash128& id) const {
    const std::uint32_t at = index_.find(id.low, [&](std::uint32_t n) { return cell(n).id == id; });
    return at == FlatIndex::kNone ? nullptr : &cell(at);
  }

  void bury(const Tombstone& stone) {
    while (end_ - begin_ > 0 && end_ - begin_ >= kTombstonesMin &&
           stone.buried - cell(begin_).buried >= kTombstoneNs) {
      forget_oldest();
    }
    if (end_ - begin_ == capacity_) {
      grow();
    }
    index_.insert(stone.id.low, end_);
    cell(end_) = stone;
    ++end_;
  }

  [[nodiscard]] std::size_t size() const { return end_ - begin_; }

 private:
  // Burials are numbered from 0 (modulo 2^32); number n lies in cell n modulo the capacity, a power of two.
  [[nodiscard]] Tombstone& cell(std::uint32_t n) const { return ring_[n & (capacity_ - 1)]; }

  void forget_oldest() {
    const Hash128 id = cell(begin_).id;
    index_.erase(id.low, [&](std::uint32_t n) { return n == begin_; });
    ++begin_;
  }

  void grow() {
    const std::uint32_t capacity = capacity_ * 2;
    auto ring = std::make_unique_for_overwrite<Tombstone[]>(capacity);
    for (std::uint32_t n = begin_; n != end_; ++n) ring[n & (capacity - 1)] = cell(n);
    ring_ = std::move(ring);
    capacity_ = capacity;
  }

  std::uint32_t capacity_ = kTombstonesMin;
  std::unique_ptr<Tombstone[]> ring_ = std::make_unique_for_overwrite<Tombstone[]>(kTombstonesMin);
  FlatIndex index_{kTombstonesMin};
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
};

}  // namespace sidecar
