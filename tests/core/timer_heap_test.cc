#include "core/timer_heap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>

namespace sidecar {
namespace {

TEST(TimerHeap, NothingIsDueWhenNothingIsSet) {
  TimerHeap heap;
  EXPECT_EQ(heap.next(), kNever);
  EXPECT_EQ(heap.pop_due(kNever), nullptr);
}

TEST(TimerHeap, GivesTheEarliestFirstAndNoneBeforeItsTime) {
  TimerHeap heap;
  TimerNode a, b, c;
  heap.set(a, 30);
  heap.set(b, 10);
  heap.set(c, 20);
  EXPECT_EQ(heap.next(), 10u);
  EXPECT_EQ(heap.pop_due(9), nullptr);
  EXPECT_EQ(heap.pop_due(20), &b);
  EXPECT_EQ(heap.pop_due(20), &c);
  EXPECT_EQ(heap.pop_due(29), nullptr);
  EXPECT_EQ(heap.pop_due(30), &a);
  EXPECT_FALSE(a.set());
}

TEST(TimerHeap, SettingAgainMovesATimerEitherWay) {
  TimerHeap heap;
  TimerNode a, b;
  heap.set(a, 30);
  heap.set(b, 20);
  heap.set(a, 10);
  EXPECT_EQ(heap.next(), 10u);
  heap.set(a, 40);
  EXPECT_EQ(heap.next(), 20u);
  heap.cancel(a);
  heap.cancel(b);
}

TEST(TimerHeap, NeverMeansNotSetAndCancellingTwiceIsFine) {
  TimerHeap heap;
  TimerNode a;
  heap.set(a, 5);
  heap.set(a, kNever);
  EXPECT_FALSE(a.set());
  heap.cancel(a);
  EXPECT_EQ(heap.next(), kNever);
}

TEST(TimerHeap, AgreesWithAModel) {
  std::mt19937 random(3);
  TimerHeap heap;
  std::array<TimerNode, 60> nodes;
  std::array<std::optional<TimeNs>, 60> model;
  TimeNs now = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t at = random() % nodes.size();
    if (random() % 3 == 0) {
      heap.cancel(nodes[at]);
      model[at].reset();
    } else {
      const TimeNs due = now + random() % 100;
      heap.set(nodes[at], due);
      model[at] = due;
    }
    if (random() % 10 == 0) now += random() % 40;
    while (TimerNode* node = heap.pop_due(now)) {
      const auto index = static_cast<std::size_t>(node - nodes.data());
      ASSERT_TRUE(model[index] && *model[index] <= now);
      model[index].reset();
    }
    TimeNs least = kNever;
    for (const auto& due : model) least = std::min(least, due.value_or(kNever));
    ASSERT_EQ(heap.next(), least);
  }
  for (TimerNode& node : nodes) heap.cancel(node);
}

TEST(TimerHeapDeathTest, ATimerMustNotDieWhileItIsSet) {
  EXPECT_DEATH(
      {
        TimerHeap heap;
        TimerNode node;
        heap.set(node, 1);
      },
      "CHECK");
}

}  // namespace
}  // namespace sidecar
