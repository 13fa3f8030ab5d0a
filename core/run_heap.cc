#include "core/run_heap.h"

#include <bit>

#include "core/check.h"

namespace sidecar {

RunHeap::RunHeap(std::uint32_t units)
    : units_(units), tags_((std::size_t{units} + 1) * kTagWords), bins_(tags_.data(), kTagWords) {
  CHECK(units > 0 && units <= RunBins::kCountMax);
  word(units) = kPrecededByFree | kTaken;  // the fence: a taken run of no units, never freed, never merged
  bins_.link(0, units, kFree);
  write_tail(0, units);
}

void RunHeap::write_tail(std::uint32_t run, std::uint32_t count) {
  if (count > 1) word(run + count - 1) = (count << kCountShift) | kFreeTail;
}

// Takes `count` units from `at` on out of the free run `run`; what is left on either side stays free.
void RunHeap::carve(std::uint32_t run, std::uint32_t at, std::uint32_t count) {
  const std::uint32_t left = at - run;
  const std::uint32_t right = this->count(run) - left - count;
  if (left > 0) {
    bins_.resize(run, left, kFree);
    write_tail(run, left);
  } else {
    bins_.unlink(run);
  }
  word(at) = (count << kCountShift) | (left > 0 ? kPrecededByFree : 0) | kTaken;
  if (right > 0) {
    bins_.link(at + count, right, kFree);
    write_tail(at + count, right);
  } else {
    word(at + count) &= ~kPrecededByFree;
  }
}

std::uint32_t RunHeap::take(std::uint32_t count) {
  DCHECK(count > 0);
  const std::uint32_t run = bins_.find(count);
  if (run == kNone) return kNone;
  // From the back: a long run then mostly keeps its place and its bin.
  const std::uint32_t at = run + this->count(run) - count;
  carve(run, at, count);
  return at;
}

std::uint32_t RunHeap::take_aligned(std::uint32_t count, std::uint32_t align) {
  DCHECK(count > 0 && std::has_single_bit(align));
  const auto aligned = [align](std::uint32_t i) { return (i + align - 1) & ~(align - 1); };
  std::uint32_t run = bins_.find(count);
  if (run == kNone) return kNone;
  if (aligned(run) - run + count > this->count(run)) {
    if (count > RunBins::kCountMax - align) return kNone;
    run = bins_.find(count + align - 1);
    if (run == kNone) return kNone;
  }
  const std::uint32_t at = aligned(run);
  carve(run, at, count);
  return at;
}

void RunHeap::give(std::uint32_t first) {
  CHECK(is_taken(first));
  const bool after_free = (word(first) & kPrecededByFree) != 0;
  std::uint32_t count = this->count(first);

  const std::uint32_t after = first + count;
  if (state(after) == kFree) {
    bins_.unlink(after);
    count += this->count(after);
    word(after) = kInside;
  } else {
    word(after) |= kPrecededByFree;
  }

  if (after_free) {
    const std::uint32_t before = this->count(first - 1);  // of the tail, or of the head if it has one unit
    word(first) = kInside;
    first -= before;
    count += before;
    bins_.resize(first, count, kFree);
  } else {
    bins_.link(first, count, kFree);
  }
  write_tail(first, count);
}

RunHeap::Totals RunHeap::check() const {
  Totals totals;
  std::uint64_t free_runs = 0;
  bool after_free = false;
  std::uint32_t i = 0;
  while (i < units_) {
    const std::uint32_t run = count(i);
    CHECK(run > 0 && run <= units_ - i);
    if (state(i) == kFree) {
      CHECK(!after_free);
      CHECK(run == 1 || word(i + run - 1) == ((run << kCountShift) | kFreeTail));
      ++free_runs;
      totals.free_units += run;
      after_free = true;
    } else {
      CHECK(state(i) == kTaken && ((word(i) & kPrecededByFree) != 0) == after_free);
      ++totals.taken_runs;
      totals.taken_units += run;
      after_free = false;
    }
    // A unit inside a run must not look like the start of one: that is how wrong frees are caught.
    for (std::uint32_t j = i + 1; j < i + run && j < i + 64; ++j)
      CHECK(state(j) == kInside || state(j) == kFreeTail);
    i += run;
  }
  CHECK(word(i) == (kTaken | (after_free ? kPrecededByFree : 0)));
  const auto [binned_runs, binned_units] = bins_.check();
  CHECK(binned_runs == free_runs && binned_units == totals.free_units);
  return totals;
}

}  // namespace sidecar
