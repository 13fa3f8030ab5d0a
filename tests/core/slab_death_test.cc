// What the slab must not let pass: frees of what is not there, and writes behind a chunk's end.
#include <gtest/gtest.h>

#include <vector>

#include "core/guard.h"
#include "core/slab.h"

namespace sidecar {
namespace {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

TEST(SlabDeathTest, CatchesADoubleFree) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const std::uint64_t bytes : {640ull, 8 * kMiB + 0ull}) {  // in an extent, and with pages of its own
    Slab slab(0, 64 * kMiB);
    const auto keep = slab.allocate(bytes, 64);
    const auto offset = slab.allocate(bytes, 64);
    ASSERT_TRUE(keep && offset);
    slab.free({*offset, bytes});
    EXPECT_DEATH(slab.free({*offset, bytes}), "CHECK failed");
    slab.free({*keep, bytes});
    EXPECT_DEATH(slab.free({*keep, bytes}), "CHECK failed");
  }
}

TEST(SlabDeathTest, CatchesAForeignOffset) {
  Slab slab(kMiB, kMiB);
  ASSERT_TRUE(slab.allocate(640, 64));
  EXPECT_DEATH(slab.free({0, 640}), "CHECK failed");
  EXPECT_DEATH(slab.free({2 * kMiB, 640}), "CHECK failed");
  EXPECT_DEATH(slab.free({kMiB + 500 * kKiB, 640}), "CHECK failed") << "inside, but never handed out";
}

TEST(SlabDeathTest, CatchesAnOffsetThatIsNoRunsStart) {
  Slab slab(0, 64 * kMiB);
  const auto slots = slab.allocate(6400, 64);
  const auto pages = slab.allocate(8 * kMiB, 64);
  const auto many = slab.allocate(64 * 400, 64);
  ASSERT_TRUE(slots && pages && many);
  EXPECT_DEATH(slab.free({*slots + 1, 6400}), "CHECK failed");
  EXPECT_DEATH(slab.free({*slots + 64, 6400}), "CHECK failed");
  EXPECT_DEATH(slab.free({*slots + 64, 6336}), "CHECK failed");
  EXPECT_DEATH(slab.free({*slots + 6400 - 64, 64}), "CHECK failed");
  EXPECT_DEATH(slab.free({*pages + 64, 64}), "CHECK failed");
  EXPECT_DEATH(slab.free({*pages + 4 * kMiB, 64}), "CHECK failed");
  EXPECT_DEATH(slab.free({*many + 64, 64 * 399}), "CHECK failed");
  EXPECT_DEATH(slab.free({*many + 64 * 399, 64}), "CHECK failed");
  EXPECT_DEATH(static_cast<void>(slab.taken_bytes(*slots + 64)), "CHECK failed");
}

TEST(SlabDeathTest, CatchesAnotherSizeThanWasAllocated) {
  Slab slab(0, 64 * kMiB);
  const auto few = slab.allocate(640, 64);
  const auto many = slab.allocate(64 * 400, 64);
  const auto pages = slab.allocate(8 * kMiB, 64);
  ASSERT_TRUE(few && many && pages);
  EXPECT_DEATH(slab.free({*few, 576}), "CHECK failed");
  EXPECT_DEATH(slab.free({*few, 641}), "CHECK failed");
  EXPECT_DEATH(slab.free({*few, ~0ull}), "CHECK failed");
  EXPECT_DEATH(slab.free({*many, 64 * 399}), "CHECK failed");
  EXPECT_DEATH(slab.free({*many, 64 * 401}), "CHECK failed");
  EXPECT_DEATH(slab.free({*pages, 8 * kMiB + 1}), "CHECK failed");
}

TEST(SlabDeathTest, GuardCatchesWritesBehindAChunk) {
  if (!kGuardOn) GTEST_SKIP() << "the guard is for debug builds";
  std::vector<std::byte> run(256);
  fill_guard(run.data(), 100, 256);
  check_guard(run.data(), 100, 256);
  run[99] = std::byte{1};
  check_guard(run.data(), 100, 256);
  run[100] = std::byte{1};
  EXPECT_DEATH(check_guard(run.data(), 100, 256), "CHECK failed");
}

}  // namespace
}  // namespace sidecar
