// Buffers in turn, as many as messages are under way, on huge pages where the system has them as in an arena:
// what a program needs whose messages are not all the same. One buffer for all would stay in the caches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/mapping.h"
#include "perf/tool/take.h"

namespace sidecar::perf {

class Ring {
 public:
  // Fewer buffers when they are so large that no cache holds them anyway.
  Ring(std::uint32_t outstanding, std::uint64_t size)
      : size_(size),
        buffers_(std::clamp<std::uint64_t>(kBytesMax / std::max<std::uint64_t>(size, 1), 1, outstanding)) {
    auto mapping = Mapping::map(-1, 0, std::max<std::uint64_t>(buffers_ * size_, 1), true);
    if (!mapping) fail_measurement("memory: " + to_string(mapping.error()));
    mapping_ = std::move(*mapping);
    if (auto populated = populate(mapping_, -1, 0, true); !populated)
      fail_measurement("memory: " + to_string(populated.error()));
  }

  std::span<std::byte> next() {
    std::byte* const data = mapping_.data() + at_ * size_;
    at_ = (at_ + 1) % buffers_;
    return {data, size_};
  }

 private:
  static constexpr std::uint64_t kBytesMax = 256 << 20;
  std::uint64_t size_;
  std::uint64_t buffers_;
  Mapping mapping_;
  std::uint64_t at_ = 0;
};

}  // namespace sidecar::perf
