// Runs of adjacent slots of one size, over any number of extents. Made for millions of slots: all that it
// keeps for a run is two bits where the run begins, a quarter of a byte for each slot, so that the metadata
// of a 16 GiB region stays in the processor's caches. Everything is found by looking at a bounded number of
// words.
//
// A *short* run has fewer than 64 slots. Short free runs are found by exact length: length -> an extent that
// has one -> a group of 256 slots that has one -> the place in the group. Long runs keep their length in a
// word at either end, and free ones their place in RunBins.
#pragma once

#include <array>
#include <cstdint>

#include "core/lazy_array.h"
#include "core/run_bins.h"

namespace sidecar {

// 256 slots in a cache line.
struct alignas(64) SlotGroup {
  static constexpr std::uint32_t kSlots = 256;
  std::array<std::uint64_t, 4> starts;  // bit: a run begins at this slot
  std::array<std::uint64_t, 4> frees;   // bit: and it is free
};
static_assert(sizeof(SlotGroup) == 64);

// A stretch of the region cut into slots. Owned and made by Slab.
struct SlotExtent {
  static constexpr std::uint32_t kGroupsMax = 64;
  static constexpr std::uint32_t kSlotsMax = kGroupsMax * SlotGroup::kSlots - 1;  // one is the fence

  std::uint64_t begin, end;  // bytes from the region's start
  std::uint32_t first;       // its first slot's number, a multiple of SlotGroup::kSlots
  std::uint32_t slots;       // 0: not in use
  std::uint32_t hint_class;
  std::uint32_t runs;                         // taken
  std::array<std::uint64_t, 64> groups_with;  // [n], bit g: a free run of n (1 to 63) slots begins in group g
};

// The tables that the heaps of a region share, mostly indexed by slot number: a position in the region
// divided by the slot alignment, give or take. An extent's slots are numbered from that of its first byte on,
// so numbers never clash.
class SlotSpace {
 public:
  // Extents begin at multiples of block_bytes, which is a power of two and at least SlotGroup::kSlots *
  // slot_align.
  SlotSpace(std::uint64_t region_bytes, std::uint64_t slot_align, std::uint64_t block_bytes);

  [[nodiscard]] std::uint64_t slot_align() const { return slot_align_; }
  [[nodiscard]] std::uint64_t block_bytes() const { return std::uint64_t{1} << block_shift_; }
  // Extents are named by the block they begin with.
  SlotExtent& extent(std::uint32_t index) { return extents_[index]; }
  [[nodiscard]] const SlotExtent& extent(std::uint32_t index) const { return extents_[index]; }
  [[nodiscard]] std::uint32_t extent_count() const { return extent_count_; }  // indices are below
  // The extent that covers the first byte of the block of `position`, or kNone.
  [[nodiscard]] std::uint32_t owner_at(std::uint64_t position) const {
    return owners_[position >> block_shift_] - 1;
  }
  [[nodiscard]] std::uint32_t extent_of_slot(std::uint32_t slot) const {
    return owner_at(slot * slot_align_);
  }
  void set_owner(const SlotExtent& extent, std::uint32_t index_or_none);

  SlotGroup& group_of(std::uint32_t slot) { return groups_[slot / SlotGroup::kSlots + 1]; }
  [[nodiscard]] const SlotGroup& group_of(std::uint32_t slot) const {
    return groups_[slot / SlotGroup::kSlots + 1];
  }
  std::uint32_t* words() { return words_.data(); }
  [[nodiscard]] const std::uint32_t& word(std::uint32_t slot) const { return words_[slot]; }
  std::uint32_t& word(std::uint32_t slot) { return words_[slot]; }

  // Bit i: a run begins at slot + i. `slot` may be up to 64 below the first.
  [[nodiscard]] std::uint64_t starts_from(std::int64_t slot) const {
    const std::uint64_t at =
        static_cast<std::uint64_t>(slot + SlotGroup::kSlots);  // there is a group before the first
    const std::uint64_t low = starts_word(at / 64) >> (at % 64);
    return at % 64 == 0 ? low : low | starts_word(at / 64 + 1) << (64 - at % 64);
  }

 private:
  [[nodiscard]] std::uint64_t starts_word(std::uint64_t i) const { return groups_[i / 4].starts[i % 4]; }

  std::uint64_t slot_align_;
  int block_shift_;
  std::uint32_t extent_count_;
  LazyArray<SlotGroup> groups_;
  LazyArray<std::uint32_t> words_;  // of long runs: length and links; not touched for others
  LazyArray<SlotExtent> extents_;
  LazyArray<std::uint32_t> owners_;  // by block: extent + 1
};

// For each length of short runs, a set of extents.
class ExtentSets {
 public:
  static constexpr std::uint32_t kNone = RunBins::kNone;
  static constexpr std::uint32_t kExtentsMax = 64 * 64 * 64;

  explicit ExtentSets(std::uint32_t extents);

  void insert(std::uint32_t length, std::uint32_t extent);
  void erase(std::uint32_t length, std::uint32_t extent);
  // The shortest length not below `length` with an extent in its set, and the first extent there. kNone: no
  // such.
  struct Found {
    std::uint32_t length, extent;
  };
  [[nodiscard]] Found first_from(std::uint32_t length) const;
  [[nodiscard]] bool contains(std::uint32_t length, std::uint32_t extent) const {
    return ((low(length, extent / 64) >> (extent % 64)) & 1) != 0;
  }

 private:
  // Three levels of bitmaps, a bit standing for a word that is not 0; words of all lengths side by side.
  [[nodiscard]] const std::uint64_t& low(std::uint32_t length, std::uint32_t i) const {
    return low_[i * 64 + length];
  }
  [[nodiscard]] const std::uint64_t& mid(std::uint32_t length, std::uint32_t i) const {
    return mid_[i * 64 + length];
  }
  std::uint64_t lengths_ = 0;
  std::array<std::uint64_t, 64> top_{};
  LazyArray<std::uint64_t> mid_, low_;
};

class SlotHeap {
 public:
  static constexpr std::uint32_t kNone = RunBins::kNone;

  explicit SlotHeap(SlotSpace& space);

  // The extent's slots become one free run; its begin, first and slots are set, and the space knows it as
  // owner.
  void add(std::uint32_t extent);
  // All of its slots must be free.
  void remove(std::uint32_t extent);

  // The first slot of a run of `count`, out of the shortest free run that is long enough (of those above 64
  // slots: out of one that fits well, see RunBins::find); kNone: there is none.
  std::uint32_t take(std::uint32_t count);
  // Frees the taken run of `count` slots that begins at `first`. Aborts unless there is one of that length.
  void give(std::uint32_t extent, std::uint32_t first, std::uint32_t count);

  // Length of the taken run at `first`, 0 if none begins there.
  [[nodiscard]] std::uint32_t taken_count(std::uint32_t first) const;
  // Free runs or places that take() looked at, since the last call.
  std::uint32_t looked_at() { return std::exchange(looked_at_, 0) + long_frees_.looked_at(); }

  struct Totals {
    std::uint64_t free_slots = 0, taken_runs = 0, taken_slots = 0, long_free_runs = 0, long_free_slots = 0;
  };
  // Walks an extent of this heap and aborts on any contradiction.
  [[nodiscard]] Totals check_extent(std::uint32_t extent) const;
  // Checks what goes across extents; `totals` is the sum over all of them.
  void check(const Totals& totals) const;

 private:
  static constexpr std::uint32_t kLong = 64;

  [[nodiscard]] std::uint32_t length(std::uint32_t run) const;
  [[nodiscard]] bool begins(std::uint32_t slot) const;
  [[nodiscard]] bool begins_free(std::uint32_t slot) const;
  [[nodiscard]] std::uint32_t run_before(std::uint32_t slot) const;
  struct InGroup {
    std::uint32_t run = kNone;
    bool more = false;
  };
  [[nodiscard]] InGroup find_in_group(std::uint32_t group_first, std::uint32_t count);
  std::uint32_t take_from_long(std::uint32_t count);
  void put(std::uint32_t extent, std::uint32_t run, std::uint32_t count);
  void index(std::uint32_t extent, std::uint32_t run, std::uint32_t count);
  void unindex(std::uint32_t extent, std::uint32_t run, std::uint32_t count);
  void unindex_if_last(std::uint32_t extent, std::uint32_t run, std::uint32_t count);
  void mark(std::uint32_t slot, bool free);
  void unmark(std::uint32_t slot);

  SlotSpace* space_;
  RunBins long_frees_;
  ExtentSets extents_with_;
  std::uint32_t looked_at_ = 0;
};

}  // namespace sidecar
