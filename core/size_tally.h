// The largest of a changing set of sizes, in constant time and space, a little late: sizes are kept by power
// of two, and a power's largest is forgotten only when the last of that power has left. Never too small.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "core/check.h"

namespace sidecar {

class SizeTally {
 public:
  void add(std::uint64_t size) {
    Power& power = powers_[std::bit_width(size)];
    ++power.count;
    power.largest = std::max(power.largest, size);
  }
  // One that was added.
  void remove(std::uint64_t size) {
    Power& power = powers_[std::bit_width(size)];
    CHECK(power.count > 0);
    if (--power.count == 0) power.largest = 0;
  }
  // 0 when there is none.
  [[nodiscard]] std::uint64_t largest() const {
    for (std::size_t i = powers_.size(); i-- > 0;) {
      if (powers_[i].count > 0) return powers_[i].largest;
    }
    return 0;
  }

 private:
  struct Power {
    std::uint64_t count = 0;
    std::uint64_t largest = 0;
  };
  std::array<Power, 65> powers_{};
};

}  // namespace sidecar
