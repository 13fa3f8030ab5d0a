#include "core/run_bins.h"

#include <bit>

#include "core/check.h"

namespace sidecar {

RunBins::RunBins(std::uint32_t* words, std::uint32_t stride) : words_(words), stride_(stride) {
  static_assert(kWords <= 32, "summary_ has a bit for each word");
  heads_.fill(kNone);
}

std::uint32_t RunBins::bin_of(std::uint32_t count) {
  if (count < kExact) return count;
  const std::uint32_t power = static_cast<std::uint32_t>(std::bit_width(count)) - 1;
  const std::uint32_t step = (count >> (power - kStepBits)) & (kSteps - 1);
  return kExact + (power - 6) * kSteps + step;
}

std::uint32_t RunBins::first_bin_from(std::uint32_t bin) const {
  if (bin >= kBins) return kNone;
  std::uint32_t at = bin / 64;
  const std::uint64_t here = bits_[at] & (~std::uint64_t{0} << (bin % 64));
  if (here != 0) return at * 64 + static_cast<std::uint32_t>(std::countr_zero(here));
  const std::uint32_t above = summary_ & (~1u << at);
  if (above == 0) return kNone;
  at = static_cast<std::uint32_t>(std::countr_zero(above));
  return at * 64 + static_cast<std::uint32_t>(std::countr_zero(bits_[at]));
}

std::uint32_t RunBins::find(std::uint32_t wanted) {
  std::uint32_t bin = bin_of(wanted);
  if (wanted >= kExact) {
    // A bin of long runs holds several lengths, so not each of its runs need fit. Those of the bins above all
    // do.
    int probes = kProbes;
    for (std::uint32_t run = heads_[bin]; run != kNone && probes-- > 0; run = next(run)) {
      ++looked_at_;
      if (count(run) >= wanted) return run;
    }
    ++bin;
  }
  ++looked_at_;
  bin = first_bin_from(bin);
  return bin == kNone ? kNone : heads_[bin];
}

void RunBins::link(std::uint32_t run, std::uint32_t count, std::uint32_t flags) {
  const std::uint32_t bin = bin_of(count);
  const std::uint32_t head = heads_[bin];
  word(run) = (count << kCountShift) | flags;
  next(run) = head;
  prev(run) = kNone;
  heads_[bin] = run;
  if (head != kNone) {
    prev(head) = run;
  } else {
    bits_[bin / 64] |= std::uint64_t{1} << (bin % 64);
    summary_ |= 1u << (bin / 64);
  }
}

void RunBins::unlink(std::uint32_t run) {
  const std::uint32_t after = next(run);
  const std::uint32_t before = prev(run);
  if (after != kNone) prev(after) = before;
  if (before != kNone) {
    next(before) = after;
    return;
  }
  const std::uint32_t bin = bin_of(count(run));
  heads_[bin] = after;
  if (after != kNone) return;
  const std::uint64_t left = bits_[bin / 64] &= ~(std::uint64_t{1} << (bin % 64));
  if (left == 0) summary_ &= ~(1u << (bin / 64));
}

void RunBins::resize(std::uint32_t run, std::uint32_t new_count, std::uint32_t flags) {
  if (bin_of(new_count) == bin_of(count(run))) {
    word(run) = (new_count << kCountShift) | flags;
  } else {
    unlink(run);
    link(run, new_count, flags);
  }
}

std::pair<std::uint64_t, std::uint64_t> RunBins::check() const {
  std::uint64_t runs = 0;
  std::uint64_t units = 0;
  for (std::uint32_t bin = 0; bin < kBins; ++bin) {
    CHECK((((bits_[bin / 64] >> (bin % 64)) & 1) != 0) == (heads_[bin] != kNone));
    std::uint32_t before = kNone;
    for (std::uint32_t run = heads_[bin]; run != kNone;) {
      const std::uint32_t* const words = words_ + std::size_t{run} * stride_;
      CHECK(bin_of(count(run)) == bin && words[2] == before);
      ++runs;
      units += count(run);
      before = run;
      run = words[1];
    }
  }
  for (std::uint32_t at = 0; at < kWords; ++at) CHECK(((summary_ >> at) & 1) == (bits_[at] != 0));
  return {runs, units};
}

}  // namespace sidecar
