#include "core/mailbox.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

TEST(Mailbox, RunsEverythingFromFourThreadsOnceAndInEachThreadsOrder) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 10'000;
  TestLoop loop;
  Mailbox mailbox(loop.get(), 1000);  // small, so that posters also meet a full box
  std::array<int, kThreads> next{};   // written by the loop's thread only
  int total = 0;
  bool in_order = true;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPosts; ++i) {
        while (!mailbox.post([&, t, i] {
          in_order = in_order && next[t] == i && loop->on_loop_thread();
          next[t] = i + 1;
          ++total;
        })) {
          std::this_thread::yield();
        }
      }
    });
  }
  EXPECT_TRUE(loop.run_until([&] { return total == kThreads * kPosts; }, 60 * kSecond));
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(in_order);
  EXPECT_EQ(total, kThreads * kPosts);
}

TEST(Mailbox, WakesALoopThatSleeps) {
  // Nothing else wakes this loop: a lost wake-up hangs the test.
  std::promise<std::pair<Loop*, Mailbox*>> ready;
  std::thread thread([&] {
    Loop loop;
    Mailbox mailbox(&loop);
    ready.set_value({&loop, &mailbox});
    loop.run();
  });
  const auto [loop, mailbox] = ready.get_future().get();
  for (int i = 0; i < 2000; ++i) {
    std::promise<int> answer;
    ASSERT_TRUE(mailbox->post([&] { answer.set_value(i); }));
    ASSERT_EQ(answer.get_future().get(), i);
    if (i % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // it is surely asleep now
  }
  ASSERT_TRUE(mailbox->post([loop = loop] { loop->stop(); }));
  thread.join();
}

TEST(Mailbox, RefusesWhenFullAndTakesAgainWhenDrained) {
  TestLoop loop;
  Mailbox mailbox(loop.get(), 3);
  int ran = 0;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(mailbox.post([&] { ++ran; }));
  EXPECT_FALSE(mailbox.post([&] { ran += 100; }));
  loop.run_until_idle();
  EXPECT_EQ(ran, 3);
  EXPECT_TRUE(mailbox.post([&] { ++ran; }));
  loop.run_until_idle();
  EXPECT_EQ(ran, 4);
}

TEST(Mailbox, TheLoopStepsBetweenTwoBatches) {
  TestLoop loop;
  Mailbox mailbox(loop.get(), 100, /*drain_limit=*/8);
  int since_step = 0;
  int longest = 0;
  int ran = 0;
  loop->set_hooks({.on_step =
                       [&] {
                         longest = std::max(longest, since_step);
                         since_step = 0;
                         return false;
                       },
                   .next_deadline = {},
                   .on_timer = {}});
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(mailbox.post([&] {
      ++since_step;
      ++ran;
    }));
  }
  EXPECT_TRUE(loop.run_until([&] { return ran == 100; }));
  loop.run_until_idle();
  EXPECT_EQ(longest, 8);
}

TEST(Mailbox, AFunctionThatPostsItselfDoesNotHoldTheLoop) {
  TestLoop loop;
  Mailbox mailbox(loop.get());
  int ran = 0;
  std::function<void()> again = [&] {
    ++ran;
    ASSERT_TRUE(mailbox.post(again));
  };
  ASSERT_TRUE(mailbox.post(again));
  const std::uint64_t steps = loop->stats().steps;
  EXPECT_TRUE(loop.run_until([&] { return ran >= 50; }));
  EXPECT_GE(loop->stats().steps - steps, 50u) << "one turn a step";
}

// Says where it was destroyed.
struct Trace {
  Loop* loop;
  int* destroyed_on_loop;
  ~Trace() {
    if (loop->on_loop_thread()) ++*destroyed_on_loop;
  }
};

TEST(Mailbox, CloseDestroysWhatWasNotRunOnTheLoopsThread) {
  TestLoop loop;
  Mailbox mailbox(loop.get());
  int destroyed = 0;
  bool ran = false;
  std::thread([&] {
    for (int i = 0; i < 10; ++i) {
      auto trace = std::make_shared<Trace>(loop.get(), &destroyed);
      ASSERT_TRUE(mailbox.post([&ran, trace = std::move(trace)] { ran = true; }));
    }
  }).join();
  EXPECT_EQ(destroyed, 0);
  mailbox.close();
  EXPECT_EQ(destroyed, 10);
  loop.run_until_idle();
  EXPECT_FALSE(ran);
  EXPECT_FALSE(mailbox.post([] {}));
  mailbox.close();  // again: nothing happens
}

TEST(Mailbox, MayBeClosedByAFunctionThatItRuns) {
  TestLoop loop;
  Mailbox mailbox(loop.get());
  int destroyed = 0;
  int ran = 0;
  const auto post = [&](bool close) {
    auto trace = std::make_shared<Trace>(loop.get(), &destroyed);
    ASSERT_TRUE(mailbox.post([&, close, trace = std::move(trace)] {
      ++ran;
      if (close) mailbox.close();
    }));
  };
  post(false);
  post(true);
  post(false);
  post(false);
  loop.run_until_idle();
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(destroyed, 4);
  EXPECT_FALSE(mailbox.post([] {}));
}

TEST(Mailbox, ADestructorMayPostWhileTheBoxCloses) {
  struct Poster {
    Mailbox* mailbox;
    bool* taken;
    ~Poster() {
      *taken = mailbox->post([] {});
    }
  };
  TestLoop loop;
  Mailbox mailbox(loop.get());
  bool taken = true;
  auto poster = std::make_shared<Poster>(&mailbox, &taken);
  ASSERT_TRUE(mailbox.post([poster = std::move(poster)] {}));
  mailbox.close();
  EXPECT_FALSE(taken);
}

TEST(Mailbox, PostersAndCloseMayRace) {
  for (int round = 0; round < 50; ++round) {
    TestLoop loop;
    int ran = 0;
    std::atomic<int> taken{0};
    int destroyed = 0;
    std::vector<std::thread> threads;
    {
      Mailbox mailbox(loop.get());
      std::atomic<bool> go{false};
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
          while (!go) std::this_thread::yield();
          for (int i = 0; i < 200; ++i) {
            auto trace = std::make_shared<Trace>(loop.get(), &destroyed);
            if (!mailbox.post([&ran, trace = std::move(trace)] { ++ran; })) return;
            ++taken;
          }
        });
      }
      go = true;
      for (int i = 0; i < round % 5; ++i) loop->run_once(Wait::kNo);
      mailbox.close();
      for (std::thread& thread : threads) thread.join();
    }
    EXPECT_LE(ran, taken);
    EXPECT_EQ(destroyed, taken) << "every function that was taken ends on the loop's thread, run or not";
  }
}

}  // namespace
}  // namespace sidecar
