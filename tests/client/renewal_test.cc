// The thread that keeps a registration alive, with a sidecar that the test plays.
#include "client/renewal.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>

namespace sidecar::client_internal {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RenewalTest : public ::testing::Test {
 protected:
  static constexpr InstanceId kFirst = 11;

  // What the sidecar says to the next renewals; fine when nothing is left.
  void renewals_answer(std::initializer_list<Errc> codes) { answers_.assign(codes); }
  // So many registrations fail first.
  void registrations_fail(int count) { failures_ = count; }

  void start(milliseconds lease, bool again = true) {
    Registered first;
    first.leader = 3;
    first.ticket = "first";
    first.lease = lease;
    RegisterInput input;
    input.instance = kFirst;
    RenewalCalls calls;
    calls.enroll = [this, lease](const RegisterInput& asked) -> Expected<Registered> {
      const std::lock_guard lock(mutex_);
      enrolled_.push_back(asked.instance);
      if (failures_ > 0) {
        --failures_;
        return Failure{Errc::kUnavailable, 3, "not there"};
      }
      Registered made;
      made.ticket = "again";
      made.lease = lease;
      return made;
    };
    calls.renew = [this](const Registered& registered, InstanceId instance,
                         const std::vector<InstanceId>& let_go) -> Expected<void> {
      std::unique_lock lock(mutex_);
      let_go_.insert(let_go_.end(), let_go.begin(), let_go.end());
      renewed_.push_back(instance);
      tickets_.push_back(registered.ticket);
      if (blocks_) changed_.wait(lock, [this] { return interrupted_; });
      if (answers_.empty()) return {};
      const Errc code = answers_.front();
      answers_.pop_front();
      if (code == Errc::kOk) return {};
      return Failure{code, 3, "as the test says"};
    };
    calls.unregister = [this](const Registered& registered, InstanceId instance) {
      const std::lock_guard lock(mutex_);
      EXPECT_EQ(registered.ticket, "again");
      unregistered_.push_back(instance);
    };
    calls.interrupt = [this] {
      const std::lock_guard lock(mutex_);
      interrupted_ = true;
      changed_.notify_all();
    };
    renewal_ = std::make_unique<Renewal>(input, first, again, std::move(calls), [this](Renewal::Fresh fresh) {
      const std::lock_guard lock(mutex_);
      fresh_.push_back(fresh.instance);
      EXPECT_EQ(fresh.registered.ticket, "again");
    });
  }
  template <class Condition>
  bool eventually(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + seconds(10);
    while (std::chrono::steady_clock::now() < until) {
      {
        const std::lock_guard lock(mutex_);
        if (condition()) return true;
      }
      std::this_thread::sleep_for(milliseconds(2));
    }
    return false;
  }
  std::size_t count(const std::vector<InstanceId>& of) {
    const std::lock_guard lock(mutex_);
    return of.size();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool blocks_ = false, interrupted_ = false;
  int failures_ = 0;
  std::deque<Errc> answers_;
  std::vector<InstanceId> enrolled_, renewed_, fresh_, let_go_, unregistered_;
  std::vector<std::string> tickets_;
  std::unique_ptr<Renewal> renewal_;
};

TEST_F(RenewalTest, RenewsWhenAThirdOfTheLeaseHasPassed) {
  const auto began = std::chrono::steady_clock::now();
  start(milliseconds(300));
  ASSERT_TRUE(eventually([&] { return renewed_.size() >= 3; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, milliseconds(300));
  EXPECT_EQ(renewed_.front(), kFirst);
  EXPECT_EQ(tickets_.front(), "first");
  EXPECT_EQ(count(enrolled_), 0u);
}

TEST_F(RenewalTest, WhatNeedsNoRenewalIsLeftAlone) {
  start(milliseconds(0));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(count(renewed_), 0u);
}

TEST_F(RenewalTest, ARegistrationThatIsUnknownIsMadeAnewAsAnotherInstance) {
  renewals_answer({Errc::kOk, Errc::kNotFound});
  start(milliseconds(30));
  ASSERT_TRUE(eventually([&] { return fresh_.size() == 1 && renewed_.back() == fresh_[0]; }));
  EXPECT_NE(fresh_[0], kFirst);
  EXPECT_EQ(tickets_.back(), "again");
  EXPECT_EQ(count(enrolled_), 1u);
}

TEST_F(RenewalTest, ARenewalThatFailsIsTriedAgainAndIsNoReasonToRegister) {
  renewals_answer({Errc::kUnavailable, Errc::kUnavailable, Errc::kInternal});
  start(milliseconds(60));
  ASSERT_TRUE(eventually([&] { return renewed_.size() >= 5; }));
  EXPECT_EQ(count(enrolled_), 0u);
}

TEST_F(RenewalTest, AConnectionThatIsLostIsAReasonToRegisterAtOnceHoweverLongTheLease) {
  registrations_fail(2);
  start(seconds(1000));
  renewal_->connection_lost(kFirst, true);
  ASSERT_TRUE(eventually([&] { return fresh_.size() == 1; }));
  EXPECT_EQ(count(enrolled_), 3u);
  EXPECT_NE(enrolled_[0], enrolled_[1]) << "an attempt that is served late must not be taken for a later one";
  EXPECT_EQ(fresh_[0], enrolled_[2]);
}

TEST_F(RenewalTest, TheLossOfAConnectionThatWasReplacedAlreadyChangesNothing) {
  start(seconds(1000));
  renewal_->connection_lost(kFirst, true);
  ASSERT_TRUE(eventually([&] { return fresh_.size() == 1; }));
  renewal_->connection_lost(kFirst, true);
  renewal_->connection_lost(99, true);
  std::this_thread::sleep_for(Renewal::kPause + milliseconds(100));
  EXPECT_EQ(count(enrolled_), 1u);
  renewal_->connection_lost(fresh_[0], true);
  EXPECT_TRUE(eventually([&] { return fresh_.size() == 2; }));
}

TEST_F(RenewalTest, ARegistrationWithoutAConnectionIsGivenBackAndTheNextOneNotTriedAtOnce) {
  start(seconds(1000));
  const auto began = std::chrono::steady_clock::now();
  renewal_->connection_lost(kFirst, true);
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(eventually([&] { return fresh_.size() == i + 1; }));
    EXPECT_EQ(count(unregistered_), i) << "the first had a connection";
    renewal_->connection_lost(fresh_[i], false);
  }
  ASSERT_TRUE(eventually([&] { return fresh_.size() == 4; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, Renewal::kPause * (1 + 2 + 4));
  EXPECT_EQ(unregistered_, std::vector<InstanceId>(fresh_.begin(), fresh_.begin() + 3));
}

TEST_F(RenewalTest, WhoIsToldNotToDoesNotRegisterAgain) {
  renewals_answer({Errc::kNotFound});
  start(milliseconds(30), false);
  ASSERT_TRUE(eventually([&] { return renewed_.size() == 1; }));
  renewal_->connection_lost(kFirst, true);
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(count(enrolled_), 0u);
  EXPECT_EQ(count(renewed_), 1u) << "there is nothing to renew";
}

TEST_F(RenewalTest, WhoMayRegisterAgainLaterDoesSoThen) {
  start(milliseconds(30), false);
  ASSERT_TRUE(eventually([&] { return !renewed_.empty(); }));
  renewal_->connection_lost(kFirst, true);
  renewal_->set_again(true);
  EXPECT_TRUE(eventually([&] { return fresh_.size() == 1; }));
}

TEST_F(RenewalTest, AClientThatIsClosedRenewsButDoesNotRegisterAgain) {
  start(milliseconds(30));
  renewal_->set_again(false);
  const std::size_t before = count(renewed_);
  ASSERT_TRUE(eventually([&] { return renewed_.size() > before + 1; }));
  renewal_->connection_lost(kFirst, true);
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(count(enrolled_), 0u);
}

TEST_F(RenewalTest, WhatIsLetGoIsToldUntilOneRenewalHasTakenIt) {
  renewals_answer({Errc::kUnavailable});
  start(milliseconds(60));
  renewal_->let_go(7);
  renewal_->let_go(8);
  ASSERT_TRUE(eventually([&] { return renewed_.size() >= 4; }));
  EXPECT_EQ(let_go_, (std::vector<InstanceId>{7, 8, 7, 8})) << "the first renewal failed";
}

TEST_F(RenewalTest, EndsThoughTheSidecarDoesNotAnswer) {
  blocks_ = true;
  start(milliseconds(30));
  ASSERT_TRUE(eventually([&] { return !renewed_.empty(); }));
  const auto began = std::chrono::steady_clock::now();
  renewal_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(2));
}

}  // namespace
}  // namespace sidecar::client_internal
