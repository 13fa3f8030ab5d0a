// Runs of adjacent units of one span, with boundary tags kept out of band. For units that are large or few;
// slots, which are small and many, have SlotHeap.
//
// A *run* is a stretch of units that is either free or taken. Two free runs are never neighbours. Only the
// tags of a run's first and last unit are touched, and none of the units' memory.
#pragma once

#include <cstdint>

#include "core/lazy_array.h"
#include "core/run_bins.h"

namespace sidecar {

class RunHeap {
 public:
  static constexpr std::uint32_t kNone = RunBins::kNone;

  // Units 0 to units - 1, all free.
  explicit RunHeap(std::uint32_t units);

  // The last `count` units of a free run that fits well (see RunBins::find), or kNone.
  std::uint32_t take(std::uint32_t count);
  // The same, from the front, beginning at a multiple of `align` (a power of two).
  std::uint32_t take_aligned(std::uint32_t count, std::uint32_t align);
  // Frees the taken run that begins at `first`. Aborts unless one does.
  void give(std::uint32_t first);

  [[nodiscard]] bool is_taken(std::uint32_t first) const {
    return state(first) == kTaken && count(first) > 0;
  }
  [[nodiscard]] std::uint32_t count(std::uint32_t first) const { return word(first) >> kCountShift; }
  std::uint32_t looked_at() { return bins_.looked_at(); }

  // visit(first, count) for each taken run, in order.
  template <class Visit>
  void for_each_taken(Visit visit) const {
    for (std::uint32_t i = 0; i < units_; i += count(i)) {
      if (state(i) == kTaken) visit(i, count(i));
    }
  }

  struct Totals {
    std::uint64_t free_units = 0, taken_runs = 0, taken_units = 0;
  };
  // Walks all runs and aborts on any contradiction.
  [[nodiscard]] Totals check() const;

 private:
  // A unit's tag is three words: count << 3 | kPrecededByFree | state, and RunBins' links if free. All zero
  // is the state of a unit that no run begins or ends at, so fresh zero pages need no set-up.
  enum State : std::uint32_t { kInside = 0, kTaken = 1, kFree = 2, kFreeTail = 3 };
  static constexpr std::uint32_t kTagWords = 3;
  static constexpr std::uint32_t kStateMask = 3;
  static constexpr std::uint32_t kPrecededByFree = 4;
  static constexpr std::uint32_t kCountShift = RunBins::kCountShift;

  [[nodiscard]] std::uint32_t word(std::uint32_t i) const { return tags_[std::size_t{i} * kTagWords]; }
  std::uint32_t& word(std::uint32_t i) { return tags_[std::size_t{i} * kTagWords]; }
  [[nodiscard]] State state(std::uint32_t i) const { return static_cast<State>(word(i) & kStateMask); }
  void carve(std::uint32_t run, std::uint32_t at, std::uint32_t count);
  void write_tail(std::uint32_t run, std::uint32_t count);

  const std::uint32_t units_;
  LazyArray<std::uint32_t> tags_;  // one more than units: the fence
  RunBins bins_;
};

}  // namespace sidecar
