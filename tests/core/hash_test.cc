#include "core/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace sidecar {
namespace {

// The output's 16 bytes as the paper's reference vectors print them.
std::string hex(const Hash128& hash) {
  std::string text;
  for (const std::uint64_t half : {hash.low, hash.high}) {
    for (int byte = 0; byte < 8; ++byte) {
      constexpr char kDigits[] = "0123456789abcdef";
      const auto value = static_cast<unsigned>(half >> (8 * byte)) & 0xff;
      text += kDigits[value >> 4];
      text += kDigits[value & 15];
    }
  }
  return text;
}

TEST(SipHash, AgreesWithTheReferenceVectors) {
  const SipHash hash(0x0706050403020100, 0x0f0e0d0c0b0a0908);
  std::string input;
  EXPECT_EQ(hex(hash(input)), "a3817f04ba25a8e66df67214c7550293");
  input += '\0';
  EXPECT_EQ(hex(hash(input)), "da87c1d86b99af44347659119b22fc45");
  input += '\1';
  EXPECT_EQ(hex(hash(input)), "8177228da4a45dc7fca38bdef60affe4");
}

TEST(SipHash, EveryLengthAndEveryByteMatters) {
  const SipHash hash(1, 2);
  std::set<std::string> seen;
  for (std::size_t length = 0; length <= 255; ++length) {
    EXPECT_TRUE(seen.insert(hex(hash(std::string(length, '\0')))).second) << length;
  }
  const std::string zeros(40, '\0');
  for (std::size_t at = 0; at < zeros.size(); ++at) {
    std::string one = zeros;
    one[at] = 1;
    EXPECT_TRUE(seen.insert(hex(hash(one))).second) << at;
  }
}

TEST(SipHash, ADifferentKeyGivesADifferentHash) {
  EXPECT_FALSE(SipHash(1, 2)("id") == SipHash(1, 3)("id"));
  EXPECT_FALSE(SipHash(1, 2)("id") == SipHash(2, 2)("id"));
  EXPECT_TRUE(SipHash(1, 2)("id") == SipHash(1, 2)("id"));
}

TEST(Mix, SpreadsNeighbouringNumbersOverTheLowBits) {
  std::set<std::uint64_t> buckets;
  for (std::uint64_t peer = 0; peer < 16; ++peer) {
    for (std::uint64_t sequence = 0; sequence < 256; ++sequence) buckets.insert(mix(peer, sequence) & 0xffff);
  }
  // 4096 values into 65536 buckets: a random function hits about 3970 of them.
  EXPECT_GT(buckets.size(), 3900u);
}

}  // namespace
}  // namespace sidecar
