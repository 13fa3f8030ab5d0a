// Counts of measured times with a bounded error: 64 steps for each power of two, so that a percentile is at
// most 1/64 (1.6 %) above the value that was measured, whatever its size, in 30 KiB.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace sidecar::perf {

class Histogram {
 public:
  void add(std::uint64_t ns) {
    ++counts_[place_of(ns)];
    ++count_;
    sum_ += ns;
    max_ = std::max(max_, ns);
  }
  void clear() { *this = {}; }
  void add(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  [[nodiscard]] double average() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }
  // Nearest rank: what at least `percent` of all are not above. 0 when there is none.
  [[nodiscard]] std::uint64_t percentile(double percent) const {
    if (count_ == 0) return 0;
    const double exact = percent / 100 * static_cast<double>(count_);
    const auto rank = std::clamp<std::uint64_t>(
        static_cast<std::uint64_t>(exact) + (exact > static_cast<double>(static_cast<std::uint64_t>(exact))),
        1, count_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= rank) return std::min(highest_in(i), max_);
    }
    return max_;
  }
  // visit(highest value of the step, how many), smallest first, without empty steps.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] != 0) visit(highest_in(i), counts_[i]);
    }
  }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr std::uint64_t kSteps = 1u << kStepBits;  // for each power of two
  static constexpr std::size_t kPlaces = kSteps * (64 - kStepBits + 1);

  static std::size_t place_of(std::uint64_t value) {
    if (value < kSteps) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kStepBits - 1;
    return kSteps * (shift + 1) + ((value >> shift) - kSteps);
  }
  static std::uint64_t highest_in(std::size_t place) {
    if (place < kSteps) return place;
    const unsigned shift = static_cast<unsigned>(place / kSteps) - 1;
    const std::uint64_t lowest = (kSteps + place % kSteps) << shift;
    return lowest + ((std::uint64_t{1} << shift) - 1);
  }

  std::array<std::uint64_t, kPlaces> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace sidecar::perf
