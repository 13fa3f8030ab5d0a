// Overrun guard: in debug and sanitizer builds the bytes between what a chunk asked for and what its slots
// hold carry a pattern that is checked when the chunk goes. Not for memory that the CPU cannot write.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/check.h"

namespace sidecar {

#ifdef NDEBUG
inline constexpr bool kGuardOn = false;
#else
inline constexpr bool kGuardOn = true;
#endif
inline constexpr std::uint64_t kGuardBytesMax = 64;
inline constexpr std::byte kGuardByte{0xA5};

// `run` is the first byte of a run of `taken` bytes of which `asked` are the chunk's.
inline void fill_guard(std::byte* run, std::uint64_t asked, std::uint64_t taken) {
  if (!kGuardOn) return;
  std::memset(run + asked, static_cast<int>(kGuardByte), std::min(taken - asked, kGuardBytesMax));
}

// Aborts when something wrote behind the chunk's end.
inline void check_guard(const std::byte* run, std::uint64_t asked, std::uint64_t taken) {
  if (!kGuardOn) return;
  const std::byte* const begin = run + asked;
  const std::byte* const end = begin + std::min(taken - asked, kGuardBytesMax);
  CHECK(std::all_of(begin, end, [](std::byte b) { return b == kGuardByte; }));
}

// So that whoever still looks at a freed chunk sees that it is gone.
inline void scrub(std::byte* run, std::uint64_t asked) {
  if (kGuardOn && asked > 0) std::memset(run, 0xDD, asked);
}

}  // namespace sidecar
