#include "core/ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sidecar {
namespace {

TEST(Ranges, IsEmptyAtFirst) {
  const Ranges ranges;
  EXPECT_EQ(ranges.count(), 0u);
  EXPECT_EQ(ranges.bound(), 0u);
  EXPECT_EQ(ranges.first_gap(), 0u);
  EXPECT_FALSE(ranges.contains(0));
}

TEST(Ranges, SaysWhetherANumberIsNew) {
  Ranges ranges;
  EXPECT_TRUE(ranges.add(5));
  EXPECT_FALSE(ranges.add(5));
  EXPECT_TRUE(ranges.add(4));
  EXPECT_TRUE(ranges.add(6));
  EXPECT_FALSE(ranges.add(4));
  EXPECT_FALSE(ranges.add(6));
  EXPECT_EQ(ranges.count(), 3u);
}

TEST(Ranges, JoinsWhatTouches) {
  Ranges ranges;
  for (const std::uint64_t value : {0, 2, 4, 1, 3}) EXPECT_TRUE(ranges.add(value));
  EXPECT_EQ(ranges.first_gap(), 5u);
  EXPECT_EQ(ranges.bound(), 5u);
  EXPECT_FALSE(ranges.contains(5));
}

TEST(Ranges, TheFirstGapIsZeroUntilZeroIsIn) {
  Ranges ranges;
  ranges.add(1);
  ranges.add(2);
  EXPECT_EQ(ranges.first_gap(), 0u);
  ranges.add(0);
  EXPECT_EQ(ranges.first_gap(), 3u);
}

TEST(Ranges, HoldsTheLargestNumbers) {
  Ranges ranges;
  EXPECT_TRUE(ranges.add(0xffffffff));
  EXPECT_TRUE(ranges.contains(0xffffffff));
  EXPECT_EQ(ranges.bound(), 0x100000000u);
}

TEST(Ranges, ForgetsWhatIsBelowABound) {
  Ranges ranges;
  for (const std::uint64_t value : {0, 1, 2, 5, 6, 9}) ranges.add(value);
  ranges.drop_below(6);
  EXPECT_EQ(ranges.count(), 2u);
  EXPECT_FALSE(ranges.contains(5));
  EXPECT_TRUE(ranges.contains(6));
  EXPECT_TRUE(ranges.contains(9));
  ranges.drop_below(100);
  EXPECT_EQ(ranges.count(), 0u);
}

TEST(Ranges, WhatIsTakenOutLeavesItsNeighbours) {
  Ranges ranges;
  for (const std::uint64_t value : {1, 2, 3, 7}) ranges.add(value);
  EXPECT_FALSE(ranges.remove(0));
  EXPECT_FALSE(ranges.remove(4));
  EXPECT_TRUE(ranges.remove(2));
  EXPECT_FALSE(ranges.contains(2));
  EXPECT_TRUE(ranges.contains(1) && ranges.contains(3));
  EXPECT_TRUE(ranges.remove(7));
  EXPECT_EQ(ranges.bound(), 4u);
  EXPECT_TRUE(ranges.remove(1));
  EXPECT_EQ(ranges.lowest(), 3u);
  EXPECT_EQ(ranges.count(), 1u);
}

TEST(Ranges, AgreesWithASet) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    Ranges ranges;
    std::set<std::uint64_t> model;
    for (int step = 0; step < 200; ++step) {
      const std::uint64_t value = random() % 120;
      EXPECT_EQ(ranges.add(value), model.insert(value).second);
      if (random() % 3 == 0) {
        const std::uint64_t out = random() % 120;
        EXPECT_EQ(ranges.remove(out), model.erase(out) == 1);
      }
      if (random() % 60 == 0) {
        const std::uint64_t bound = random() % 120;
        ranges.drop_below(bound);
        model.erase(model.begin(), model.lower_bound(bound));
      }
      ASSERT_EQ(ranges.count(), model.size());
      ASSERT_EQ(ranges.bound(), model.empty() ? 0 : *model.rbegin() + 1);
      ASSERT_EQ(ranges.lowest(), model.empty() ? 0 : *model.begin());
      std::uint64_t gap = 0;
      while (model.contains(gap)) ++gap;
      ASSERT_EQ(ranges.first_gap(), gap);
      for (std::uint64_t probe = 0; probe < 122; ++probe)
        ASSERT_EQ(ranges.contains(probe), model.contains(probe));
    }
  }
}

}  // namespace
}  // namespace sidecar
