#include "core/dedup_window.h"

#include <gtest/gtest.h>

namespace sidecar {
namespace {

using Seen = DedupWindow::Seen;

TEST(DedupWindow, ATransferIsNewOnceThenInProgressThenOver) {
  DedupWindow window;
  EXPECT_EQ(window.seen(1), Seen::kNew);
  window.begin(1);
  EXPECT_EQ(window.seen(1), Seen::kInProgress);
  window.end(1, Errc::kAlreadyExists);
  EXPECT_EQ(window.seen(1), Seen::kOver);
  EXPECT_EQ(window.result(1), Errc::kAlreadyExists);
}

TEST(DedupWindow, WhatWasRefusedMayComeAgain) {
  DedupWindow window;
  window.begin(3);
  window.forget(3);
  EXPECT_EQ(window.seen(3), Seen::kNew);
}

TEST(DedupWindow, ReachesAsFarAsTheTransferWindowAndNoFurther) {
  DedupWindow window;
  EXPECT_EQ(window.seen(kTransferWindow), Seen::kNew);
  EXPECT_EQ(window.seen(kTransferWindow + 1), Seen::kOutside);
  window.settle_below(5);
  EXPECT_EQ(window.seen(kTransferWindow + 4), Seen::kNew);
  EXPECT_EQ(window.seen(kTransferWindow + 5), Seen::kOutside);
}

TEST(DedupWindow, WhatIsSettledIsOverAndMakesRoomForWhatFollows) {
  DedupWindow window;
  for (Sequence s = 1; s <= 10; ++s) {
    window.begin(s);
    window.end(s, Errc::kNoSpace);
  }
  window.settle_below(11);
  for (Sequence s = 1; s <= 10; ++s) {
    EXPECT_EQ(window.seen(s), Seen::kOver);
    EXPECT_EQ(window.result(s), Errc::kOk);
  }
  // Their cells serve these now.
  for (Sequence s = 1; s <= 10; ++s) EXPECT_EQ(window.seen(s + kTransferWindow), Seen::kNew) << s;
}

TEST(DedupWindow, AnEndThatComesAfterItWasSettledChangesNothing) {
  DedupWindow window;
  window.begin(2);
  window.settle_below(10);
  window.end(2, Errc::kIo);
  EXPECT_EQ(window.seen(2 + kTransferWindow), Seen::kNew);
  window.forget(2);
  EXPECT_EQ(window.seen(2), Seen::kOver);
}

TEST(DedupWindow, ALongJumpForgetsEverything) {
  DedupWindow window;
  for (Sequence s = 1; s <= 100; ++s) window.begin(s);
  window.settle_below(10 * std::uint64_t{kTransferWindow});
  for (Sequence s = 0; s < kTransferWindow; ++s) {
    ASSERT_EQ(window.seen(10 * std::uint64_t{kTransferWindow} + s), Seen::kNew);
  }
  window.settle_below(3);  // older news
  EXPECT_EQ(window.seen(3), Seen::kOver);
}

}  // namespace
}  // namespace sidecar
