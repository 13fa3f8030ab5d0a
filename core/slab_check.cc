// Slab::check_invariants: what must hold between any two calls.
#include "core/check.h"
#include "core/slab.h"

namespace sidecar {

void Slab::check_extent(std::uint32_t index, ClassTotals& totals) const {
  const SlotExtent& extent = space_.extent(index);
  CHECK(extent.slots > 0 && extent.hint_class < classes_.size());
  CHECK(extent.begin == index * space_.block_bytes() && extent.begin < extent.end && extent.end <= largest());
  const HintClass& hint_class = *classes_[extent.hint_class];
  CHECK(extent.end - extent.begin >= std::uint64_t{extent.slots} * hint_class.slot_bytes);
  for (std::uint64_t at = extent.begin; at < extent.end; at += space_.block_bytes()) {
    CHECK(space_.owner_at(at) == index);
  }
  CHECK((extent.runs == 0) == (hint_class.spare == index));
  const SlotHeap::Totals slots = hint_class.heap.check_extent(index);
  totals.extents += 1;
  totals.extent_bytes += extent.end - extent.begin;
  totals.slots.taken_runs += slots.taken_runs;
  totals.slots.taken_slots += slots.taken_slots;
  totals.slots.long_free_runs += slots.long_free_runs;
  totals.slots.long_free_slots += slots.long_free_slots;
}

void Slab::check_invariants() const {
  const RunHeap::Totals pages = pages_.check();
  CHECK(pages.free_units + pages.taken_units == page_count_);
  std::uint64_t runs = pages.taken_runs;
  std::uint64_t used = pages.taken_units * page_bytes_;

  std::vector<ClassTotals> totals(classes_.size());
  std::uint64_t extents = 0;
  pages_.for_each_taken([&](std::uint32_t page, std::uint32_t count) {
    const std::uint64_t begin = page * page_bytes_;
    const std::uint32_t owner = space_.owner_at(begin);
    CHECK(owner == kNone || space_.extent(owner).slots > 0);
    if (owner == kNone || begin >= space_.extent(owner).end) return;  // a chunk's own pages
    const SlotExtent& extent = space_.extent(owner);
    CHECK(extent.begin == begin && extent.end == begin + count * page_bytes_);
    check_extent(owner, totals[extent.hint_class]);
    ++extents;
  });

  for (std::uint32_t i = 0; i < classes_.size(); ++i) {
    const HintClass& hint_class = *classes_[i];
    const ClassTotals& sum = totals[i];
    hint_class.heap.check(sum.slots);
    CHECK(hint_class.extents == sum.extents && hint_class.extent_bytes == sum.extent_bytes);
    CHECK((sum.extents > 0) == (hint_class.slot_bytes != 0));
    CHECK(sum.extents == 0 || class_of_slot_.at(hint_class.slot_bytes) == i);
    // An extent is a run of pages but not a chunk: its runs take its place.
    runs += sum.slots.taken_runs - sum.extents;
    used += sum.slots.taken_slots * hint_class.slot_bytes - sum.extent_bytes;
  }
  CHECK(stats_.runs == runs && stats_.used_bytes == used && stats_.extents == extents);
  CHECK(stats_.asked_bytes <= stats_.used_bytes && stats_.used_bytes <= stats_.region_bytes);
  CHECK(stats_.free_low_water <= stats_.region_bytes - stats_.used_bytes);
  CHECK(runs > 0 || (stats_.used_bytes == 0 && stats_.asked_bytes == 0));
  CHECK(stats_.classes == class_of_slot_.size() && classes_.size() == stats_.classes + free_classes_.size());

  std::uint64_t spares = 0;
  for (std::uint32_t i = spares_, prev = kNone; i != kNone; prev = i, i = classes_[i]->next_spare) {
    CHECK(classes_[i]->spare != kNone && classes_[i]->prev_spare == prev);
    ++spares;
  }
  for (const auto& hint_class : classes_) spares -= hint_class->spare != kNone ? 1 : 0;
  CHECK(spares == 0);
}

void Slab::check_now_and_then() const {
#ifndef NDEBUG
  constexpr std::uint64_t kFew = 64;
  constexpr std::uint32_t kEvery = 4096;
  if (stats_.runs <= kFew || ++steps_ % kEvery == 0) check_invariants();
#endif
}

}  // namespace sidecar
