// Runs of adjacent units, found by size: two-level segregated fit with boundary tags kept out of band.
//
// Units are numbered by tag index; what a unit is (a slot, a page) is the caller's business. A *span* is a stretch
// of units handed to a heap with add_span(); a *run* is a part of a span that is either free or taken. Two free runs
// are never neighbours. Only the tags of a run's first and last unit are touched, and none of the units' memory.
// Several heaps may work on one tag array as long as their spans (fence included) do not overlap.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace sidecar {

// One per unit. All zero is the state of a unit that no run begins or ends at, so fresh zero pages need no set-up.
struct RunTag {
  std::uint32_t word;  // count << 3 | preceded_by_free << 2 | state
  std::uint32_t next;  // free run: links of its bin. Taken run: free for the owner's use (payload()).
  std::uint32_t prev;
};
static_assert(sizeof(RunTag) == 12);

class RunHeap {
 public:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::uint32_t kCountMax = (1u << 29) - 1;  // units in a run

  struct Run {
    std::uint32_t first = kNone;
    std::uint32_t count = 0;
  };

  explicit RunHeap(RunTag* tags);

  // The units [first, first + count) become one free run. Tag first + count is the span's fence: it must belong to
  // nobody else until remove_span().
  void add_span(std::uint32_t first, std::uint32_t count);
  // The span must be one free run again.
  void remove_span(std::uint32_t first, std::uint32_t count);

  // The last `count` units of a free run that fits well, or kNone. Free runs of fewer than 64 units are all seen;
  // among longer ones of nearly the wanted length (within 1/32) only the kProbes most recent are looked at.
  std::uint32_t take(std::uint32_t count);
  // The same, from the front, beginning at a multiple of `align` (a power of two), counted from tag 0.
  std::uint32_t take_aligned(std::uint32_t count, std::uint32_t align);
  // Frees the taken run that begins at `first` and returns the free run that it is now part of. Aborts unless a
  // taken run begins there.
  Run give(std::uint32_t first);

  [[nodiscard]] bool is_taken(std::uint32_t first) const { return state(first) == kTaken; }
  [[nodiscard]] bool is_free(std::uint32_t first) const { return state(first) == kFree; }
  [[nodiscard]] std::uint32_t count(std::uint32_t first) const { return tags_[first].word >> kCountShift; }

  // 64 bits for the owner of a taken run; lost when it is freed.
  [[nodiscard]] std::uint64_t payload(std::uint32_t first) const {
    return (std::uint64_t{tags_[first].prev} << 32) | tags_[first].next;
  }
  void set_payload(std::uint32_t first, std::uint64_t value) {
    tags_[first].next = static_cast<std::uint32_t>(value);
    tags_[first].prev = static_cast<std::uint32_t>(value >> 32);
  }

  // Free runs that take() looked at, since the last call.
  std::uint32_t looked_at() { return std::exchange(looked_at_, 0); }

  struct Totals {
    std::uint64_t free_runs = 0, free_units = 0, taken_runs = 0, taken_units = 0;
  };
  // Walks a span and aborts on any contradiction among its tags.
  [[nodiscard]] Totals check_span(std::uint32_t first, std::uint32_t count) const;
  // Walks the bins: every run in the right one, links whole, bitmaps true. Returns what they hold.
  [[nodiscard]] Totals check_bins() const;

 private:
  enum State : std::uint32_t { kInside = 0, kTaken = 1, kFree = 2, kFreeTail = 3 };
  static constexpr std::uint32_t kStateMask = 3;
  static constexpr std::uint32_t kPrecededByFree = 4;
  static constexpr std::uint32_t kCountShift = 3;

  // Runs below kExact units have a bin for each length; above, each power of two is cut into kSteps bins.
  static constexpr std::uint32_t kExact = 64;
  static constexpr std::uint32_t kStepBits = 5;
  static constexpr std::uint32_t kSteps = 1u << kStepBits;
  static constexpr std::uint32_t kBins = kExact + (29 - 6) * kSteps;
  static constexpr std::uint32_t kWords = (kBins + 63) / 64;
  static constexpr int kProbes = 32;

  [[nodiscard]] static std::uint32_t bin_of(std::uint32_t count);
  [[nodiscard]] State state(std::uint32_t i) const { return static_cast<State>(tags_[i].word & kStateMask); }
  [[nodiscard]] std::uint32_t first_bin_from(std::uint32_t bin) const;
  std::uint32_t find(std::uint32_t count);
  void carve(std::uint32_t run, std::uint32_t at, std::uint32_t count);
  void link(std::uint32_t run, std::uint32_t count);
  void unlink(std::uint32_t run);
  void resize(std::uint32_t run, std::uint32_t count);
  void write_tail(std::uint32_t run, std::uint32_t count);

  RunTag* tags_;
  std::uint32_t looked_at_ = 0;
  std::uint32_t summary_ = 0;                  // bit w: words_[w] is not 0
  std::array<std::uint64_t, kWords> words_{};  // bit b: bin b is not empty
  std::array<std::uint32_t, kBins> heads_;     // first run of the bin, or kNone
};

}  // namespace sidecar
