// Keyed hashing of data ids. Ids come from clients and peers, so the key is random per process: nobody
// outside can choose ids that collide. 128 bits are enough to stand for the id itself (tombstones keep the
// hash instead of 255 bytes).
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace sidecar {

struct Hash128 {  // trivial, so that arrays of it cost nothing before they are used
  std::uint64_t low;
  std::uint64_t high;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

// SipHash-2-4 with 128-bit output (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
class SipHash {
 public:
  SipHash(std::uint64_t key_low, std::uint64_t key_high) : k0_(key_low), k1_(key_high) {}

  [[nodiscard]] Hash128 operator()(std::string_view bytes) const {
    State s{k0_ ^ 0x736f6d6570736575ull, k1_ ^ 0x646f72616e646f6dull ^ 0xeeull, k0_ ^ 0x6c7967656e657261ull,
            k1_ ^ 0x7465646279746573ull};
    const char* at = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 8; left -= 8, at += 8) s.absorb(load(at, 8));
    s.absorb(load(at, left) | (static_cast<std::uint64_t>(bytes.size()) << 56));
    s.v2 ^= 0xee;
    s.rounds(4);
    const std::uint64_t low = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    s.rounds(4);
    return {low, s.v0 ^ s.v1 ^ s.v2 ^ s.v3};
  }

 private:
  struct State {
    std::uint64_t v0, v1, v2, v3;
    static std::uint64_t rotate(std::uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }
    void rounds(int count) {
      for (int i = 0; i < count; ++i) {
        v0 += v1;
        v1 = rotate(v1, 13) ^ v0;
        v0 = rotate(v0, 32);
        v2 += v3;
        v3 = rotate(v3, 16) ^ v2;
        v0 += v3;
        v3 = rotate(v3, 21) ^ v0;
        v2 += v1;
        v1 = rotate(v1, 17) ^ v2;
        v2 = rotate(v2, 32);
      }
    }
    void absorb(std::uint64_t word) {
      v3 ^= word;
      rounds(2);
      v0 ^= word;
    }
  };
  static std::uint64_t load(const char* at, std::size_t count) {
    std::uint64_t word = 0;
    if (count > 0) std::memcpy(&word, at, count);
    return word;  // little-endian hosts only, as everything here
  }
  std::uint64_t k0_, k1_;
};

// Spreads a small key (a peer and a sequence) over 64 bits. Not keyed: for our own numbers, or together with
// one that nobody outside knows.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15ull ^ b;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ull;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ull;
  return x ^ (x >> 32);
}

}  // namespace sidecar
