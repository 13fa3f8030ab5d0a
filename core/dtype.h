// Element types, on their own because the client library's public headers show them: standard library only.
#pragma once

#include <array>
#include <cstdint>

namespace sidecar {

// As they travel: append only, never renumber.
enum class Dtype : std::uint8_t {
  kBool = 0,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kC64,
  kC128,
  kF8E4M3,
  kF8E5M2,
};
inline constexpr std::uint8_t kDtypeCount = 17;

inline constexpr std::uint64_t dtype_bytes(Dtype dtype) {
  constexpr std::array<std::uint8_t, kDtypeCount> kBytes{1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 8, 16, 1, 1};
  return kBytes[static_cast<std::uint8_t>(dtype)];
}
const char* dtype_name(Dtype dtype);

}  // namespace sidecar
