// Data ids for the micros: as long as real ones, different in the middle, made without an allocation.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/hash.h"
#include "core/types.h"

namespace sidecar::perf {

inline DataId id_of(std::uint64_t number) {
  std::array<char, 24> text{'r', 'e', 'q', 'u', 'e', 's', 't', '-', 0,   0,   0,   0,
                            0,   0,   0,   0,   '/', 'h', 'i', 'd', 'd', 'e', 'n', 's'};
  std::memcpy(text.data() + 8, &number, sizeof number);  // an id may hold any bytes
  return DataId(std::string_view(text.data(), text.size()));
}

// A number below `count`, another one for each step, far from the one before: caches are of as little help as
// they are to a sidecar whose clients ask in their own order.
inline std::uint64_t scattered(std::uint64_t step, std::uint64_t count) { return mix(step, 1) % count; }

}  // namespace sidecar::perf
