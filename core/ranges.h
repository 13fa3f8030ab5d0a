// A set of chunk numbers as sorted disjoint ranges [begin, end). Chunks mostly arrive and are done in order,
// so a datum of any length usually needs one range.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "core/types.h"

namespace sidecar {

class Ranges {
 public:
  // False when it was there already.
  bool add(std::uint64_t value) {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), value,
                                        [](std::uint64_t v, const Range& r) { return v < r.begin; });
    const bool has_before = after != ranges_.begin();
    if (has_before && value < (after - 1)->end) return false;
    const bool joins_before = has_before && (after - 1)->end == value;
    const bool joins_after = after != ranges_.end() && after->begin == value + 1;
    if (joins_before && joins_after) {
      (after - 1)->end = after->end;
      ranges_.erase(after);
    } else if (joins_before) {
      (after - 1)->end = value + 1;
    } else if (joins_after) {
      after->begin = value;
    } else {
      ranges_.insert(after, Range{value, value + 1});
    }
    ++count_;
    return true;
  }

  // False when it was not there.
  bool remove(std::uint64_t value) {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), value,
                                        [](std::uint64_t v, const Range& r) { return v < r.begin; });
    if (after == ranges_.begin() || value >= (after - 1)->end) return false;
    const auto holds = after - 1;
    const std::uint64_t end = std::exchange(holds->end, value);
    --count_;
    if (holds->begin < holds->end) {
      if (value + 1 < end) ranges_.insert(after, Range{value + 1, end});
    } else if (value + 1 < end) {
      *holds = Range{value + 1, end};
    } else {
      ranges_.erase(holds);
    }
    return true;
  }

  [[nodiscard]] bool contains(std::uint64_t value) const {
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), value,
                                        [](std::uint64_t v, const Range& r) { return v < r.begin; });
    return after != ranges_.begin() && value < (after - 1)->end;
  }

  // Forgets everything below `bound`.
  void drop_below(std::uint64_t bound) {
    while (!ranges_.empty() && ranges_.front().begin < bound) {
      Range& first = ranges_.front();
      const std::uint64_t end = std::min(first.end, bound);
      count_ -= end - first.begin;
      first.begin = end;
      if (first.begin != first.end) return;
      ranges_.erase(ranges_.begin());
    }
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  // Runs of members that it takes to say which they are.
  [[nodiscard]] std::size_t runs() const { return ranges_.size(); }
  // The smallest member; 0 when empty.
  [[nodiscard]] std::uint64_t lowest() const { return ranges_.empty() ? 0 : ranges_.front().begin; }
  // One past the largest member; 0 when empty.
  [[nodiscard]] std::uint64_t bound() const { return ranges_.empty() ? 0 : ranges_.back().end; }
  // The first number that is not a member.
  [[nodiscard]] std::uint64_t first_gap() const {
    return ranges_.empty() || ranges_.front().begin != 0 ? 0 : ranges_.front().end;
  }
  void clear() {
    ranges_.clear();
    count_ = 0;
  }
  // Memory that is kept for the next add(), in ranges.
  [[nodiscard]] std::size_t room() const { return ranges_.capacity(); }

 private:
  struct Range {
    std::uint64_t begin, end;
  };
  std::vector<Range> ranges_;
  std::uint64_t count_ = 0;
};

}  // namespace sidecar
