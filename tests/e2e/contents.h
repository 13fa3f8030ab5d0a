// Bytes that tell which chunk they belong to, so that a mix-up, a torn chunk or reused memory cannot go
// unnoticed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace sidecar::e2e {

inline std::uint64_t seed_of(std::string_view id, std::uint32_t chunk) {
  std::uint64_t seed = 0xcbf29ce484222325ull ^ chunk;
  for (const char c : id) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return seed | 1;
}

// Word i of a chunk's contents.
inline std::uint64_t word_at(std::uint64_t seed, std::uint64_t i) {
  return (seed + i) * 0x9e3779b97f4a7c15ull;
}

inline void fill(std::span<std::byte> bytes, std::string_view id, std::uint32_t chunk) {
  const std::uint64_t seed = seed_of(id, chunk);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = word_at(seed, at / 8);
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at));
  }
}

inline bool matches(std::span<const std::byte> bytes, std::string_view id, std::uint32_t chunk) {
  const std::uint64_t seed = seed_of(id, chunk);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = word_at(seed, at / 8);
    if (std::memcmp(bytes.data() + at, &word, std::min<std::size_t>(8, bytes.size() - at)) != 0) return false;
  }
  return true;
}

inline std::vector<std::byte> contents(std::string_view id, std::uint32_t chunk, std::size_t size) {
  std::vector<std::byte> bytes(size);
  fill(bytes, id, chunk);
  return bytes;
}

}  // namespace sidecar::e2e
