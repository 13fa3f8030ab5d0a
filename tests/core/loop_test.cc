#include "core/loop.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/fake_source.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

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
  bool early = false;
  loop->set_hooks(timer(&deadline, [&](TimeNs now) {
    fired = true;
    early = now < deadline;
    deadline = kNever;
  }));
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  bool readable = false;
  ASSERT_TRUE(loop->watch(pipe_fds[0], [&] { readable = true; }));
  ASSERT_EQ(write(pipe_fds[1], "x", 1), 1);
  EXPECT_TRUE(loop.run_until([&] { return fired && readable; }, 5 * kSecond));
  EXPECT_FALSE(early);
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

  deadline = Loop::now_ns() + 200 * kMillisecond;
  loop.run_until_idle();
  deadline = kNever;
  loop->kick();
  EXPECT_FALSE(loop.run_until([&] { return fired == 2; }, 250 * kMillisecond));
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

TEST(PollPolicy, NamesAreParsedAndOthersRefused) {
  for (const PollPolicy policy : {PollPolicy::kEvent, PollPolicy::kAdaptive, PollPolicy::kBusy}) {
    EXPECT_EQ(parse_poll_policy(poll_policy_name(policy)).value(), policy);
  }
  EXPECT_FALSE(parse_poll_policy("sleepy"));
}

}  // namespace
}  // namespace sidecar
