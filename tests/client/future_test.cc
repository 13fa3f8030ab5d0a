#include "sidecar/future.h"

#include <gtest/gtest.h>

#include <thread>

namespace sidecar {
namespace {

using StatePtr = std::shared_ptr<detail::State<int>>;

class FakeDriver final : public detail::Driver {
 public:
  bool may_wait() const override { return may_wait_; }
  bool driven_by_caller() const override { return by_caller_; }
  void drive(std::chrono::nanoseconds wait_max) override {
    ++driven_;
    last_wait_ = wait_max;
    if (on_drive_) on_drive_();
  }
  void cancel(std::uint64_t request) override { cancelled_ = request; }

  bool may_wait_ = true;
  bool by_caller_ = false;
  int driven_ = 0;
  std::chrono::nanoseconds last_wait_{0};
  std::uint64_t cancelled_ = 0;
  std::function<void()> on_drive_;
};

struct Fixture {
  std::shared_ptr<FakeDriver> driver = std::make_shared<FakeDriver>();
  StatePtr state = std::make_shared<detail::State<int>>(driver, 42);
  Future<int> future{state};
};

TEST(Future, GivesItsResultOnce) {
  Fixture f;
  EXPECT_FALSE(f.future.ready());
  f.state->set(7);
  EXPECT_TRUE(f.future.ready());
  EXPECT_EQ(*f.future.get(), 7);
  EXPECT_FALSE(f.future.valid());
}

TEST(Future, WaitsForAnotherThread) {
  Fixture f;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    f.state->set(Failure{Errc::kTimeout, 2, "late"});
  });
  const Expected<int> result = f.future.get();
  other.join();
  EXPECT_EQ(result.code(), Errc::kTimeout);
  EXPECT_EQ(result.error().rank, 2);
}

TEST(Future, ABoundedWaitEndsAndTheCallGoesOn) {
  Fixture f;
  EXPECT_FALSE(f.future.wait(std::chrono::milliseconds(1)));
  f.state->set(1);
  EXPECT_TRUE(f.future.wait(std::chrono::milliseconds(1)));
}

TEST(Future, WaitingDrivesTheLoopWhenTheCallerIsToDoThat) {
  Fixture f;
  f.driver->by_caller_ = true;
  f.driver->on_drive_ = [&] {
    if (f.driver->driven_ == 3) f.state->set(9);
  };
  EXPECT_EQ(*f.future.get(), 9);
  EXPECT_EQ(f.driver->driven_, 3);
  EXPECT_EQ(f.driver->last_wait_, kForever);
}

TEST(Future, ABoundedWaitDrivesForNoLonger) {
  Fixture f;
  f.driver->by_caller_ = true;
  f.driver->on_drive_ = [&] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
  EXPECT_FALSE(f.future.wait(std::chrono::milliseconds(5)));
  EXPECT_LE(f.driver->driven_, 4);
  EXPECT_LE(f.driver->last_wait_, std::chrono::milliseconds(5));
}

TEST(Future, WaitingInsideACallbackFailsInsteadOfHanging) {
  Fixture f;
  f.driver->may_wait_ = false;
  EXPECT_FALSE(f.future.wait());
  EXPECT_EQ(f.future.get().code(), Errc::kInvalidArgument);
}

TEST(Future, CallsBackWhenTheResultComes) {
  Fixture f;
  int seen = 0;
  f.future.then([&](Expected<int> result) { seen = *result; });
  EXPECT_EQ(seen, 0);
  f.state->set(5);
  EXPECT_EQ(seen, 5);
}

TEST(Future, CallsBackAtOnceWhenTheResultIsThere) {
  Fixture f;
  f.state->set(5);
  int seen = 0;
  f.future.then([&](Expected<int> result) { seen = *result; });
  EXPECT_EQ(seen, 5);
}

TEST(Future, CancelNamesTheCallAndDoesNothingOnceItIsOver) {
  Fixture f;
  f.future.cancel();
  EXPECT_EQ(f.driver->cancelled_, 42u);
  f.driver->cancelled_ = 0;
  f.state->set(1);
  f.future.cancel();
  EXPECT_EQ(f.driver->cancelled_, 0u);
}

TEST(Future, CanBeCancelledAfterItWasGivenACallbackAndNotAfterItsResultWasTaken) {
  Fixture f;
  f.future.then([](Expected<int>) {});
  EXPECT_FALSE(f.future.valid());
  f.future.cancel();
  EXPECT_EQ(f.driver->cancelled_, 42u);
  Fixture taken;
  taken.state->set(1);
  EXPECT_TRUE(taken.future.get());
  taken.future.cancel();
  EXPECT_EQ(taken.driver->cancelled_, 0u);
}

TEST(Future, NothingIsWaitedForInACallbackAlsoWhenTheClientIsGone) {
  Fixture f;
  Fixture other;
  bool waited = true;
  f.future.then([&](Expected<int>) { waited = other.future.wait(); });
  f.driver = nullptr;
  other.driver = nullptr;
  f.state->set(1);
  EXPECT_FALSE(waited);
}

TEST(Future, CancelAfterTheClientIsGoneIsHarmless) {
  Fixture f;
  f.driver = nullptr;
  f.future.cancel();
  EXPECT_FALSE(f.future.ready());
}

TEST(Expected, HoldsAValueOrTheReason) {
  const Expected<std::string> good = std::string("x");
  EXPECT_TRUE(good);
  EXPECT_EQ(good.code(), Errc::kOk);
  EXPECT_EQ(*good, "x");
  const Expected<std::string> bad = Failure{Errc::kNoSpace, 1, "full"};
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.code(), Errc::kNoSpace);
  EXPECT_TRUE(Expected<void>{});
  EXPECT_EQ(Expected<void>(Failure{Errc::kIo}).code(), Errc::kIo);
}

TEST(Failure, AsTextNamesCodeRankAndTheRanksThatFailed) {
  Failure failure{Errc::kPeerLost, 3, "gone"};
  failure.failed = {{3, Errc::kPeerLost}, {5, Errc::kTimeout}};
  EXPECT_EQ(to_string(failure), "PeerLost: gone (rank 3), rank 3 PeerLost, rank 5 Timeout");
  EXPECT_EQ(to_string(Failure{Errc::kTimeout}), "Timeout");
}

}  // namespace
}  // namespace sidecar
