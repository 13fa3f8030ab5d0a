// Descriptors, signals, figures, threads and the end of a loop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "core/loop.h"
#include "core/yield_policy.h"
#include "tests/support/fake_source.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

TEST(Loop, WatchFiresOnceAndMayBeTakenBack) {
  TestLoop loop;
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  int fired = 0;
  ASSERT_TRUE(loop->watch(pipe_fds[0], [&] { ++fired; }));
  EXPECT_FALSE(loop.run_until([&] { return fired > 0; }, 10 * kMillisecond));
  ASSERT_EQ(write(pipe_fds[1], "x", 1), 1);
  EXPECT_TRUE(loop.run_until([&] { return fired > 0; }));
  loop.run_until_idle();
  EXPECT_EQ(fired, 1) << "still readable, but it was one shot";

  const auto again = loop->watch(pipe_fds[0], [&] { ++fired; });
  ASSERT_TRUE(again);
  loop->unwatch(*again);
  loop->unwatch(*again);
  loop.run_until_idle();
  EXPECT_EQ(fired, 1);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST(Loop, WatchMayCloseItsDescriptorAndWatchAnother) {
  TestLoop loop;
  int a = eventfd(1, EFD_CLOEXEC);
  int b = eventfd(1, EFD_CLOEXEC);
  bool second = false;
  ASSERT_TRUE(loop->watch(a, [&] {
    close(a);
    EXPECT_TRUE(loop->watch(b, [&] { second = true; }));
  }));
  EXPECT_TRUE(loop.run_until([&] { return second; }));
  close(b);
}

TEST(Loop, WatchTellsWhenAProcessHasEnded) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
  ASSERT_GE(pidfd, 0);
  TestLoop loop;
  bool gone = false;
  ASSERT_TRUE(loop->watch(pidfd, [&] { gone = true; }));
  EXPECT_FALSE(loop.run_until([&] { return gone; }, 20 * kMillisecond));
  kill(child, SIGKILL);
  EXPECT_TRUE(loop.run_until([&] { return gone; }));
  close(pidfd);
  waitpid(child, nullptr, 0);
}

TEST(Loop, WatchRefusesWhatCannotBePolled) {
  TestLoop loop;
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  const auto watched = loop->watch(file, [] {});
  ASSERT_FALSE(watched);
  EXPECT_EQ(watched.error().code, Errc::kIo);
  close(file);
  loop.run_until_idle();
}

TEST(Loop, SignalsArriveAsCallbacks) {
  TestLoop loop;
  std::vector<int> got;
  loop->on_signals({SIGTERM, SIGINT}, [&](int number) { got.push_back(number); });
  raise(SIGTERM);
  EXPECT_TRUE(loop.run_until([&] { return got.size() == 1; }));
  raise(SIGINT);
  EXPECT_TRUE(loop.run_until([&] { return got.size() == 2; }));
  EXPECT_EQ(got, (std::vector<int>{SIGTERM, SIGINT}));
}

TEST(Loop, StatsShowTheLongestStepAndTheTimeAsleep) {
  TimeNs deadline = Loop::now_ns() + 50 * kMillisecond;
  Loop loop;
  bool slow = true;
  loop.set_hooks({.on_step =
                      [&] {
                        if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
                        slow = false;
                        return false;
                      },
                  .next_deadline = [&] { return deadline; },
                  .on_timer = [&](TimeNs) { loop.stop(), deadline = kNever; }});
  loop.run();
  EXPECT_GE(loop.stats().longest_step_ns, 20 * kMillisecond);
  EXPECT_GE(loop.stats().asleep_ns, 15 * kMillisecond);
  EXPECT_EQ(loop.stats().longest_step_cpu_ns, 0u) << "nobody asked for it";
  loop.reset_longest_step();
  EXPECT_EQ(loop.stats().longest_step_ns, 0u);
}

TEST(Loop, LetsOthersHaveTheCoreOnceAfterWorkAndNotWhenThereWasNone) {
  TestLoop loop;
  Counter source;
  loop->add_source(&source);
  loop.run_until_idle();
  EXPECT_EQ(loop->stats().yields, 0u);
  source.add(3);
  loop.run_until_idle();
  EXPECT_EQ(loop->stats().yields, 1u);
  loop.run_until_idle();
  EXPECT_EQ(loop->stats().yields, 1u);
  loop->remove_source(&source);
}

// What a thread that computes takes when it is given the core.
TEST(YieldPolicy, DoesWithoutEverLongerWhereTheCoreIsKept) {
  constexpr TimeNs kTurn = 4 * kMillisecond;
  YieldPolicy policy;
  TimeNs now = 0;
  std::uint64_t yields = 0;
  for (; now < 20 * kSecond; now += 100'000) {
    if (!policy.wants(now, 50'000)) continue;
    ++yields;
    policy.took(now, now + kTurn);
    now += kTurn;
  }
  EXPECT_GE(yields, 10u) << "now and then it tries again";
  EXPECT_LE(yields, 20u);
  // Nobody else is there any more.
  now += 2 * kSecond;
  ASSERT_TRUE(policy.wants(now, 50'000));
  for (int i = 0; i < 20; ++i) {
    policy.took(now, now + 1'000);
    EXPECT_TRUE(policy.wants(now, 50'000));
  }
  policy.took(now, now + kTurn);
  EXPECT_TRUE(policy.wants(now + kTurn + 30 * kMillisecond, 50'000))
      << "one long turn is soon forgiven again";
}

TEST(YieldPolicy, NotAfterLongWork) {
  const YieldPolicy policy;
  EXPECT_TRUE(policy.wants(kSecond, 100'000));
  EXPECT_FALSE(policy.wants(kSecond, 5 * kMillisecond));
}

TEST(Loop, ALongStepThatWorkedIsToldFromOneThatWasOffTheCore) {
  Loop loop;
  const auto step_of = [&](std::function<void()> work) {
    bool over = false;
    loop.set_hooks(on_step([&] {
      if (!over) work();
      over = true;
      return false;
    }));
    loop.reset_longest_step();
    loop.run_once(Wait::kNo);
    return loop.stats();
  };
  const LoopStats off = step_of([] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
  EXPECT_GE(off.longest_step_ns, 20 * kMillisecond);
  EXPECT_LT(off.longest_step_cpu_ns, 10 * kMillisecond);
  const LoopStats at_work = step_of([] {
    timespec now{};
    const auto cpu_ms = [&] {
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
      return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
    };
    for (const auto until = cpu_ms() + 20; cpu_ms() < until;) {
    }
  });
  EXPECT_GE(at_work.longest_step_cpu_ns, 19 * kMillisecond);
}

TEST(Loop, AStepOfLongPassesEndsSoonAlthoughThereIsMoreWork) {
  Loop loop;
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  ASSERT_EQ(write(pipe_fds[1], "x", 1), 1);
  ASSERT_TRUE(loop.watch(pipe_fds[0], [&] { loop.stop(); }));
  int passes = 0;
  loop.set_hooks(on_step([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return ++passes < 100;
  }));
  loop.run();
  EXPECT_LE(passes, 2) << "while the descriptor was readable";
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST(Loop, TheThreadThatRunsItIsTheLoopsThread) {
  Loop loop;
  EXPECT_TRUE(loop.on_loop_thread());
  CHECK_ON_LOOP(loop);
  bool inside = false;
  loop.set_hooks(on_step([&] {
    inside = loop.on_loop_thread();
    loop.stop();
    return false;
  }));
  std::thread([&] { loop.run(); }).join();
  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop.on_loop_thread());
}

TEST(Loop, EndsCleanlyWithEverythingStillOpen) {
  Counter source;
  const int fd = eventfd(1, EFD_CLOEXEC);
  {
    TimeNs deadline = Loop::now_ns() + kSecond;
    Loop loop;
    loop.add_source(&source);
    loop.on_signals({SIGTERM}, [](int) {});
    ASSERT_TRUE(loop.watch(fd, [] {}));
    loop.set_hooks(timer(&deadline, [](TimeNs) {}));
    loop.run_once(Wait::kNo);
    raise(SIGTERM);
  }
  signal(SIGTERM, SIG_DFL);
  close(fd);
}

}  // namespace
}  // namespace sidecar
