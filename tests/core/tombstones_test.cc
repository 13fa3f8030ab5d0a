#include "core/tombstones.h"

#include <gtest/gtest.h>

namespace sidecar {
namespace {

Hash128 id(std::uint64_t n) { return {mix(n, 1), mix(n, 2)}; }

Tombstone stone(std::uint64_t n, TimeNs buried, ChunkIndex num_chunks = 1) {
  return {.id = id(n),
          .buried = buried,
          .num_chunks = num_chunks,
          .done_below = num_chunks,
          .all_arrived = true,
          .lost = false,
          .orphaned = false};
}

TEST(Tombstones, AnswersForTheBuriedAndForNobodyElse) {
  Tombstones tombstones;
  EXPECT_EQ(tombstones.find(id(1)), nullptr);
  tombstones.bury(stone(1, 0, 7));
  tombstones.bury(stone(2, 0, 8));
  ASSERT_NE(tombstones.find(id(1)), nullptr);
  EXPECT_EQ(tombstones.find(id(1))->num_chunks, 7u);
  EXPECT_EQ(tombstones.find(id(2))->num_chunks, 8u);
  EXPECT_EQ(tombstones.find(id(3)), nullptr);
  EXPECT_EQ(tombstones.size(), 2u);
}

TEST(Tombstones, TellsIdsApartWhoseHashesAgreeInOneHalf) {
  Tombstones tombstones;
  Tombstone one = stone(1, 0), two = stone(1, 0);
  two.id.high ^= 1;
  two.num_chunks = 9;
  tombstones.bury(one);
  tombstones.bury(two);
  EXPECT_EQ(tombstones.find(one.id)->num_chunks, 1u);
  EXPECT_EQ(tombstones.find(two.id)->num_chunks, 9u);
}

TEST(Tombstones, AMillionAreKeptHoweverOldTheyAre) {
  Tombstones tombstones;
  for (std::uint64_t n = 0; n < kTombstonesMin; ++n) tombstones.bury(stone(n, n));
  EXPECT_GE(tombstones.size(), 1'000'000u);
  ASSERT_NE(tombstones.find(id(0)), nullptr);
  // A much later burial makes one go, the oldest.
  tombstones.bury(stone(kTombstonesMin, 2 * kTombstoneNs));
  EXPECT_EQ(tombstones.find(id(0)), nullptr);
  EXPECT_NE(tombstones.find(id(1)), nullptr);
  EXPECT_EQ(tombstones.size(), kTombstonesMin);
}

TEST(Tombstones, InAFloodOfIdsAllOfTheLastTenMinutesAreKept) {
  Tombstones tombstones;
  const std::uint64_t flood = 2 * std::uint64_t{kTombstonesMin} + 1'000;
  const TimeNs apart = kTombstoneNs / flood;  // so that none is older than ten minutes
  for (std::uint64_t n = 0; n < flood; ++n) tombstones.bury(stone(n, n * apart));
  EXPECT_EQ(tombstones.size(), flood);
  for (const std::uint64_t n : {std::uint64_t{0}, flood / 2, flood - 1})
    EXPECT_NE(tombstones.find(id(n)), nullptr) << n;
  // Then time goes by, and burials take the old ones away.
  tombstones.bury(stone(flood, 3 * kTombstoneNs));
  EXPECT_EQ(tombstones.find(id(0)), nullptr);
  EXPECT_NE(tombstones.find(id(flood)), nullptr);
  EXPECT_EQ(tombstones.size(), kTombstonesMin);
}

}  // namespace
}  // namespace sidecar
