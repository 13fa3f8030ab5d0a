#include "core/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

// Work is a counter in an eventfd, as a UCX worker's is in its queues: any thread adds, progress() takes.
class Counter : public EventSource {
 public:
  Counter() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { CHECK(fd_ >= 0); }
  ~Counter() override { close(fd_); }
  void add(std::uint64_t count) { CHECK(write(fd_, &count, sizeof(count)) == sizeof(count)); }

  int fd() override { return fd_; }
  bool progress(int) override {
    ++progressed;
    std::uint64_t count = 0;
    if (read(fd_, &count, sizeof(count)) != sizeof(count)) return false;
    taken += count;
    return true;
  }
  bool arm() override {
    ++armed;
    return true;
  }

  std::uint64_t taken = 0;
  int progressed = 0;
  int armed = 0;

 private:
  int fd_;
};

// Its descriptor never says anything: work is found by progress() and arm() alone.
class Silent : public Counter {
 public:
  bool progress(int budget) override {
    ++progressed;
    seen_budget = budget;
    if (work == 0) return false;
    --work;
    ++done;
    return true;
  }
  bool arm() override {
    ++armed;
    if (arrives_before_arm > 0) {
      --arrives_before_arm;
      ++work;
      return false;
    }
    return true;
  }
  int work = 0;
  int done = 0;
  int arrives_before_arm = 0;
  int seen_budget = 0;
};

LoopHooks on_step(std::function<bool()> step) {
  return {.on_step = std::move(step), .next_deadline = {}, .on_timer = {}};
}

LoopHooks timer(TimeNs* deadline, std::function<void(TimeNs)> fired) {
  return {.on_step = {}, .next_deadline = [deadline] { return *deadline; }, .on_timer = std::move(fired)};
}

TEST(Loop, WorkThatComesBetweenProgressAndArmIsNotMissed) {
  TestLoop loop;
  Silent source;
  loop->add_source(&source);
  source.arrives_before_arm = 3;
  loop->run_once(Wait::kNo);
  while (loop->backend_timeout_ms() == 0) loop->run_once(Wait::kNo);
  EXPECT_EQ(source.done, 3);
  EXPECT_EQ(source.armed, 4) << "three refused, one accepted";
  EXPECT_EQ(source.seen_budget, 64);
  loop->remove_source(&source);
}

TEST(Loop, NoWakeUpIsLostWhileAnotherThreadAddsWork) {
  constexpr std::uint64_t kEvents = 20'000;
  for (const PollPolicy policy : {PollPolicy::kEvent, PollPolicy::kAdaptive}) {
    Counter source;
    std::thread producer;
    Loop loop({.policy = policy});
    loop.add_source(&source);
    loop.set_hooks(on_step([&] {
      if (source.taken == kEvents) loop.stop();
      return false;
    }));
    producer = std::thread([&] {
      for (std::uint64_t i = 0; i < kEvents; ++i) {
        source.add(1);
        if (i % 7 == 0) std::this_thread::yield();
        if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    loop.run();  // hangs when a wake-up is lost
    producer.join();
    EXPECT_EQ(source.taken, kEvents);
    loop.remove_source(&source);
  }
}

TEST(Loop, AStepProgressesThenRunsDeferredWorkThenArms) {
  struct Recorder : Counter {
    std::string* log;
    bool progress(int budget) override {
      log->push_back('p');
      return Counter::progress(budget);
    }
    bool arm() override {
      log->push_back('a');
      return true;
    }
  };
  std::string log;
  Recorder source;
  source.log = &log;
  TestLoop loop;
  loop->add_source(&source);
  loop->set_hooks(on_step([&] {
    log.push_back('s');
    return false;
  }));
  loop.run_until_idle();
  EXPECT_EQ(log, "psa");
  log.clear();
  source.add(1);
  EXPECT_TRUE(loop.run_until([&] { return source.taken == 1; }));
  loop.run_until_idle();
  EXPECT_EQ(log.substr(0, 4), "psps") << "after work it looks again before it sleeps";
  EXPECT_EQ(log.back(), 'a');
  loop->remove_source(&source);
}

TEST(Loop, SeveralSourcesAreServedEvenly) {
  TestLoop loop;
  Silent a;
  Silent b;
  loop->add_source(&a);
  loop->add_source(&b);
  a.work = 1'000'000;  // a is never done
  b.work = 50;
  EXPECT_TRUE(loop.run_until([&] { return b.work == 0; }));
  EXPECT_LT(a.done, 100);
  loop->remove_source(&a);
  loop->remove_source(&b);
}

TEST(Loop, EndlessWorkDoesNotStarveTimersAndDescriptors) {
  TestLoop loop;
  Silent greedy;
  greedy.work = 1 << 30;
  loop->add_source(&greedy);
  TimeNs deadline = Loop::now_ns() + 5 * kMillisecond;
  bool fired = false;
  loop->set_hooks(timer(&deadline, [&](TimeNs) {
    fired = true;
    deadline = kNever;
  }));
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  bool readable = false;
  ASSERT_TRUE(loop->watch(pipe_fds[0], [&] { readable = true; }));
  ASSERT_EQ(write(pipe_fds[1], "x", 1), 1);
  EXPECT_TRUE(loop.run_until([&] { return fired && readable; }, 5 * kSecond));
  loop->remove_source(&greedy);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
}

TEST(Loop, AnIdleLoopSleeps) {
  for (const PollPolicy policy : {PollPolicy::kEvent, PollPolicy::kAdaptive}) {
    Loop loop({.policy = policy});
    Counter source;
    loop.add_source(&source);
    TimeNs deadline = Loop::now_ns() + 20 * kMillisecond;
    std::uint64_t steps_before = 0;
    loop.set_hooks(timer(&deadline, [&](TimeNs now) {
      if (steps_before == 0) {
        steps_before = loop.stats().steps;
        deadline = now + kSecond;
      } else {
        loop.stop();
        deadline = kNever;
      }
    }));
    loop.run();
    // One to spin out, one to sleep, one or two because uv's timers may be up to 1 ms early.
    const std::uint64_t steps = loop.stats().steps - steps_before;
    EXPECT_LE(steps, policy == PollPolicy::kEvent ? 4u : 60u) << poll_policy_name(policy);
    EXPECT_GE(loop.stats().asleep_ns, 900 * kMillisecond);
    loop.remove_source(&source);
  }
}

TEST(Loop, TheTimerFiresOnceAtItsDeadlineAndNeverBefore) {
  TestLoop loop;
  const TimeNs start = Loop::now_ns();
  TimeNs deadline = start + 30 * kMillisecond + 1;
  std::vector<TimeNs> fired;
  loop->set_hooks(timer(&deadline, [&](TimeNs now) {
    fired.push_back(now);
    deadline = fired.size() < 3 ? now + 5 * kMillisecond : kNever;
  }));
  EXPECT_TRUE(loop.run_until([&] { return fired.size() == 3; }));
  loop.run_until_idle();
  ASSERT_EQ(fired.size(), 3u);
  EXPECT_GT(fired[0] - start, 30 * kMillisecond);
  EXPECT_GE(fired[1] - fired[0], 5 * kMillisecond);
  EXPECT_EQ(loop->backend_timeout_ms(), -1) << "nothing is due any more";
}

TEST(Loop, AnEarlierDeadlineReplacesALaterOneAndADroppedOneDoesNotFire) {
  TestLoop loop;
  TimeNs deadline = Loop::now_ns() + 3600 * kSecond;
  int fired = 0;
  loop->set_hooks(timer(&deadline, [&](TimeNs) {
    ++fired;
    deadline = kNever;
  }));
  loop.run_until_idle();
  EXPECT_GT(loop->backend_timeout_ms(), 1'000'000);
  deadline = Loop::now_ns() + 5 * kMillisecond;
  loop->kick();
  EXPECT_TRUE(loop.run_until([&] { return fired == 1; }, 2 * kSecond));

  deadline = Loop::now_ns() + 5 * kMillisecond;
  loop.run_until_idle();
  deadline = kNever;
  loop->kick();
  EXPECT_FALSE(loop.run_until([&] { return fired == 2; }, 30 * kMillisecond));
}

TEST(Loop, RunOnceDoesNotSleepAfterAStepThatDidSomething) {
  Loop loop;
  Silent source;
  loop.add_source(&source);
  source.work = 1;
  const TimeNs start = Loop::now_ns();
  loop.run_once(Wait::kYes);  // would sleep for ever
  EXPECT_EQ(source.done, 1);
  TimeNs deadline = Loop::now_ns() + 30 * kMillisecond;
  bool fired = false;
  loop.set_hooks(timer(&deadline, [&](TimeNs) {
    fired = true;
    deadline = kNever;
  }));
  while (!fired) loop.run_once(Wait::kYes);
  EXPECT_GE(Loop::now_ns() - start, 30 * kMillisecond) << "and it does sleep when there is nothing";
  EXPECT_LT(loop.stats().steps, 10u);
  loop.remove_source(&source);
}

TEST(Loop, ACallerWithItsOwnPollLoopIsWokenThroughTheBackendDescriptor) {
  TestLoop loop;
  Counter source;
  loop->add_source(&source);
  loop.run_until_idle();
  EXPECT_EQ(loop->backend_timeout_ms(), -1);
  pollfd fd{loop->backend_fd(), POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 0), 0);
  source.add(5);
  EXPECT_EQ(poll(&fd, 1, 1000), 1);
  loop.run_until_idle();
  EXPECT_EQ(source.taken, 5u);
  loop->kick();
  EXPECT_EQ(loop->backend_timeout_ms(), 0) << "deferred work needs a step before the next sleep";
  loop->remove_source(&source);
}

TEST(Loop, AdaptiveSpinsForItsTimeAfterWorkBeforeItArms) {
  Silent source;
  TestLoop loop({.policy = PollPolicy::kAdaptive, .spin_ns = 20 * kMillisecond});
  loop->add_source(&source);
  source.work = 1;
  const TimeNs start = Loop::now_ns();
  EXPECT_TRUE(loop.run_until([&] { return source.armed > 0; }));
  EXPECT_GE(Loop::now_ns() - start, 20 * kMillisecond);
  EXPECT_GT(source.progressed, 100) << "it looked all the time";
  loop->remove_source(&source);
}

TEST(Loop, BusyNeverArms) {
  Silent source;
  TestLoop loop({.policy = PollPolicy::kBusy});
  loop->add_source(&source);
  for (int i = 0; i < 1000; ++i) {
    loop->run_once(Wait::kYes);
    ASSERT_EQ(loop->backend_timeout_ms(), 0);
  }
  EXPECT_EQ(source.armed, 0);
  EXPECT_GT(source.progressed, 1000);
  loop->remove_source(&source);
}

TEST(Loop, ASourceThatWasRemovedIsNotAskedAgain) {
  TestLoop loop;
  Counter source;
  loop->add_source(&source);
  loop.run_until_idle();
  loop->remove_source(&source);
  const int progressed = source.progressed;
  source.add(1);
  loop.run_until_idle();
  EXPECT_EQ(source.progressed, progressed);
}

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
  loop.reset_longest_step();
  EXPECT_EQ(loop.stats().longest_step_ns, 0u);
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

TEST(PollPolicy, NamesAreParsedAndOthersRefused) {
  for (const PollPolicy policy : {PollPolicy::kEvent, PollPolicy::kAdaptive, PollPolicy::kBusy}) {
    EXPECT_EQ(parse_poll_policy(poll_policy_name(policy)).value(), policy);
  }
  EXPECT_FALSE(parse_poll_policy("sleepy"));
}

}  // namespace
}  // namespace sidecar
