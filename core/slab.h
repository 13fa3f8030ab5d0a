// Hint-sized slab allocator over the byte range [region_offset, region_offset + region_bytes).
//
//   page    what the region is dealt out in, 64 bytes to 4 KiB by the region's size (nothing to do with the
//   system's) slot    one unit of a hint, rounded up to 64 bytes; chunks of that hint take a run of adjacent
//   slots class   everything of one slot size: its extents and the free runs in them extent  a stretch of
//   pages cut into slots. Classes take extents when they need room and give them back when the
//           last run in one is freed; each class keeps at most one empty extent, and only until another needs
//           room
//   block   extents begin on block boundaries, which is how an offset finds its extent
//
// A chunk that is large against an extent, or whose slot is, has pages of its own and one record. The same is
// the last resort when no extent can be had, so that every free page of the region is of use.
//
// Works on offsets and never touches the memory, which may belong to a device. allocate() and free() are
// O(1): free runs are found by length and neighbours by what lies at their ends (RunHeap for pages, SlotHeap
// for slots). Metadata is touched only where runs begin and end, so an empty slab costs next to nothing. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/limits.h"
#include "core/run_heap.h"
#include "core/slot_heap.h"

namespace sidecar {

// A chunk's place. `bytes` is what was asked for; what its slots hold is Slab::taken_bytes(offset).
struct Run {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

class Slab {
 public:
  // Offsets handed out are absolute: region_offset <= offset. region_bytes >= 64. Throws std::bad_alloc when
  // there is no address space for the metadata (a tenth of the region, a quarter below 64 MiB; only what is
  // touched costs memory: 13 MiB when 16 GiB are full of 7 KiB slots).
  Slab(std::uint64_t region_offset, std::uint64_t region_bytes);

  // `unit_bytes` is the hint (0 counts as 64). A chunk of 0 bytes takes one slot. nullopt: no room now.
  std::optional<std::uint64_t> allocate(std::uint64_t bytes, std::uint64_t unit_bytes);
  // `run` is what allocate() was asked for and what it gave. Aborts if not: double free, foreign offset,
  // middle of a run, another size.
  void free(Run run);

  // False: larger than the empty region could hold, whatever the hint.
  [[nodiscard]] bool can_ever_fit(std::uint64_t bytes, std::uint64_t unit_bytes) const;
  // Bytes of the largest chunk that the empty region could hold.
  [[nodiscard]] std::uint64_t largest() const { return std::uint64_t{page_count_} * page_bytes_; }

  // The bytes that are the own of the allocated run that begins at `offset`.
  [[nodiscard]] std::uint64_t taken_bytes(std::uint64_t offset) const;

  struct Stats {
    std::uint64_t region_bytes = 0;
    std::uint64_t used_bytes = 0;   // taken by runs
    std::uint64_t asked_bytes = 0;  // of those, asked for
    std::uint64_t runs = 0;
    std::uint64_t extents = 0;         // held by classes
    std::uint64_t classes = 0;         // with at least one extent
    std::uint64_t failures = 0;        // allocate() gave nullopt
    std::uint64_t steps = 0;           // free runs that allocate() looked at: it never scans
    std::uint64_t free_low_water = 0;  // least free bytes ever: region_bytes - used_bytes
  };
  [[nodiscard]] const Stats& stats() const { return stats_; }
  [[nodiscard]] bool empty() const { return stats_.runs == 0; }

  // Checks everything against everything and aborts on a contradiction. Takes time in proportion to the runs;
  // debug builds call it after each step while there are few runs, and now and then when there are many.
  void check_invariants() const;

 private:
  static constexpr std::uint32_t kNone = RunBins::kNone;

  struct HintClass {
    explicit HintClass(SlotSpace& space) : heap(space) {}
    SlotHeap heap;
    std::uint32_t slot_bytes = 0;
    std::uint32_t extents = 0;
    std::uint64_t extent_bytes = 0;                        // of all its extents
    std::uint32_t spare = kNone;                           // its empty extent
    std::uint32_t next_spare = kNone, prev_spare = kNone;  // list of classes that have one
  };
  // Where an offset's run is kept.
  struct Place {
    std::uint32_t extent;  // kNone: in pages of its own
    std::uint32_t first;   // slot or page
  };

  std::optional<std::uint64_t> allocate_slots(std::uint32_t bytes, std::uint32_t slot_bytes);
  std::optional<std::uint64_t> allocate_pages(std::uint64_t bytes, std::uint64_t slot_bytes);
  std::uint64_t took(std::uint64_t position, std::uint64_t taken, std::uint64_t asked);
  [[nodiscard]] Place locate(std::uint64_t offset) const;
  [[nodiscard]] std::uint64_t slot_bytes_for(std::uint64_t unit_bytes) const;

  std::uint32_t class_for(std::uint32_t slot_bytes);
  void drop_class_if_unused(std::uint32_t index);
  bool add_extent(std::uint32_t hint_class, std::uint32_t slots_wanted);
  bool add_extent_of(std::uint32_t hint_class, std::uint64_t bytes);
  void remove_extent(std::uint32_t index);
  void set_spare(std::uint32_t hint_class, std::uint32_t extent);
  void clear_spare(std::uint32_t hint_class);
  bool give_up_a_spare(std::uint32_t keep_class);

  struct ClassTotals {
    std::uint64_t extents = 0, extent_bytes = 0;
    SlotHeap::Totals slots;
  };
  void check_extent(std::uint32_t index, ClassTotals& totals) const;
  void check_now_and_then() const;

  const std::uint64_t region_offset_;
  const std::uint64_t page_bytes_;
  const std::uint32_t page_count_;
  const std::uint64_t extent_bytes_;  // of a full-grown extent
  RunHeap pages_;
  SlotSpace space_;

  std::vector<std::unique_ptr<HintClass>> classes_;
  std::vector<std::uint32_t> free_classes_;
  std::unordered_map<std::uint32_t, std::uint32_t> class_of_slot_;
  std::uint32_t last_class_ = kNone;  // the class used last: most callers have one hint
  std::uint32_t spares_ = kNone;
  Stats stats_;
  mutable std::uint32_t steps_ = 0;
};

}  // namespace sidecar
