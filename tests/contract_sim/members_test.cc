// What the membership says of other ranks, and what the engine makes of it (rule 8).
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

class Membership : public Faults {
 protected:
  void tell_gone(Rank at, Rank gone, InstanceId instance) {
    sidecar(at).set_member(gone, false);
    sidecar(at).engine().member_gone(gone, instance);
    sidecar(at).touch();
  }
  void tell_joined(Rank at, Rank joined) {
    sidecar(at).set_member(joined, true);
    sidecar(at).engine().member_joined(joined, sidecar(joined).instance());
    sidecar(at).touch();
  }
};

TEST_F(Membership, ARankThatIsNotKnownIsRefusedAndWorksOnceItHasJoined) {
  sidecar(0).set_member(5, false);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({5}))), IsError(Errc::kInvalidArgument));
  add(5, "f");
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({5}))), IsError(Errc::kInvalidArgument));
  tell_joined(0, 5);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({5}))), IsOk());
  EXPECT_THAT(recv(client(5), "x"), IsOk());
}

TEST_F(Membership, AMemberThatIsGoneAndSilentIsLostLongBeforeThePeerTimeOut) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  const InstanceId instance = sidecar(0).instance();
  world_.kill(sidecar(0));
  const TimeNs killed = world_.now();
  world_.run_for(2 * kSecond);
  tell_gone(1, 0, instance);
  const Outcome& outcome = wait(*consumer_, waiting, 10 * kSecond);
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  EXPECT_LT(outcome.at - killed, 8 * kSecond);
  EXPECT_THAT(recv(*consumer_, "x", 0), IsOk()) << "what came whole stays readable";
}

TEST_F(Membership, ASendToAMemberThatNeverAnsweredEndsWhenItsRecordGoes) {
  world_.kill(sidecar(1));
  const RequestId request = start("x", 5'000, each({1}));
  world_.run_for(kSecond);
  EXPECT_FALSE(producer_->over(request));
  tell_gone(0, 1, sidecar(1).instance());
  EXPECT_THAT(wait(*producer_, request, 2 * kSecond), IsError(Errc::kPeerLost));
}

TEST_F(Membership, AMemberThatIsHeardOfIsNotLostWhenItsRecordGoes) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  tell_gone(1, 0, sidecar(0).instance());
  tell_gone(0, 1, sidecar(1).instance());
  world_.run_for(60 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting));
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 1, 2)), IsOk()) << "it can be reached";
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
  EXPECT_EQ(sidecar(0).stats().counters.peers_lost + sidecar(1).stats().counters.peers_lost, 0u);
}

TEST_F(Membership, ALinkThatBreaksAfterTheRecordWentIsNoLossEither) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  tell_gone(1, 0, sidecar(0).instance());
  world_.cut_off(sidecar(0), sidecar(1));
  world_.cut_off(sidecar(1), sidecar(0));
  world_.network().reset(sidecar(0), sidecar(1));
  world_.run_for(3 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting)) << "it was heard of a moment ago";
  tell_joined(1, 0);  // without a record it would not be let in anew
  world_.heal();
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 1, 2)), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 0u);
}

TEST_F(Membership, AMemberWhoseRecordIsGoneIsLostOnceItFallsSilent) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  tell_gone(1, 0, sidecar(0).instance());
  world_.run_for(20 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting));
  world_.stop(sidecar(0));
  const TimeNs stopped = world_.now();
  const Outcome& outcome = wait(*consumer_, waiting);
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  EXPECT_LT(outcome.at - stopped, 10 * kSecond) << "after the ping time-out, not the peer time-out";
}

TEST_F(Membership, WhoWasStoppedItselfDoesNotTakeTheOthersForSilent) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  // All on the machine stood still, and their leases ended.
  world_.stop(sidecar(0));
  world_.stop(sidecar(1));
  world_.run_for(20 * kSecond);
  world_.go_on(sidecar(1));
  tell_gone(1, 0, sidecar(0).instance());
  world_.run_for(kSecond);
  EXPECT_FALSE(consumer_->over(waiting));
  world_.go_on(sidecar(0));
  world_.run_for(10 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting));
  tell_joined(1, 0);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 1, 2)), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(Membership, ARecordThatWasWrittenAgainIsAsIfItHadNeverGone) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  tell_gone(1, 0, sidecar(0).instance());
  tell_joined(1, 0);
  world_.stop(sidecar(0));
  world_.run_for(15 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting)) << "silence alone takes the peer time-out";
  world_.go_on(sidecar(0));
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 1, 2)), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(Membership, AReplacedMemberIsLostAtOnceAndItsHeirIsReachedOnTheNextSend) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  const InstanceId before = sidecar(0).instance();
  world_.cut_off(sidecar(0), sidecar(1));
  world_.kill(sidecar(0));
  add(0, "a");
  sidecar(1).engine().member_replaced(0, before, sidecar(0).instance());
  sidecar(1).touch();
  EXPECT_THAT(wait(*consumer_, waiting, 10 * kMillisecond), IsError(Errc::kPeerLost));
  EXPECT_THAT(send(*consumer_, {.id = "y", .to = each({0})}), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 1u);
}

TEST_F(Membership, NewsThatAreLaterThanWhatThePeerItselfSaidChangeNothing) {
  const InstanceId first = sidecar(0).instance();
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  world_.kill(sidecar(0));
  add(0, "a");
  EXPECT_THAT(send(client(0), {.id = "y", .num_chunks = 2, .to = each({1})}), IsOk());
  const InstanceId now = sidecar(0).instance();
  Engine& engine = sidecar(1).engine();
  const RequestId waiting = consumer_->recv("y", 1);
  engine.member_gone(0, first);
  engine.member_joined(0, first);
  engine.member_replaced(0, 4711, first);
  engine.member_replaced(0, first, now);
  engine.member_joined(0, now);
  engine.member_gone(0, first);
  sidecar(1).touch();
  world_.run_for(10 * kSecond);
  EXPECT_FALSE(consumer_->over(waiting));
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 1u) << "the first one";
  leaves_data(1);
  EXPECT_THAT(send(client(0), {.id = "y", .chunk = 1, .num_chunks = 2, .to = each({1})}), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(Membership, OneThatNobodyNeedsIsNotLostByGoing) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  const InstanceId instance = sidecar(0).instance();
  world_.kill(sidecar(0));
  tell_gone(1, 0, instance);
  world_.run_for(60 * kSecond);
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 0u);
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
  add(0, "a");
  tell_joined(1, 0);
  EXPECT_THAT(send(client(0), {.id = "y", .to = each({1})}), IsOk());
}

TEST_F(Membership, WhatWaitsToTryAgainDoesNotWaitOnceTheMemberHasJoined) {
  world_.kill(sidecar(1));
  const RequestId request = start("x", 5'000, each({1}));
  world_.run_for(10 * kSecond);  // the pauses between attempts are a second by now
  add(1, "b");
  tell_joined(0, 1);
  EXPECT_THAT(wait(*producer_, request, 50 * kMillisecond), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
