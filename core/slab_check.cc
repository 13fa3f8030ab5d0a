// Slab::check_invariants: what must hold between any two calls.
#include "core/check.h"
#include "core/slab.h"

namespace sidecar {

void Slab::check_extent(std::uint32_t index) const {
  const Extent& extent = extents_[index];
  const HintClass& hint_class = *classes_[extent.hint_class];
  CHECK(extent.begin % block_bytes_ == 0 && extent.begin < extent.end && extent.end <= largest());
  CHECK(extent.end - extent.begin >= std::uint64_t{extent.slots} * hint_class.slot_bytes);
  CHECK(extent.first_tag == extent.begin / slot_align_);
  const auto page = static_cast<std::uint32_t>(extent.begin / page_bytes_);
  CHECK(pages_.is_taken(page) && pages_.count(page) * page_bytes_ == extent.end - extent.begin);
  for (std::uint64_t at = extent.begin; at < extent.end; at += block_bytes_) {
    CHECK(block_owner_[at / block_bytes_] == index + 1);
  }
  const RunHeap::Totals totals = hint_class.heap.check_span(extent.first_tag, extent.slots);
  CHECK(totals.taken_runs == extent.runs);
  CHECK(totals.free_units + totals.taken_units == extent.slots);
  CHECK((extent.runs == 0) == (hint_class.spare == index));
}

void Slab::check_class(std::uint32_t index) const {
  const HintClass& hint_class = *classes_[index];
  RunHeap::Totals in_spans;
  std::uint64_t extents = 0;
  std::uint64_t bytes = 0;
  for (const Extent& extent : extents_) {
    if (extent.slots == 0 || extent.hint_class != index) continue;
    const RunHeap::Totals totals = hint_class.heap.check_span(extent.first_tag, extent.slots);
    in_spans.free_runs += totals.free_runs;
    in_spans.free_units += totals.free_units;
    bytes += extent.end - extent.begin;
    ++extents;
  }
  const RunHeap::Totals in_bins = hint_class.heap.check_bins();
  CHECK(in_bins.free_runs == in_spans.free_runs && in_bins.free_units == in_spans.free_units);
  CHECK(hint_class.extents == extents && hint_class.extent_bytes == bytes);
  const bool live = extents > 0;
  CHECK(live == (hint_class.slot_bytes != 0));
  CHECK(live == (class_of_slot_.count(hint_class.slot_bytes) != 0));
  CHECK(!live || class_of_slot_.at(hint_class.slot_bytes) == index);
}

void Slab::check_invariants() const {
  const RunHeap::Totals pages = pages_.check_span(0, page_count_);
  const RunHeap::Totals free_pages = pages_.check_bins();
  CHECK(pages.free_runs == free_pages.free_runs && pages.free_units == free_pages.free_units);
  CHECK(pages.free_units + pages.taken_units == page_count_);

  std::uint64_t extents = 0;
  std::uint64_t runs = pages.taken_runs;
  std::uint64_t used = pages.taken_units * page_bytes_;
  for (std::uint32_t i = 0; i < extents_.size(); ++i) {
    const Extent& extent = extents_[i];
    if (extent.slots == 0) continue;
    check_extent(i);
    const HintClass& hint_class = *classes_[extent.hint_class];
    const RunHeap::Totals totals = hint_class.heap.check_span(extent.first_tag, extent.slots);
    ++extents;
    runs += totals.taken_runs - 1;  // the extent itself is a run of pages but not a chunk
    used += totals.taken_units * hint_class.slot_bytes;
    used -= extent.end - extent.begin;
  }
  CHECK(stats_.runs == runs && stats_.used_bytes == used && stats_.extents == extents);
  CHECK(stats_.asked_bytes <= stats_.used_bytes && stats_.used_bytes <= stats_.region_bytes);
  CHECK(stats_.free_low_water <= stats_.region_bytes - stats_.used_bytes);
  CHECK(runs > 0 || (stats_.used_bytes == 0 && stats_.asked_bytes == 0));

  for (std::uint32_t i = 0; i < classes_.size(); ++i) check_class(i);
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
