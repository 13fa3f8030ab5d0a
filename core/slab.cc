#include "core/slab.h"

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace sidecar {
namespace {

constexpr std::uint64_t kPageBytesMax = 4096;
constexpr std::uint64_t kExtentBytesMax = 64ull << 20;
constexpr std::uint64_t kExtentsPerRegion =
    64;  // a class's full-grown extent is about this part of the region
constexpr std::uint64_t kBlocksPerExtent = 16;
// Slots and runs larger than these parts of a full-grown extent do without one: what does not divide an
// extent evenly is lost to its class.
constexpr std::uint64_t kSlotsPerExtentMin = 256;
constexpr std::uint64_t kRunsPerExtentMin = 32;
constexpr std::uint64_t kRunsPerSmallExtent = 4;  // of the length that asked for the extent
constexpr std::uint64_t kSlotsPerRunMax = SlotExtent::kSlotsMax / kRunsPerSmallExtent;

// About a million pages or more, of a size that keeps what rounding loses far below one percent.
std::uint64_t page_bytes_for(std::uint64_t region_bytes) {
  const std::uint64_t wanted = std::bit_floor(std::max(region_bytes >> 20, kSlotAlign * std::uint64_t{1}));
  const std::uint64_t least = std::bit_ceil((region_bytes >> 29) + 1);  // page runs are counted in 29 bits
  return std::max(std::min(wanted, kPageBytesMax), std::max<std::uint64_t>(least, kSlotAlign));
}

std::uint32_t slots_for(std::uint32_t bytes, std::uint32_t slot_bytes) {
  return bytes == 0 ? 1 : (bytes + slot_bytes - 1) / slot_bytes;
}

std::uint64_t extent_bytes_for(std::uint64_t region_bytes) {
  return std::clamp<std::uint64_t>(std::bit_floor(region_bytes / kExtentsPerRegion | 1), kSlotAlign,
                                   kExtentBytesMax);
}

// More than kSlotAlign only in regions over 256 GiB: slots are numbered in 32 bits.
std::uint64_t slot_align_for(std::uint64_t region_bytes) {
  return std::max<std::uint64_t>(kSlotAlign, std::bit_ceil((region_bytes >> 32) + 1));
}

std::uint64_t block_bytes_for(std::uint64_t region_bytes) {
  return std::max({extent_bytes_for(region_bytes) / kBlocksPerExtent, page_bytes_for(region_bytes),
                   SlotGroup::kSlots * slot_align_for(region_bytes),
                   std::bit_ceil(region_bytes / (ExtentSets::kExtentsMax - 1))});
}

}  // namespace

Slab::Slab(std::uint64_t region_offset, std::uint64_t region_bytes)
    : region_offset_(region_offset),
      page_bytes_(page_bytes_for(region_bytes)),
      page_count_(static_cast<std::uint32_t>(region_bytes / page_bytes_)),
      extent_bytes_(extent_bytes_for(region_bytes)),
      pages_(page_count_),
      space_(region_bytes, slot_align_for(region_bytes), block_bytes_for(region_bytes)) {
  CHECK(region_bytes <= ~std::uint64_t{0} - region_offset);
  stats_.region_bytes = largest();
  stats_.free_low_water = largest();
}

std::uint64_t Slab::slot_bytes_for(std::uint64_t unit_bytes) const {
  const std::uint64_t unit = std::clamp<std::uint64_t>(unit_bytes, 1, largest());
  return (unit + space_.slot_align() - 1) & ~(space_.slot_align() - 1);
}

bool Slab::can_ever_fit(std::uint64_t bytes, std::uint64_t /*unit_bytes*/) const {
  return bytes <= largest();
}

std::optional<std::uint64_t> Slab::allocate(std::uint64_t bytes, std::uint64_t unit_bytes) {
  check_now_and_then();
  std::optional<std::uint64_t> offset;
  const std::uint64_t slot_bytes = slot_bytes_for(unit_bytes);
  if (slot_bytes <= extent_bytes_ / kSlotsPerExtentMin && bytes <= extent_bytes_ / kRunsPerExtentMin &&
      bytes <= slot_bytes * kSlotsPerRunMax) {
    offset = allocate_slots(static_cast<std::uint32_t>(bytes), static_cast<std::uint32_t>(slot_bytes));
  }
  if (!offset && bytes <= largest()) offset = allocate_pages(bytes, slot_bytes);
  stats_.steps += pages_.looked_at();
  if (!offset) ++stats_.failures;
  return offset;
}

std::optional<std::uint64_t> Slab::allocate_slots(std::uint32_t bytes, std::uint32_t slot_bytes) {
  const std::uint32_t count = slots_for(bytes, slot_bytes);
  const std::uint32_t index = class_for(slot_bytes);
  HintClass& hint_class = *classes_[index];
  std::uint32_t slot = hint_class.heap.take(count);
  if (slot == kNone) {
    if (!add_extent(index, count)) {
      drop_class_if_unused(index);
      return std::nullopt;
    }
    slot = hint_class.heap.take(count);
    CHECK(slot != kNone);
  }
  stats_.steps += hint_class.heap.looked_at();
  const std::uint32_t extent_index = space_.extent_of_slot(slot);
  if (extent_index == hint_class.spare) clear_spare(index);
  const SlotExtent& extent = space_.extent(extent_index);
  return took(extent.begin + std::uint64_t{slot - extent.first} * slot_bytes,
              std::uint64_t{count} * slot_bytes, bytes);
}

std::optional<std::uint64_t> Slab::allocate_pages(std::uint64_t bytes, std::uint64_t slot_bytes) {
  // Whole slots, so that equal hints leave holes that fit each other; but never more than there is.
  const std::uint64_t slots = bytes == 0 ? 1 : (bytes - 1) / slot_bytes + 1;
  const std::uint64_t taken =
      slots > largest() / slot_bytes ? std::max(bytes, page_bytes_) : slots * slot_bytes;
  const auto pages = static_cast<std::uint32_t>((taken + page_bytes_ - 1) / page_bytes_);
  std::uint32_t page = pages_.take(pages);
  while (page == kNone) {
    if (!give_up_a_spare(kNone)) return std::nullopt;
    page = pages_.take(pages);
  }
  return took(page * page_bytes_, pages * page_bytes_, bytes);
}

// Books a run and returns its offset.
std::uint64_t Slab::took(std::uint64_t position, std::uint64_t taken, std::uint64_t asked) {
  ++stats_.runs;
  stats_.used_bytes += taken;
  stats_.asked_bytes += asked;
  stats_.free_low_water = std::min(stats_.free_low_water, stats_.region_bytes - stats_.used_bytes);
  return region_offset_ + position;
}

// Aborts on offsets at which no run can begin; whether one does is for the heaps to say.
Slab::Place Slab::locate(std::uint64_t offset) const {
  CHECK(offset >= region_offset_ && offset - region_offset_ < largest());
  const std::uint64_t position = offset - region_offset_;
  const std::uint32_t owner = space_.owner_at(position);
  if (owner != kNone && position < space_.extent(owner).end) {
    const SlotExtent& extent = space_.extent(owner);
    const auto inside = static_cast<std::uint32_t>(position - extent.begin);
    const std::uint32_t slot_bytes = classes_[extent.hint_class]->slot_bytes;
    const std::uint32_t slot = inside / slot_bytes;
    CHECK(slot * slot_bytes == inside && slot < extent.slots);
    return {owner, extent.first + slot};
  }
  CHECK(position % page_bytes_ == 0);
  return {kNone, static_cast<std::uint32_t>(position / page_bytes_)};
}

void Slab::free(Run run) {
  check_now_and_then();
  const Place place = locate(run.offset);
  std::uint64_t taken;
  if (place.extent == kNone) {
    CHECK(pages_.is_taken(place.first));
    taken = pages_.count(place.first) * page_bytes_;
    CHECK(run.bytes <= taken);
    pages_.give(place.first);
  } else {
    const std::uint32_t index = space_.extent(place.extent).hint_class;
    HintClass& hint_class = *classes_[index];
    CHECK(run.bytes <= extent_bytes_);
    const std::uint32_t count = slots_for(static_cast<std::uint32_t>(run.bytes), hint_class.slot_bytes);
    taken = std::uint64_t{count} * hint_class.slot_bytes;
    hint_class.heap.give(place.extent, place.first, count);
    if (space_.extent(place.extent).runs == 0) {
      if (hint_class.spare == kNone) {
        set_spare(index, place.extent);
      } else {
        remove_extent(place.extent);
      }
    }
  }
  --stats_.runs;
  stats_.used_bytes -= taken;
  stats_.asked_bytes -= run.bytes;
}

std::uint64_t Slab::taken_bytes(std::uint64_t offset) const {
  const Place place = locate(offset);
  if (place.extent == kNone) {
    CHECK(pages_.is_taken(place.first));
    return pages_.count(place.first) * page_bytes_;
  }
  const HintClass& hint_class = *classes_[space_.extent(place.extent).hint_class];
  const std::uint32_t count = hint_class.heap.taken_count(place.first);
  CHECK(count > 0);
  return std::uint64_t{count} * hint_class.slot_bytes;
}

std::uint32_t Slab::class_for(std::uint32_t slot_bytes) {
  if (last_class_ != kNone && classes_[last_class_]->slot_bytes == slot_bytes) return last_class_;
  const auto known = class_of_slot_.find(slot_bytes);
  if (known != class_of_slot_.end()) return last_class_ = known->second;
  std::uint32_t index;
  if (free_classes_.empty()) {
    index = static_cast<std::uint32_t>(classes_.size());
    classes_.push_back(std::make_unique<HintClass>(space_));
  } else {
    index = free_classes_.back();
    free_classes_.pop_back();
  }
  classes_[index]->slot_bytes = slot_bytes;
  class_of_slot_.emplace(slot_bytes, index);
  ++stats_.classes;
  return last_class_ = index;
}

// Hints come from peers too, so there must not be a class left for each that was ever seen.
void Slab::drop_class_if_unused(std::uint32_t index) {
  HintClass& hint_class = *classes_[index];
  if (hint_class.extents > 0) return;
  class_of_slot_.erase(hint_class.slot_bytes);
  hint_class.slot_bytes = 0;
  free_classes_.push_back(index);
  if (last_class_ == index) last_class_ = kNone;
  --stats_.classes;
}

// Extents grow with their class, so that a rare hint does not hold much of the region, and shrink when room
// is short.
bool Slab::add_extent(std::uint32_t index, std::uint32_t slots_wanted) {
  const HintClass& hint_class = *classes_[index];
  const std::uint64_t run_bytes = std::uint64_t{slots_wanted} * hint_class.slot_bytes;
  const std::uint64_t most =
      std::min(extent_bytes_, std::bit_ceil(std::uint64_t{SlotExtent::kSlotsMax} * hint_class.slot_bytes));
  const std::uint64_t grown =
      std::bit_ceil(std::max(hint_class.extent_bytes, run_bytes * kRunsPerSmallExtent));
  const std::uint64_t least =
      std::max(space_.block_bytes(), run_bytes + space_.slot_align());  // a fence needs room too
  do {
    for (std::uint64_t bytes = std::max(std::min(grown, most), space_.block_bytes()); bytes >= least;
         bytes /= 2) {
      if (add_extent_of(index, bytes)) return true;
    }
  } while (give_up_a_spare(index));
  return false;
}

bool Slab::add_extent_of(std::uint32_t index, std::uint64_t bytes) {
  HintClass& hint_class = *classes_[index];
  const std::uint64_t numbers = bytes / space_.slot_align() - 1;  // the last one is the fence's
  const std::uint64_t slots =
      std::min({bytes / hint_class.slot_bytes, numbers, std::uint64_t{SlotExtent::kSlotsMax}});
  const std::uint64_t pages = (slots * hint_class.slot_bytes + page_bytes_ - 1) / page_bytes_;
  const std::uint32_t page = pages_.take_aligned(
      static_cast<std::uint32_t>(pages), static_cast<std::uint32_t>(space_.block_bytes() / page_bytes_));
  if (page == kNone) return false;

  const std::uint64_t begin = page * page_bytes_;
  const auto extent_index = static_cast<std::uint32_t>(begin / space_.block_bytes());
  SlotExtent& extent = space_.extent(extent_index);
  extent.begin = begin;
  extent.end = begin + pages * page_bytes_;
  extent.first = static_cast<std::uint32_t>(begin / space_.slot_align());
  extent.slots = static_cast<std::uint32_t>(slots);
  extent.hint_class = index;
  extent.runs = 0;
  space_.set_owner(extent, extent_index);
  hint_class.heap.add(extent_index);
  hint_class.extents += 1;
  hint_class.extent_bytes += extent.end - extent.begin;
  ++stats_.extents;
  return true;
}

void Slab::remove_extent(std::uint32_t index) {
  SlotExtent& extent = space_.extent(index);
  HintClass& hint_class = *classes_[extent.hint_class];
  hint_class.heap.remove(index);
  space_.set_owner(extent, kNone);
  pages_.give(static_cast<std::uint32_t>(extent.begin / page_bytes_));
  hint_class.extents -= 1;
  hint_class.extent_bytes -= extent.end - extent.begin;
  extent.slots = 0;
  --stats_.extents;
}

void Slab::set_spare(std::uint32_t index, std::uint32_t extent) {
  HintClass& hint_class = *classes_[index];
  hint_class.spare = extent;
  hint_class.prev_spare = kNone;
  hint_class.next_spare = spares_;
  if (spares_ != kNone) classes_[spares_]->prev_spare = index;
  spares_ = index;
}

void Slab::clear_spare(std::uint32_t index) {
  HintClass& hint_class = *classes_[index];
  if (hint_class.spare == kNone) return;
  hint_class.spare = kNone;
  (hint_class.prev_spare == kNone ? spares_ : classes_[hint_class.prev_spare]->next_spare) =
      hint_class.next_spare;
  if (hint_class.next_spare != kNone) classes_[hint_class.next_spare]->prev_spare = hint_class.prev_spare;
}

// Gives one class's empty extent back to the region. `keep_class` lives on even if that was its last extent.
bool Slab::give_up_a_spare(std::uint32_t keep_class) {
  if (spares_ == kNone) return false;
  const std::uint32_t index = spares_;
  const std::uint32_t extent = classes_[index]->spare;
  clear_spare(index);
  remove_extent(extent);
  if (index != keep_class) drop_class_if_unused(index);
  return true;
}

}  // namespace sidecar
