#include "core/slot_heap.h"

#include <bit>

#include "core/check.h"

namespace sidecar {
namespace {

constexpr std::uint64_t bit(std::uint32_t i) { return std::uint64_t{1} << (i % 64); }
constexpr std::uint32_t lowest(std::uint64_t bits) {
  return static_cast<std::uint32_t>(std::countr_zero(bits));
}
constexpr std::uint64_t below(std::uint32_t i) { return bit(i) - 1; }  // i < 64

std::uint32_t group_in(const SlotExtent& extent, std::uint32_t slot) {
  return (slot - extent.first) / SlotGroup::kSlots;
}

}  // namespace

SlotSpace::SlotSpace(std::uint64_t region_bytes, std::uint64_t slot_align, std::uint64_t block_bytes)
    : slot_align_(slot_align),
      block_shift_(std::countr_zero(block_bytes)),
      extent_count_(static_cast<std::uint32_t>(region_bytes / block_bytes + 1)),
      groups_(region_bytes / slot_align / SlotGroup::kSlots + 4),
      words_(region_bytes / slot_align + 2),
      extents_(extent_count_),
      owners_(extent_count_) {
  CHECK(std::has_single_bit(block_bytes) && block_bytes % (SlotGroup::kSlots * slot_align) == 0);
}

void SlotSpace::set_owner(const SlotExtent& extent, std::uint32_t index_or_none) {
  for (std::uint64_t at = extent.begin; at < extent.end; at += block_bytes()) {
    owners_[at >> block_shift_] = index_or_none + 1;
  }
}

ExtentSets::ExtentSets(std::uint32_t extents)
    : mid_((std::size_t{extents} / 4096 + 1) * 64), low_((std::size_t{extents} / 64 + 1) * 64) {
  CHECK(extents <= kExtentsMax);
}

void ExtentSets::insert(std::uint32_t length, std::uint32_t extent) {
  low_[extent / 64 * 64 + length] |= bit(extent);
  mid_[extent / 4096 * 64 + length] |= bit(extent / 64);
  top_[length] |= bit(extent / 4096);
  lengths_ |= bit(length);
}

void ExtentSets::erase(std::uint32_t length, std::uint32_t extent) {
  if ((low_[extent / 64 * 64 + length] &= ~bit(extent)) != 0) return;
  if ((mid_[extent / 4096 * 64 + length] &= ~bit(extent / 64)) != 0) return;
  if ((top_[length] &= ~bit(extent / 4096)) != 0) return;
  lengths_ &= ~bit(length);
}

ExtentSets::Found ExtentSets::first_from(std::uint32_t length) const {
  const std::uint64_t lengths = length < 64 ? lengths_ & ~below(length) : 0;
  if (lengths == 0) return {0, kNone};
  const std::uint32_t found = lowest(lengths);
  const std::uint32_t in_mid = lowest(top_[found]);
  const std::uint32_t in_low = in_mid * 64 + lowest(mid(found, in_mid));
  return {found, in_low * 64 + lowest(low(found, in_low))};
}

SlotHeap::SlotHeap(SlotSpace& space)
    : space_(&space), long_frees_(space.words(), 1), extents_with_(space.extent_count()) {}

bool SlotHeap::begins(std::uint32_t slot) const {
  return (space_->group_of(slot).starts[slot / 64 % 4] & bit(slot)) != 0;
}

bool SlotHeap::begins_free(std::uint32_t slot) const {
  return (space_->group_of(slot).frees[slot / 64 % 4] & bit(slot)) != 0;
}

void SlotHeap::mark(std::uint32_t slot, bool free) {
  SlotGroup& group = space_->group_of(slot);
  group.starts[slot / 64 % 4] |= bit(slot);
  if (free) {
    group.frees[slot / 64 % 4] |= bit(slot);
  } else {
    group.frees[slot / 64 % 4] &= ~bit(slot);
  }
}

void SlotHeap::unmark(std::uint32_t slot) {
  SlotGroup& group = space_->group_of(slot);
  group.starts[slot / 64 % 4] &= ~bit(slot);
  group.frees[slot / 64 % 4] &= ~bit(slot);
}

// Of the run that begins at `run`, free or taken.
std::uint32_t SlotHeap::length(std::uint32_t run) const {
  const std::uint64_t ahead = space_->starts_from(std::int64_t{run} + 1) & below(kLong - 1);
  return ahead != 0 ? lowest(ahead) + 1 : space_->word(run) >> RunBins::kCountShift;
}

// Where the run begins that ends just before `slot`, which is not its extent's first.
std::uint32_t SlotHeap::run_before(std::uint32_t slot) const {
  // Starts of a neighbouring extent may show too, but this extent's first is nearer.
  const std::uint64_t behind = space_->starts_from(std::int64_t{slot} - 63) & below(63);
  if (behind != 0) return slot - 63 + static_cast<std::uint32_t>(std::bit_width(behind)) - 1;
  return slot - (space_->word(slot - 1) >> RunBins::kCountShift);
}

// A short free run is there: take() may find it.
void SlotHeap::index(std::uint32_t extent_index, std::uint32_t run, std::uint32_t count) {
  SlotExtent& extent = space_->extent(extent_index);
  std::uint64_t& groups = extent.groups_with[count];
  if (groups == 0) extents_with_.insert(count, extent_index);
  groups |= bit(group_in(extent, run));
}

// A short free run that began at `run` is no more, and its marks tell so already.
void SlotHeap::unindex_if_last(std::uint32_t extent_index, std::uint32_t run, std::uint32_t count) {
  if (find_in_group(run / SlotGroup::kSlots * SlotGroup::kSlots, count).run != kNone) return;
  unindex(extent_index, run, count);
}

void SlotHeap::unindex(std::uint32_t extent_index, std::uint32_t run, std::uint32_t count) {
  SlotExtent& extent = space_->extent(extent_index);
  std::uint64_t& groups = extent.groups_with[count];
  groups &= ~bit(group_in(extent, run));
  if (groups == 0) extents_with_.erase(count, extent_index);
}

// Free runs of exactly `count` (1 to 63) slots that begin in the group.
SlotHeap::InGroup SlotHeap::find_in_group(std::uint32_t group_first, std::uint32_t count) {
  const SlotGroup& group = space_->group_of(group_first);
  std::uint64_t starts = space_->group_of(group_first + SlotGroup::kSlots).starts[0];
  InGroup found;
  for (std::uint32_t i = 4; i-- > 0;) {
    // Those that are followed by a start at the right distance, with nothing in between.
    const std::uint64_t later = starts << (64 - count);
    starts = group.starts[i];
    std::uint64_t candidates = group.frees[i] & (starts >> count | later);
    for (; candidates != 0; candidates &= candidates - 1) {
      ++looked_at_;
      const std::uint32_t run = group_first + i * 64 + lowest(candidates);
      if ((space_->starts_from(std::int64_t{run} + 1) & below(count - 1)) != 0) continue;
      if (found.run != kNone) return {found.run, true};
      found.run = run;
    }
  }
  return found;
}

void SlotHeap::add(std::uint32_t extent_index) {
  const SlotExtent& extent = space_->extent(extent_index);
  CHECK(extent.slots > 0 && extent.slots <= SlotExtent::kSlotsMax && extent.first % SlotGroup::kSlots == 0);
  mark(extent.first + extent.slots, false);  // the fence: never freed, never merged
  put(extent_index, extent.first, extent.slots);
}

void SlotHeap::remove(std::uint32_t extent_index) {
  const SlotExtent& extent = space_->extent(extent_index);
  CHECK(begins_free(extent.first) && length(extent.first) == extent.slots);
  if (extent.slots >= kLong) long_frees_.unlink(extent.first);
  unmark(extent.first);
  unmark(extent.first + extent.slots);
  if (extent.slots < kLong) unindex_if_last(extent_index, extent.first, extent.slots);
}

// A free run that was not there before.
void SlotHeap::put(std::uint32_t extent_index, std::uint32_t run, std::uint32_t count) {
  mark(run, true);
  if (count < kLong) {
    index(extent_index, run, count);
  } else {
    long_frees_.link(run, count, 0);
    space_->word(run + count - 1) = count << RunBins::kCountShift;
  }
}

std::uint32_t SlotHeap::take(std::uint32_t count) {
  DCHECK(count > 0);
  const ExtentSets::Found found = extents_with_.first_from(count);
  if (found.extent == kNone) return take_from_long(count);
  SlotExtent& extent = space_->extent(found.extent);
  const std::uint32_t group = lowest(extent.groups_with[found.length]);
  const auto [run, more] = find_in_group(extent.first + group * SlotGroup::kSlots, found.length);
  CHECK(run != kNone);
  // From the back: the free part keeps its start.
  const std::uint32_t left = found.length - count;
  mark(run + left, false);
  if (!more) unindex(found.extent, run, found.length);
  if (left > 0) index(found.extent, run, left);
  ++extent.runs;
  return run + left;
}

std::uint32_t SlotHeap::take_from_long(std::uint32_t count) {
  const std::uint32_t run = long_frees_.find(count);
  if (run == kNone) return kNone;
  const std::uint32_t extent_index = space_->extent_of_slot(run);
  const std::uint32_t left = long_frees_.count(run) - count;
  const std::uint32_t taken = run + left;
  if (left >= kLong) {
    long_frees_.resize(run, left, 0);
    space_->word(taken - 1) = left << RunBins::kCountShift;
  } else {
    long_frees_.unlink(run);
    if (left > 0) index(extent_index, run, left);
  }
  mark(taken, false);
  if (count >= kLong) {
    space_->word(taken) = count << RunBins::kCountShift;
    space_->word(taken + count - 1) = count << RunBins::kCountShift;
  }
  ++space_->extent(extent_index).runs;
  return taken;
}

std::uint32_t SlotHeap::taken_count(std::uint32_t first) const {
  return begins(first) && !begins_free(first) ? length(first) : 0;
}

void SlotHeap::give(std::uint32_t extent_index, std::uint32_t first, std::uint32_t count) {
  CHECK(taken_count(first) == count);
  SlotExtent& extent = space_->extent(extent_index);
  const std::uint32_t after = first + count;
  const std::uint32_t after_count = begins_free(after) ? length(after) : 0;
  std::uint32_t start = first;
  if (first != extent.first) {
    const std::uint32_t before = run_before(first);
    if (begins_free(before)) start = before;
  }
  const std::uint32_t before_count = first - start;

  // Long runs leave their list while their words are whole; short ones their index once the marks are right.
  if (after_count >= kLong) long_frees_.unlink(after);
  if (before_count >= kLong) long_frees_.unlink(start);
  if (after_count > 0) unmark(after);
  if (before_count > 0) unmark(first);
  put(extent_index, start, before_count + count + after_count);
  if (after_count > 0 && after_count < kLong) unindex_if_last(extent_index, after, after_count);
  if (before_count > 0 && before_count < kLong) unindex_if_last(extent_index, start, before_count);
  --extent.runs;
}

SlotHeap::Totals SlotHeap::check_extent(std::uint32_t extent_index) const {
  const SlotExtent& extent = space_->extent(extent_index);
  Totals totals;
  std::array<std::uint64_t, 64> groups_with{};
  bool after_free = false;
  const std::uint32_t end = extent.first + extent.slots;
  for (std::uint32_t run = extent.first; run < end;) {
    CHECK(begins(run));
    const std::uint32_t count = length(run);
    CHECK(count > 0 && count <= end - run);
    CHECK(count < kLong || space_->word(run + count - 1) == count << RunBins::kCountShift);
    CHECK(run == extent.first || begins(run_before(run)));
    if (begins_free(run)) {
      CHECK(!after_free);
      totals.free_slots += count;
      if (count < kLong) {
        groups_with[count] |= bit(group_in(extent, run));
      } else {
        ++totals.long_free_runs;
        totals.long_free_slots += count;
      }
    } else {
      ++totals.taken_runs;
      totals.taken_slots += count;
    }
    after_free = begins_free(run);
    for (std::uint32_t i = run + 1; i < run + count; ++i) CHECK(!begins(i) && !begins_free(i));
    run += count;
  }
  CHECK(begins(end) && !begins_free(end));
  CHECK(extent.groups_with == groups_with);
  for (std::uint32_t n = 1; n < kLong; ++n)
    CHECK(extents_with_.contains(n, extent_index) == (groups_with[n] != 0));
  CHECK(totals.taken_runs == extent.runs && totals.free_slots + totals.taken_slots == extent.slots);
  return totals;
}

void SlotHeap::check(const Totals& totals) const {
  const auto [runs, slots] = long_frees_.check();
  CHECK(runs == totals.long_free_runs && slots == totals.long_free_slots);
  std::uint32_t n = 0;
  for (ExtentSets::Found found; (found = extents_with_.first_from(n + 1)).extent != kNone;) {
    n = found.length;
    CHECK(space_->extent(found.extent).slots > 0 && space_->extent(found.extent).groups_with[n] != 0);
  }
}

}  // namespace sidecar
