// Free runs sorted into lists by length, so that one of at least a wanted length is found without a search
// ("two-level segregated fit"). The links are kept in the caller's out-of-band words, three for each run.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

namespace sidecar {

class RunBins {
 public:
  static constexpr std::uint32_t kNone = ~0u;
  static constexpr std::uint32_t kCountMax = (1u << 29) - 1;  // units in a run
  static constexpr std::uint32_t kCountShift = 3;  // the low bits of a run's first word are the caller's

  // Run i has words[i * stride] (count << kCountShift, and flags) and the next two words for links.
  RunBins(std::uint32_t* words, std::uint32_t stride);

  // Puts a run in. Its first word becomes count and `flags`.
  void link(std::uint32_t run, std::uint32_t count, std::uint32_t flags);
  void unlink(std::uint32_t run);
  // Changes the length of a run that is in.
  void resize(std::uint32_t run, std::uint32_t count, std::uint32_t flags);

  // A run of at least `count` units that fits well, or kNone. Runs of fewer than 64 units are all seen; among
  // longer ones of nearly the wanted length (within 1/32) only the kProbes most recent are looked at.
  std::uint32_t find(std::uint32_t count);
  // Runs that find() looked at, since the last call.
  std::uint32_t looked_at() { return std::exchange(looked_at_, 0); }

  [[nodiscard]] std::uint32_t count(std::uint32_t run) const { return word(run) >> kCountShift; }

  // Aborts unless each run is in the right bin, with whole links and true bitmaps. Returns runs and units.
  [[nodiscard]] std::pair<std::uint64_t, std::uint64_t> check() const;

 private:
  // Runs below kExact units have a bin for each length; above, each power of two is cut into kSteps bins.
  static constexpr std::uint32_t kExact = 64;
  static constexpr std::uint32_t kStepBits = 5;
  static constexpr std::uint32_t kSteps = 1u << kStepBits;
  static constexpr std::uint32_t kBins = kExact + (29 - 6) * kSteps;
  static constexpr std::uint32_t kWords = (kBins + 63) / 64;
  static constexpr int kProbes = 32;

  [[nodiscard]] static std::uint32_t bin_of(std::uint32_t count);
  [[nodiscard]] std::uint32_t first_bin_from(std::uint32_t bin) const;
  [[nodiscard]] std::uint32_t word(std::uint32_t run) const { return words_[std::size_t{run} * stride_]; }
  std::uint32_t& word(std::uint32_t run) { return words_[std::size_t{run} * stride_]; }
  std::uint32_t& next(std::uint32_t run) { return words_[std::size_t{run} * stride_ + 1]; }
  std::uint32_t& prev(std::uint32_t run) { return words_[std::size_t{run} * stride_ + 2]; }

  std::uint32_t* words_;
  std::uint32_t stride_;
  std::uint32_t looked_at_ = 0;
  std::uint32_t summary_ = 0;                 // bit w: bits_[w] is not 0
  std::array<std::uint64_t, kWords> bits_{};  // bit b: bin b is not empty
  std::array<std::uint32_t, kBins> heads_;    // first run of the bin, or kNone
};

}  // namespace sidecar
