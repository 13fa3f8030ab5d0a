// SOAK_SEEDS=5000 soaks for longer, SOAK_FROM=n starts elsewhere, SOAK_SEED=n replays one.
#include "tests/contract_sim/soak.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace sidecar::sim {
namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void soak(bool gentle, std::uint64_t first) {
  std::uint64_t from = first + setting("SOAK_FROM", 0);
  std::uint64_t count = setting("SOAK_SEEDS", 200) / 8;
  if (std::getenv("SOAK_SEED") != nullptr) {
    from = setting("SOAK_SEED", 0);
    count = 1;
  }
  for (std::uint64_t seed = from; seed < from + count; ++seed) {
    SCOPED_TRACE("SOAK_SEED=" + std::to_string(seed));
    Soak(seed, gentle).run();
    if (::testing::Test::HasFailure()) return;
  }
}

// Several tests, so that several processors can share the work.
TEST(SoakGentle, NothingIsLostWhileNobodyIsAwayForLong1) { soak(true, 1'000'000); }
TEST(SoakGentle, NothingIsLostWhileNobodyIsAwayForLong2) { soak(true, 2'000'000); }
TEST(SoakGentle, NothingIsLostWhileNobodyIsAwayForLong3) { soak(true, 3'000'000); }
TEST(SoakGentle, NothingIsLostWhileNobodyIsAwayForLong4) { soak(true, 4'000'000); }
TEST(SoakHarsh, WhateverDiesTheRestEndsWellOrWithTheRightError1) { soak(false, 5'000'000); }
TEST(SoakHarsh, WhateverDiesTheRestEndsWellOrWithTheRightError2) { soak(false, 6'000'000); }
TEST(SoakHarsh, WhateverDiesTheRestEndsWellOrWithTheRightError3) { soak(false, 7'000'000); }
TEST(SoakHarsh, WhateverDiesTheRestEndsWellOrWithTheRightError4) { soak(false, 8'000'000); }

}  // namespace
}  // namespace sidecar::sim
