#include "core/slab.h"

#include <algorithm>
#include <bit>

#include "core/check.h"

namespace sidecar {
namespace {

constexpr std::uint64_t kPageBytesMax = 4096;
constexpr std::uint64_t kExtentBytesMax = 64ull << 20;
constexpr std::uint64_t kExtentsPerRegion = 64;  // a class's full-grown extent is about this part of the region
constexpr std::uint64_t kBlocksPerExtent = 16;
// Slots and runs larger than these parts of a full-grown extent do without one: what does not divide an extent evenly is
// lost to its class.
constexpr std::uint64_t kSlotsPerExtentMin = 256;
constexpr std::uint64_t kRunsPerExtentMin = 32;
constexpr std::uint64_t kRunsPerSmallExtent = 4;  // of the length that asked for the extent
constexpr std::uint64_t kForgetTags = 64 * 1024 / sizeof(RunTag);  // below, not worth a system call

// About a million pages or more, of a size that keeps what rounding loses far below one percent.
std::uint64_t page_bytes_for(std::uint64_t region_bytes) {
  const std::uint64_t wanted = std::bit_floor(std::max(region_bytes >> 20, kSlotAlign * std::uint64_t{1}));
  const std::uint64_t least = std::bit_ceil((region_bytes >> 29) + 1);  // page runs are counted in 29 bits
  return std::max(std::min(wanted, kPageBytesMax), std::max<std::uint64_t>(least, kSlotAlign));
}

std::uint64_t extent_bytes_for(std::uint64_t region_bytes) {
  return std::clamp<std::uint64_t>(std::bit_floor(region_bytes / kExtentsPerRegion | 1), kSlotAlign,
                                   kExtentBytesMax);
}

}  // namespace

Slab::Slab(std::uint64_t region_offset, std::uint64_t region_bytes)
    : region_offset_(region_offset),
      page_bytes_(page_bytes_for(region_bytes)),
      page_count_(static_cast<std::uint32_t>(region_bytes / page_bytes_)),
      slot_align_(std::max<std::uint64_t>(kSlotAlign, std::bit_ceil((region_bytes >> 32) + 1))),
      extent_bytes_(extent_bytes_for(region_bytes)),
      block_bytes_(std::max(extent_bytes_ / kBlocksPerExtent, std::max(page_bytes_, slot_align_))),
      page_tags_(std::size_t{page_count_} + 1),
      slot_tags_(region_bytes / slot_align_ + 2),
      block_owner_(region_bytes / block_bytes_ + 1),
      pages_(page_tags_.data()) {
  CHECK(page_count_ > 0 && region_bytes <= ~std::uint64_t{0} - region_offset);
  pages_.add_span(0, page_count_);
  extents_.reserve(512);
  stats_.region_bytes = largest();
  stats_.free_low_water = largest();
}

std::uint64_t Slab::slot_bytes_for(std::uint64_t unit_bytes) const {
  const std::uint64_t unit = std::clamp<std::uint64_t>(unit_bytes, 1, largest());
  return (unit + slot_align_ - 1) & ~(slot_align_ - 1);
}

bool Slab::can_ever_fit(std::uint64_t bytes, std::uint64_t /*unit_bytes*/) const { return bytes <= largest(); }

std::optional<std::uint64_t> Slab::allocate(std::uint64_t bytes, std::uint64_t unit_bytes) {
  check_now_and_then();
  std::optional<std::uint64_t> offset;
  const std::uint64_t slot_bytes = slot_bytes_for(unit_bytes);
  if (slot_bytes <= extent_bytes_ / kSlotsPerExtentMin && bytes <= extent_bytes_ / kRunsPerExtentMin) {
    offset = allocate_slots(static_cast<std::uint32_t>(bytes), static_cast<std::uint32_t>(slot_bytes));
  }
  if (!offset && bytes <= largest()) offset = allocate_pages(bytes, slot_bytes);
  stats_.steps += pages_.looked_at();
  if (!offset) ++stats_.failures;
  return offset;
}

std::optional<std::uint64_t> Slab::allocate_slots(std::uint32_t bytes, std::uint32_t slot_bytes) {
  const std::uint32_t slots = bytes == 0 ? 1 : (bytes + slot_bytes - 1) / slot_bytes;
  const std::uint32_t index = class_for(slot_bytes);
  HintClass& hint_class = *classes_[index];
  std::uint32_t tag = hint_class.heap.take(slots);
  if (tag == kNone) {
    if (!add_extent(index, slots)) {
      drop_class_if_unused(index);
      return std::nullopt;
    }
    tag = hint_class.heap.take(slots);
    CHECK(tag != kNone);
  }
  stats_.steps += hint_class.heap.looked_at();
  hint_class.heap.set_payload(tag, bytes);
  const std::uint32_t extent_index = block_owner_[tag * slot_align_ / block_bytes_] - 1;
  if (extent_index == hint_class.spare) clear_spare(index);
  Extent& extent = extents_[extent_index];
  ++extent.runs;
  return took(extent.begin + std::uint64_t{tag - extent.first_tag} * slot_bytes, std::uint64_t{slots} * slot_bytes,
              bytes);
}

std::optional<std::uint64_t> Slab::allocate_pages(std::uint64_t bytes, std::uint64_t slot_bytes) {
  // Whole slots, so that equal hints leave holes that fit each other; but never more than there is.
  const std::uint64_t slots = bytes == 0 ? 1 : (bytes - 1) / slot_bytes + 1;
  const std::uint64_t taken = slots > largest() / slot_bytes ? std::max(bytes, page_bytes_) : slots * slot_bytes;
  const auto pages = static_cast<std::uint32_t>((taken + page_bytes_ - 1) / page_bytes_);
  std::uint32_t tag = pages_.take(pages);
  while (tag == kNone) {
    if (!give_up_a_spare(kNone)) return std::nullopt;
    tag = pages_.take(pages);
  }
  pages_.set_payload(tag, bytes);
  return took(tag * page_bytes_, pages * page_bytes_, bytes);
}

// Books a run and returns its offset.
std::uint64_t Slab::took(std::uint64_t position, std::uint64_t taken, std::uint64_t asked) {
  ++stats_.runs;
  stats_.used_bytes += taken;
  stats_.asked_bytes += asked;
  stats_.free_low_water = std::min(stats_.free_low_water, stats_.region_bytes - stats_.used_bytes);
  return region_offset_ + position;
}

// Aborts on offsets at which no run can begin; whether one does is for RunHeap to say.
Slab::Place Slab::locate(std::uint64_t offset) const {
  CHECK(offset >= region_offset_ && offset - region_offset_ < largest());
  const std::uint64_t position = offset - region_offset_;
  const std::uint32_t owner = block_owner_[position / block_bytes_];
  if (owner != 0 && position < extents_[owner - 1].end) {
    const Extent& extent = extents_[owner - 1];
    const auto inside = static_cast<std::uint32_t>(position - extent.begin);
    const std::uint32_t slot_bytes = classes_[extent.hint_class]->slot_bytes;
    const std::uint32_t slot = inside / slot_bytes;
    CHECK(slot * slot_bytes == inside && slot < extent.slots);
    return {owner - 1, extent.first_tag + slot};
  }
  CHECK(position % page_bytes_ == 0);
  return {kNone, static_cast<std::uint32_t>(position / page_bytes_)};
}

void Slab::free(std::uint64_t offset) {
  check_now_and_then();
  const Place place = locate(offset);
  if (place.extent == kNone) {
    stats_.asked_bytes -= pages_.payload(place.tag);
    stats_.used_bytes -= pages_.count(place.tag) * page_bytes_;
    pages_.give(place.tag);
  } else {
    Extent& extent = extents_[place.extent];
    HintClass& hint_class = *classes_[extent.hint_class];
    stats_.asked_bytes -= hint_class.heap.payload(place.tag);
    stats_.used_bytes -= std::uint64_t{hint_class.heap.count(place.tag)} * hint_class.slot_bytes;
    hint_class.heap.give(place.tag);
    if (--extent.runs == 0) {
      if (hint_class.spare == kNone) {
        set_spare(extent.hint_class, place.extent);
      } else {
        remove_extent(place.extent);
      }
    }
  }
  --stats_.runs;
}

std::uint64_t Slab::taken_bytes(std::uint64_t offset) const {
  const Place place = locate(offset);
  if (place.extent == kNone) {
    CHECK(pages_.is_taken(place.tag));
    return pages_.count(place.tag) * page_bytes_;
  }
  const HintClass& hint_class = *classes_[extents_[place.extent].hint_class];
  CHECK(hint_class.heap.is_taken(place.tag));
  return std::uint64_t{hint_class.heap.count(place.tag)} * hint_class.slot_bytes;
}

std::uint64_t Slab::asked_bytes(std::uint64_t offset) const {
  const Place place = locate(offset);
  const RunHeap& heap = place.extent == kNone ? pages_ : classes_[extents_[place.extent].hint_class]->heap;
  CHECK(heap.is_taken(place.tag));
  return heap.payload(place.tag);
}

std::uint32_t Slab::class_for(std::uint32_t slot_bytes) {
  if (last_class_ != kNone && classes_[last_class_]->slot_bytes == slot_bytes) return last_class_;
  const auto known = class_of_slot_.find(slot_bytes);
  if (known != class_of_slot_.end()) return last_class_ = known->second;
  std::uint32_t index;
  if (free_classes_.empty()) {
    index = static_cast<std::uint32_t>(classes_.size());
    classes_.push_back(std::make_unique<HintClass>(slot_tags_.data()));
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

// Extents grow with their class, so that a rare hint does not hold much of the region, and shrink when room is short.
bool Slab::add_extent(std::uint32_t index, std::uint32_t slots_wanted) {
  const HintClass& hint_class = *classes_[index];
  const std::uint64_t run_bytes = std::uint64_t{slots_wanted} * hint_class.slot_bytes;
  const std::uint64_t grown = std::bit_ceil(std::max(hint_class.extent_bytes, run_bytes * kRunsPerSmallExtent));
  const std::uint64_t first = std::clamp(grown, block_bytes_, std::max(extent_bytes_, block_bytes_));
  do {
    for (std::uint64_t bytes = first; bytes >= block_bytes_ && bytes >= run_bytes + slot_align_; bytes /= 2) {
      if (add_extent_of(index, bytes)) return true;
    }
  } while (give_up_a_spare(index));
  return false;
}

bool Slab::add_extent_of(std::uint32_t index, std::uint64_t bytes) {
  HintClass& hint_class = *classes_[index];
  const std::uint64_t tags = bytes / slot_align_ - 1;  // the last one is the span's fence
  const auto slots = static_cast<std::uint32_t>(std::min(bytes / hint_class.slot_bytes, tags));
  const std::uint64_t pages = (std::uint64_t{slots} * hint_class.slot_bytes + page_bytes_ - 1) / page_bytes_;
  const std::uint32_t page = pages_.take_aligned(static_cast<std::uint32_t>(pages),
                                                 static_cast<std::uint32_t>(block_bytes_ / page_bytes_));
  if (page == kNone) return false;

  std::uint32_t extent_index;
  if (free_extents_.empty()) {
    extent_index = static_cast<std::uint32_t>(extents_.size());
    extents_.emplace_back();
  } else {
    extent_index = free_extents_.back();
    free_extents_.pop_back();
  }
  Extent& extent = extents_[extent_index];
  extent.begin = page * page_bytes_;
  extent.end = extent.begin + pages * page_bytes_;
  extent.first_tag = static_cast<std::uint32_t>(extent.begin / slot_align_);
  extent.slots = slots;
  extent.hint_class = index;
  extent.runs = 0;
  for (std::uint64_t at = extent.begin; at < extent.end; at += block_bytes_) {
    block_owner_[at / block_bytes_] = extent_index + 1;
  }
  hint_class.heap.add_span(extent.first_tag, slots);
  hint_class.extents += 1;
  hint_class.extent_bytes += extent.end - extent.begin;
  ++stats_.extents;
  return true;
}

void Slab::remove_extent(std::uint32_t index) {
  Extent& extent = extents_[index];
  HintClass& hint_class = *classes_[extent.hint_class];
  hint_class.heap.remove_span(extent.first_tag, extent.slots);
  if (extent.slots >= kForgetTags) slot_tags_.forget(extent.first_tag, extent.slots);
  for (std::uint64_t at = extent.begin; at < extent.end; at += block_bytes_) block_owner_[at / block_bytes_] = 0;
  pages_.give(static_cast<std::uint32_t>(extent.begin / page_bytes_));
  hint_class.extents -= 1;
  hint_class.extent_bytes -= extent.end - extent.begin;
  extent.slots = 0;
  free_extents_.push_back(index);
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
  (hint_class.prev_spare == kNone ? spares_ : classes_[hint_class.prev_spare]->next_spare) = hint_class.next_spare;
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
