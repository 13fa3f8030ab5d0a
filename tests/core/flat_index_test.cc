#include "core/flat_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace sidecar {
namespace {

constexpr auto anything = [](std::uint32_t) { return true; };
auto is(std::uint32_t wanted) {
  return [wanted](std::uint32_t value) { return value == wanted; };
}

TEST(FlatIndex, FindsNothingWhenEmpty) {
  FlatIndex index;
  EXPECT_EQ(index.find(5, anything), FlatIndex::kNone);
  EXPECT_FALSE(index.erase(5, anything));
  EXPECT_EQ(index.size(), 0u);
}

TEST(FlatIndex, TellsValuesUnderOneHashApart) {
  FlatIndex index;
  for (std::uint32_t value = 0; value < 40; ++value) index.insert(7, value);
  for (std::uint32_t value = 0; value < 40; ++value) EXPECT_EQ(index.find(7, is(value)), value);
  EXPECT_TRUE(index.erase(7, is(17)));
  EXPECT_FALSE(index.erase(7, is(17)));
  EXPECT_EQ(index.find(7, is(17)), FlatIndex::kNone);
  for (std::uint32_t value = 0; value < 40; ++value) {
    if (value == 17) continue;
    EXPECT_EQ(index.find(7, is(value)), value);
  }
  EXPECT_EQ(index.size(), 39u);
}

TEST(FlatIndex, KeepsRunsThatWrapAroundTheEndOfTheTable) {
  FlatIndex index;  // 64 cells: hashes 60 to 63 and what is pushed on from there to the beginning
  for (std::uint32_t value = 0; value < 12; ++value) index.insert(60 + value % 4, value);
  for (std::uint32_t value = 0; value < 12; value += 3) EXPECT_TRUE(index.erase(60 + value % 4, is(value)));
  for (std::uint32_t value = 0; value < 12; ++value) {
    EXPECT_EQ(index.find(60 + value % 4, is(value)), value % 3 == 0 ? FlatIndex::kNone : value);
  }
}

TEST(FlatIndex, AgreesWithAMapThroughGrowthAndErasure) {
  std::mt19937 random(1);
  FlatIndex index;
  std::multimap<std::uint64_t, std::uint32_t> model;
  std::uint32_t next = 0;
  for (int step = 0; step < 60'000; ++step) {
    const std::uint64_t hash = random() % 3'000 * 0x9e3779b97f4a7c15ull;
    if (random() % 5 < (step < 40'000 ? 3u : 1u)) {
      index.insert(hash, next);
      model.emplace(hash, next++);
    } else if (const auto found = model.find(hash); found != model.end()) {
      EXPECT_TRUE(index.erase(hash, is(found->second)));
      model.erase(found);
    } else {
      EXPECT_FALSE(index.erase(hash, [&](std::uint32_t) { return false; }));
    }
    ASSERT_EQ(index.size(), model.size());
  }
  for (const auto& [hash, value] : model) ASSERT_EQ(index.find(hash, is(value)), value);
}

TEST(FlatIndex, RoomMadeAheadNeedsNoGrowth) {
  FlatIndex index(1'000);
  for (std::uint32_t value = 0; value < 1'000; ++value) index.insert(value * 77, value);
  for (std::uint32_t value = 0; value < 1'000; ++value) EXPECT_EQ(index.find(value * 77, is(value)), value);
}

}  // namespace
}  // namespace sidecar
