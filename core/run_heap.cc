#include "core/run_heap.h"

#include <bit>

#include "core/check.h"

namespace sidecar {

RunHeap::RunHeap(RunTag* tags) : tags_(tags) {
  static_assert(kWords <= 32, "summary_ has a bit for each word");
  heads_.fill(kNone);
}

std::uint32_t RunHeap::bin_of(std::uint32_t count) {
  if (count < kExact) return count;
  const std::uint32_t power = static_cast<std::uint32_t>(std::bit_width(count)) - 1;
  const std::uint32_t step = (count >> (power - kStepBits)) & (kSteps - 1);
  return kExact + (power - 6) * kSteps + step;
}

std::uint32_t RunHeap::first_bin_from(std::uint32_t bin) const {
  if (bin >= kBins) return kNone;
  std::uint32_t word = bin / 64;
  const std::uint64_t here = words_[word] & (~std::uint64_t{0} << (bin % 64));
  if (here != 0) return word * 64 + static_cast<std::uint32_t>(std::countr_zero(here));
  const std::uint32_t above = summary_ & (~1u << word);
  if (above == 0) return kNone;
  word = static_cast<std::uint32_t>(std::countr_zero(above));
  return word * 64 + static_cast<std::uint32_t>(std::countr_zero(words_[word]));
}

std::uint32_t RunHeap::find(std::uint32_t count) {
  std::uint32_t bin = bin_of(count);
  if (count >= kExact) {
    // A bin of long runs holds several lengths, so not each of its runs need fit. Those of the bins above all do.
    int probes = kProbes;
    for (std::uint32_t run = heads_[bin]; run != kNone && probes-- > 0; run = tags_[run].next) {
      ++looked_at_;
      if (this->count(run) >= count) return run;
    }
    ++bin;
  }
  ++looked_at_;
  bin = first_bin_from(bin);
  return bin == kNone ? kNone : heads_[bin];
}

void RunHeap::link(std::uint32_t run, std::uint32_t count) {
  const std::uint32_t bin = bin_of(count);
  const std::uint32_t head = heads_[bin];
  tags_[run] = {(count << kCountShift) | kFree, head, kNone};
  heads_[bin] = run;
  if (head != kNone) {
    tags_[head].prev = run;
  } else {
    words_[bin / 64] |= std::uint64_t{1} << (bin % 64);
    summary_ |= 1u << (bin / 64);
  }
}

void RunHeap::unlink(std::uint32_t run) {
  const RunTag tag = tags_[run];
  if (tag.next != kNone) tags_[tag.next].prev = tag.prev;
  if (tag.prev != kNone) {
    tags_[tag.prev].next = tag.next;
    return;
  }
  const std::uint32_t bin = bin_of(tag.word >> kCountShift);
  heads_[bin] = tag.next;
  if (tag.next != kNone) return;
  const std::uint64_t left = words_[bin / 64] &= ~(std::uint64_t{1} << (bin % 64));
  if (left == 0) summary_ &= ~(1u << (bin / 64));
}

void RunHeap::write_tail(std::uint32_t run, std::uint32_t count) {
  if (count > 1) tags_[run + count - 1].word = (count << kCountShift) | kFreeTail;
}

// A free run that keeps its first unit but changes its length.
void RunHeap::resize(std::uint32_t run, std::uint32_t count) {
  if (bin_of(count) == bin_of(this->count(run))) {
    tags_[run].word = (count << kCountShift) | kFree;
  } else {
    unlink(run);
    link(run, count);
  }
  write_tail(run, count);
}

// Takes `count` units from `at` on out of the free run `run`; what is left on either side stays free.
void RunHeap::carve(std::uint32_t run, std::uint32_t at, std::uint32_t count) {
  const std::uint32_t left = at - run;
  const std::uint32_t right = this->count(run) - left - count;
  if (left > 0) {
    resize(run, left);
  } else {
    unlink(run);
  }
  tags_[at].word = (count << kCountShift) | (left > 0 ? kPrecededByFree : 0) | kTaken;
  if (right > 0) {
    link(at + count, right);
    write_tail(at + count, right);
  } else {
    tags_[at + count].word &= ~kPrecededByFree;
  }
}

void RunHeap::add_span(std::uint32_t first, std::uint32_t count) {
  CHECK(count > 0 && count <= kCountMax);
  tags_[first + count].word = kPrecededByFree | kTaken;  // a taken run of no units: never freed, never merged
  link(first, count);
  write_tail(first, count);
}

void RunHeap::remove_span(std::uint32_t first, std::uint32_t count) {
  CHECK(is_free(first) && this->count(first) == count);
  unlink(first);
  tags_[first].word = kInside;
  tags_[first + count].word = kInside;
}

std::uint32_t RunHeap::take(std::uint32_t count) {
  DCHECK(count > 0);
  const std::uint32_t run = find(count);
  if (run == kNone) return kNone;
  // From the back: a long run then mostly keeps its place and its bin.
  const std::uint32_t at = run + this->count(run) - count;
  carve(run, at, count);
  return at;
}

std::uint32_t RunHeap::take_aligned(std::uint32_t count, std::uint32_t align) {
  DCHECK(count > 0 && std::has_single_bit(align));
  const auto aligned = [align](std::uint32_t i) { return (i + align - 1) & ~(align - 1); };
  std::uint32_t run = find(count);
  if (run == kNone) return kNone;
  if (aligned(run) - run + count > this->count(run)) {
    if (count > kCountMax - align) return kNone;
    run = find(count + align - 1);
    if (run == kNone) return kNone;
  }
  const std::uint32_t at = aligned(run);
  carve(run, at, count);
  return at;
}

RunHeap::Run RunHeap::give(std::uint32_t first) {
  const std::uint32_t word = tags_[first].word;
  CHECK((word & kStateMask) == kTaken && (word >> kCountShift) > 0);
  std::uint32_t count = word >> kCountShift;

  const std::uint32_t after = first + count;
  if (state(after) == kFree) {
    unlink(after);
    count += this->count(after);
    tags_[after].word = kInside;
  } else {
    tags_[after].word |= kPrecededByFree;
  }

  if ((word & kPrecededByFree) == 0) {
    link(first, count);
    write_tail(first, count);
    return {first, count};
  }
  const std::uint32_t before = this->count(first - 1);  // of the tail, or of the head if it has one unit
  const std::uint32_t start = first - before;
  tags_[first].word = kInside;
  count += before;
  resize(start, count);
  return {start, count};
}

RunHeap::Totals RunHeap::check_span(std::uint32_t first, std::uint32_t count) const {
  Totals totals;
  bool after_free = false;
  std::uint32_t i = first;
  while (i < first + count) {
    const std::uint32_t run = this->count(i);
    CHECK(run > 0 && run <= first + count - i);
    if (state(i) == kFree) {
      CHECK(!after_free);
      CHECK(run == 1 || tags_[i + run - 1].word == ((run << kCountShift) | kFreeTail));
      ++totals.free_runs;
      totals.free_units += run;
      after_free = true;
    } else {
      CHECK(state(i) == kTaken);
      CHECK(((tags_[i].word & kPrecededByFree) != 0) == after_free);
      ++totals.taken_runs;
      totals.taken_units += run;
      after_free = false;
    }
    // A unit inside a run must not look like the start of one: that is how wrong frees are caught.
    for (std::uint32_t j = i + 1; j < i + run && j < i + 64; ++j) CHECK(state(j) == kInside || state(j) == kFreeTail);
    i += run;
  }
  CHECK(tags_[i].word == (kTaken | (after_free ? kPrecededByFree : 0)));
  return totals;
}

RunHeap::Totals RunHeap::check_bins() const {
  Totals totals;
  for (std::uint32_t bin = 0; bin < kBins; ++bin) {
    CHECK((((words_[bin / 64] >> (bin % 64)) & 1) != 0) == (heads_[bin] != kNone));
    std::uint32_t prev = kNone;
    for (std::uint32_t run = heads_[bin]; run != kNone; run = tags_[run].next) {
      CHECK(state(run) == kFree && bin_of(count(run)) == bin && tags_[run].prev == prev);
      ++totals.free_runs;
      totals.free_units += count(run);
      prev = run;
    }
  }
  for (std::uint32_t word = 0; word < kWords; ++word) CHECK(((summary_ >> word) & 1) == (words_[word] != 0));
  return totals;
}

}  // namespace sidecar
