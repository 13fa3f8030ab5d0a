#include "core/slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <set>
#include <vector>

namespace sidecar {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;

// What is allocated, as a test remembers it: offset to bytes asked.
class Model {
 public:
  explicit Model(std::uint64_t begin, std::uint64_t end) : begin_(begin), end_(end) {}
  void add(std::uint64_t offset, std::uint64_t bytes) {
    ASSERT_GE(offset, begin_);
    ASSERT_LE(offset + bytes, end_);
    const auto after = runs_.lower_bound(offset);
    if (after != runs_.end()) {
      ASSERT_LE(offset + std::max<std::uint64_t>(bytes, 1), after->first) << "overlap";
    }
    if (after != runs_.begin()) {
      const auto before = std::prev(after);
      ASSERT_LE(before->first + std::max<std::uint64_t>(before->second, 1), offset) << "overlap";
    }
    runs_.emplace_hint(after, offset, bytes);
  }
  Run remove_one(std::uint64_t random) {
    auto it = runs_.lower_bound(begin_ + random % (end_ - begin_));
    if (it == runs_.end()) it = runs_.begin();
    const Run run{it->first, it->second};
    runs_.erase(it);
    return run;
  }
  [[nodiscard]] std::uint64_t asked() const {
    std::uint64_t sum = 0;
    for (const auto& [offset, bytes] : runs_) sum += bytes;
    return sum;
  }
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& runs() const { return runs_; }

 private:
  std::uint64_t begin_, end_;
  std::map<std::uint64_t, std::uint64_t> runs_;
};

std::vector<std::uint64_t> fill(Slab& slab, std::uint64_t bytes, std::uint64_t unit) {
  std::vector<std::uint64_t> offsets;
  while (const auto offset = slab.allocate(bytes, unit)) offsets.push_back(*offset);
  return offsets;
}

void free_all(Slab& slab, const std::vector<std::uint64_t>& offsets, std::uint64_t bytes) {
  for (const std::uint64_t offset : offsets) slab.free({offset, bytes});
}

TEST(Slab, HoldsExactlyAsManySlotsAsFitInASmallRegion) {
  Slab slab(0, 8 * 7168);
  const auto offsets = fill(slab, 7168, 7168);
  EXPECT_EQ(offsets.size(), 8u);
  EXPECT_EQ(slab.stats().used_bytes, 8u * 7168);
  free_all(slab, offsets, 7168);
  EXPECT_TRUE(slab.empty());
  slab.check_invariants();
}

TEST(Slab, FillsUntilFullThenEmptiesThenFillsAgainToTheSameCount) {
  for (const std::uint64_t unit : {64ull, 100ull, 7168ull, 65536ull}) {
    Slab slab(4096, 32 * kMiB);
    const auto first = fill(slab, unit * 3, unit);
    const std::uint64_t slot = (unit + 63) / 64 * 64;
    EXPECT_GE(first.size() * 3 * slot, 32 * kMiB * 99 / 100) << unit;
    EXPECT_EQ(slab.stats().failures, 1u);
    slab.check_invariants();
    std::set<std::uint64_t> distinct(first.begin(), first.end());
    EXPECT_EQ(distinct.size(), first.size());
    free_all(slab, first, unit * 3);
    slab.check_invariants();
    EXPECT_TRUE(slab.empty());
    EXPECT_EQ(slab.stats().used_bytes, 0u);
    const auto second = fill(slab, unit * 3, unit);
    EXPECT_EQ(second.size(), first.size());
    for (auto it = second.rbegin(); it != second.rend(); ++it) slab.free({*it, unit * 3});
    slab.check_invariants();
    EXPECT_TRUE(slab.empty());
  }
}

TEST(Slab, HandsOutAbsoluteOffsetsInsideItsRegionOnly) {
  constexpr std::uint64_t kBegin = 1 * kGiB + 4096;
  Slab slab(kBegin, 4 * kMiB);
  Model model(kBegin, kBegin + 4 * kMiB);
  for (const std::uint64_t offset : fill(slab, 1000, 256)) model.add(offset, 1000);
}

TEST(Slab, ReachesOffsetsAboveFourGiB) {
  Slab slab(0, 24 * kGiB);
  std::uint64_t last = 0;
  for (const std::uint64_t offset : fill(slab, 64 * 7168, 7168)) last = std::max(last, offset);
  EXPECT_GT(last, 23 * kGiB);
  slab.free({last, 64 * 7168});
  EXPECT_EQ(slab.allocate(64 * 7168, 7168), last);
  slab.check_invariants();
}

TEST(Slab, GivesZeroBytesASlotOfTheirOwn) {
  Slab slab(0, kMiB);
  const auto a = slab.allocate(0, 256);
  const auto b = slab.allocate(0, 256);
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b);
  EXPECT_EQ(slab.taken_bytes(*a), 256u);
  EXPECT_EQ(slab.stats().asked_bytes, 0u);
  slab.free({*a, 0});
  slab.free({*b, 0});
}

TEST(Slab, TakesWholeSlotsForSizesThatAreNoMultipleOfTheHint) {
  Slab slab(0, 64 * kMiB);
  const auto a = slab.allocate(7169, 7168);
  const auto b = slab.allocate(1, 7168);
  const auto c = slab.allocate(7168 * 5, 7168);
  const auto d = slab.allocate(65, 1);  // a hint below 64 counts as 64
  ASSERT_TRUE(a && b && c && d);
  EXPECT_EQ(slab.taken_bytes(*a), 2u * 7168);
  EXPECT_EQ(slab.taken_bytes(*b), 7168u);
  EXPECT_EQ(slab.taken_bytes(*c), 5u * 7168);
  EXPECT_EQ(slab.taken_bytes(*d), 128u);
  EXPECT_EQ(slab.stats().asked_bytes, 7169u + 1 + 7168 * 5 + 65);
  EXPECT_EQ(slab.stats().used_bytes, 8u * 7168 + 128);
}

TEST(Slab, StartsEveryRunAtAMultipleOf64Bytes) {
  Slab slab(0, 16 * kMiB);
  for (std::uint64_t unit = 1; unit < 3000; unit += 37) {
    const auto offset = slab.allocate(unit * 2 + 1, unit);
    ASSERT_TRUE(offset);
    EXPECT_EQ(*offset % 64, 0u);
  }
}

TEST(Slab, SaysWhatCanNeverFitAndHoldsWhatCan) {
  Slab slab(0, 10 * kMiB);
  EXPECT_EQ(slab.largest(), 10 * kMiB);
  EXPECT_TRUE(slab.can_ever_fit(10 * kMiB, 7168));
  EXPECT_FALSE(slab.can_ever_fit(10 * kMiB + 1, 7168));
  EXPECT_FALSE(slab.allocate(10 * kMiB + 1, 64));
  EXPECT_FALSE(slab.allocate(~0ull, ~0ull));
  for (const std::uint64_t unit : {1ull, 7168ull, 3 * kMiB + 0ull, 11 * kMiB + 0ull, ~0ull}) {
    const auto all = slab.allocate(10 * kMiB, unit);
    ASSERT_TRUE(all) << unit;
    EXPECT_FALSE(slab.allocate(1, 64));
    slab.free({*all, 10 * kMiB});
  }
}

TEST(Slab, NeedsNoMetadataPerSlotForAHugeChunkWithATinyHint) {
  Slab slab(0, 4 * kGiB);
  const auto chunk = slab.allocate(kGiB, 64);
  ASSERT_TRUE(chunk);
  EXPECT_EQ(slab.stats().extents, 0u);
  EXPECT_EQ(slab.stats().classes, 0u);
  EXPECT_EQ(slab.taken_bytes(*chunk), kGiB);
  slab.free({*chunk, kGiB});
}

TEST(Slab, SharesOneRegionAmongDifferentHints) {
  Slab slab(0, 64 * kMiB);
  // One hint fills everything; when it lets go, another gets all of it.
  const auto small = fill(slab, 640, 64);
  EXPECT_FALSE(slab.allocate(4096, 4096));
  free_all(slab, small, 640);
  const auto large = fill(slab, 40960, 4096);
  EXPECT_GE(large.size() * 40960, 63 * kMiB);
  slab.check_invariants();
  free_all(slab, large, 40960);
  EXPECT_LE(slab.stats().extents, 2u);
  slab.check_invariants();
}

TEST(Slab, GivesEmptyExtentsBackAndKeepsAtMostOneForEachClass) {
  Slab slab(0, 64 * kMiB);
  std::vector<std::uint64_t> offsets;
  for (int i = 0; i < 10'000; ++i) {
    offsets.push_back(slab.allocate(1024, 512).value());
    offsets.push_back(slab.allocate(1024, 1024).value());
  }
  EXPECT_EQ(slab.stats().classes, 2u);
  EXPECT_GT(slab.stats().extents, 10u);
  free_all(slab, offsets, 1024);
  EXPECT_EQ(slab.stats().classes, 2u);
  EXPECT_EQ(slab.stats().extents, 2u);
  // Even those go when somebody needs everything.
  EXPECT_TRUE(slab.allocate(64 * kMiB, 64));
  EXPECT_EQ(slab.stats().classes, 0u);
  EXPECT_EQ(slab.stats().extents, 0u);
  slab.check_invariants();
}

TEST(Slab, DoesNotLetManyHintsHoldTheRegionWithATinyChunkEach) {
  Slab slab(0, 64 * kMiB);
  for (std::uint64_t unit = 64; unit <= 64 * 100; unit += 64) ASSERT_TRUE(slab.allocate(1, unit));
  EXPECT_TRUE(slab.allocate(48 * kMiB, 64));
  slab.check_invariants();
}

TEST(Slab, ForgetsHintsThatNobodyUses) {
  Slab slab(0, 16 * kMiB);
  for (std::uint64_t unit = 64; unit < 64 * 200; unit += 64) {
    slab.free({slab.allocate(unit, unit).value(), unit});
    const auto all = slab.allocate(16 * kMiB, 64);
    ASSERT_TRUE(all);
    slab.free({*all, 16 * kMiB});
  }
  EXPECT_EQ(slab.stats().classes, 0u);
}

// PEERS R12: four of eight slots free, but no two of them adjacent, and the request for two waited for ever.
TEST(Slab, R12FreedNeighboursCoalesceSoThatALargeRunFits) {
  for (const std::uint64_t unit : {7168, 64}) {  // runs of pages, and slots in an extent
    Slab slab(0, 8 * 7168);
    auto offsets = fill(slab, unit, unit);
    std::ranges::sort(offsets);
    ASSERT_GE(offsets.size(), 8u);
    for (std::size_t i = 0; i < offsets.size(); i += 2) slab.free({offsets[i], unit});
    EXPECT_FALSE(slab.allocate(2 * unit, unit)) << "no two free slots are neighbours yet";
    slab.free({offsets[3], unit});  // 2, 3 and 4 are free now
    const auto run = slab.allocate(3 * unit, unit);
    ASSERT_TRUE(run) << unit;
    EXPECT_EQ(*run, offsets[2]);
  }
}

TEST(Slab, R12CoalescesInEveryOrderOfFreeing) {
  std::vector<std::uint64_t> order{0, 1, 2, 3, 4, 5};
  Slab slab(0, 64 * kMiB);
  do {
    // Six runs side by side in one extent, of different lengths.
    std::vector<std::uint64_t> offsets;
    for (std::uint64_t i = 0; i < 6; ++i) offsets.push_back(slab.allocate((i + 1) * 512, 512).value());
    for (const std::uint64_t i : order) slab.free({offsets[i], (i + 1) * 512});
    slab.check_invariants();
    ASSERT_TRUE(slab.empty());
  } while (std::next_permutation(order.begin(), order.end()));
  EXPECT_TRUE(slab.allocate(64 * kMiB, 64));
}

// PEERS M1: allocation walked over the slots, for milliseconds at a time. Counted here is what allocate()
// looks at.
TEST(Slab, M1LooksAtABoundedNumberOfRunsHoweverManyThereAre) {
  std::mt19937_64 random(1);
  for (const std::uint64_t slots : {10'000ull, 2'400'000ull}) {
    Slab slab(0, slots * 7168);
    std::vector<sidecar::Run> live;
    const auto take = [&] {
      const std::uint64_t bytes = (random() % 64 + 1) * 7168;
      const auto offset = slab.allocate(bytes, 7168);
      if (offset) live.push_back({*offset, bytes});
      return offset.has_value();
    };
    while (slab.stats().used_bytes < slab.stats().region_bytes / 10 * 9) ASSERT_TRUE(take());
    std::uint64_t most = 0;
    for (int i = 0; i < 20'000; ++i) {
      std::swap(live[random() % live.size()], live.back());
      slab.free(live.back());
      live.pop_back();
      const std::uint64_t before = slab.stats().steps;
      take();
      most = std::max(most, slab.stats().steps - before);
    }
    EXPECT_LE(most, 128u) << slots;
    slab.check_invariants();
  }
}

TEST(Slab, FindsLongRunsAlsoAmongManyThatAreALittleTooShort) {
  Slab slab(0, 256 * kMiB);
  const std::uint64_t long_run = 33 * kMiB + 512 * kKiB;
  std::vector<std::uint64_t> kept;
  std::vector<std::uint64_t> holes;
  for (int i = 0; i < 6; ++i) {
    holes.push_back(slab.allocate(i == 0 ? long_run : 33 * kMiB, 64 * kKiB).value());
    kept.push_back(slab.allocate(64 * kKiB, 64 * kKiB).value());
  }
  const auto rest = slab.allocate(256 * kMiB - long_run - 5 * 33 * kMiB - 6 * 64 * kKiB, 64);
  ASSERT_TRUE(rest);
  for (const std::uint64_t offset : holes) slab.free({offset, offset == holes[0] ? long_run : 33 * kMiB});
  EXPECT_EQ(slab.allocate(long_run, 64 * kKiB), holes[0]);
}

void random_operations(std::uint64_t region, const std::vector<std::uint64_t>& units, std::uint64_t bytes_max,
                       int steps, std::uint64_t seed) {
  SCOPED_TRACE(::testing::Message() << "region " << region << " seed " << seed);
  std::mt19937_64 random(seed);
  constexpr std::uint64_t kBegin = 128 * kKiB;
  Slab slab(kBegin, region);
  Model model(kBegin, kBegin + region);
  for (int step = 0; step < steps && !::testing::Test::HasFatalFailure(); ++step) {
    // Swings between nearly empty and full.
    const bool grow = (step / (steps / 8)) % 2 == 0 ? random() % 4 != 0 : random() % 4 == 0;
    if (grow || model.runs().empty()) {
      const std::uint64_t unit = units[random() % units.size()];
      const std::uint64_t bytes = random() % 8 == 0 ? random() % bytes_max : random() % (16 * unit);
      const auto offset = slab.allocate(bytes, unit);
      if (offset) {
        model.add(*offset, bytes);
        ASSERT_GE(slab.taken_bytes(*offset), bytes);
      }
    } else {
      slab.free(model.remove_one(random()));
    }
    if (step % 16 == 0) {
      slab.check_invariants();
      ASSERT_EQ(slab.stats().runs, model.runs().size());
      ASSERT_EQ(slab.stats().asked_bytes, model.asked());
    }
  }
  for (const auto& [offset, bytes] : model.runs()) slab.free({offset, bytes});
  slab.check_invariants();
  EXPECT_TRUE(slab.empty());
  EXPECT_TRUE(slab.allocate(slab.largest(), 64)) << "everything came together again";
}

TEST(Slab, BehavesLikeAMapUnderRandomOperations) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    random_operations(64, {64}, 64, 100, seed);
    random_operations(8 * 7168, {7168}, 20'000, 800, seed);
    random_operations(100'000, {64, 100, 1000}, 50'000, 3000, seed);
    random_operations(2 * kMiB, {64, 512, 7168}, 200'000, 4000, seed);
    random_operations(64 * kMiB, {64, 192, 1024, 7168, 40'000}, 4 * kMiB, 6000, seed);
    random_operations(6 * kGiB, {4096, 7168, 1'000'000}, 100 * kMiB, 4000, seed);
    random_operations(300 * kGiB, {64, 4096, 8 * kMiB}, 4 * kGiB, 2000, seed);
  }
}

TEST(Slab, KeepsTheLowWaterMarkOfWhatWasFree) {
  Slab slab(0, kMiB);
  EXPECT_EQ(slab.stats().free_low_water, kMiB);
  const auto a = slab.allocate(512 * kKiB, 64);
  const auto b = slab.allocate(256 * kKiB, 64);
  slab.free({*a, 512 * kKiB});
  slab.free({*b, 256 * kKiB});
  EXPECT_EQ(slab.stats().used_bytes, 0u);
  EXPECT_EQ(slab.stats().free_low_water, 256 * kKiB);
}

TEST(Slab, CostsNextToNothingWhileItIsEmpty) {
  const auto resident = [] {
    std::uint64_t total = 0, rss = 0;
    FILE* const file = std::fopen("/proc/self/statm", "r");
    EXPECT_EQ(std::fscanf(file, "%lu %lu", &total, &rss), 2);
    std::fclose(file);
    return rss * 4096;
  };
  const std::uint64_t before = resident();
  Slab slab(0, 64 * kGiB);
  slab.free({slab.allocate(7168, 7168).value(), 7168});
  EXPECT_LT(resident() - before, 2 * kMiB);
}

}  // namespace
}  // namespace sidecar
