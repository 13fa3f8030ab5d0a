// Clients whose lease ends while they are alive, or who give their registration back: what becomes of what
// they had under way, of what they look at, and of those who wait for what they were sending (rules 4, 8,
// 17).
#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

class ContractLeases : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add(1, "b", 4 * kMiB);
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  void end_lease(SimClient& client) {
    SimSidecar& at = sidecar(client.rank());
    at.engine().end_client(client.instance(), "its lease has ended");
    at.touch();
    settle();
  }
  // As a process does that has lost its connection: registered, and not yet connected.
  InstanceId register_as_another(SimClient& process) {
    ClientRegistration registration;
    registration.instance = process.instance() + 1'000'000;
    registration.pid = process.pid();
    registration.leased = true;
    EXPECT_TRUE(sidecar(process.rank()).engine().register_client(registration));
    return registration.instance;
  }
  void send_ok(const std::string& id) {
    EXPECT_THAT(send(*producer_, {.id = id, .bytes = 20'000, .to = each({1})}), IsOk());
  }
  // Bytes take their time from now on, so that something is under way when its client goes.
  void slow() { world_.conditions().bytes_per_ns = 0.0002; }
  void fast() { world_.conditions().bytes_per_ns = 4.0; }

  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

TEST_F(ContractLeases, AnEndedLeaseDropsTheWaitsAndKeepsTheViewsUntilTheProcessIsGone) {
  NEEDS_MAPPED_ARENAS();
  SimClient& stopped = client(1);
  send_ok("x");
  recv(stopped, "x");
  const RequestId waiting = stopped.recv("y", 0, kNever);
  settle();
  world_.stop(stopped);
  end_lease(stopped);
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 0u);
  EXPECT_EQ(sidecar(1).stats().clients, 1u);
  EXPECT_EQ(sidecar(1).stats().quarantined, 1u);
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  for (int i = 0; i < 150; ++i) {  // more than fits: the room is used again and again
    send_ok("z" + std::to_string(i));
    EXPECT_THAT(done(*consumer_, "z" + std::to_string(i)), IsOk());
  }
  world_.go_on(stopped);
  settle();
  EXPECT_TRUE(stopped.over(waiting)) << "it has noticed";
  EXPECT_FALSE(stopped.connected());
  stopped.check_views();
  EXPECT_EQ(sidecar(1).stats().quarantined, 1u);
  world_.kill(stopped);
  settle();
  EXPECT_EQ(sidecar(1).stats().quarantined, 0u);
}

TEST_F(ContractLeases, WhoRegistersAgainWorksAndItsOldViewsAreNotTakenForNewOnes) {
  NEEDS_MAPPED_ARENAS();
  SimClient& again = client(1);
  send_ok("x");
  recv(again, "x");
  end_lease(again);
  again.connect();
  settle();
  ASSERT_TRUE(again.connected());
  send_ok("y");
  EXPECT_THAT(recv(again, "x"), IsOk());
  EXPECT_THAT(recv(again, "y"), IsOk());
  EXPECT_THAT(done(again, "x"), IsOk());
  EXPECT_THAT(done(again, "y"), IsOk());
  settle();
  EXPECT_EQ(sidecar(1).stats().views, 1u) << "the one of before: its process may still look at it";
  world_.kill(again);
  settle();
  EXPECT_EQ(sidecar(1).stats().views, 0u);
}

TEST_F(ContractLeases, AProcessThatLooksAtNothingOfBeforeAnyMoreSaysSoAndNeedNotEnd) {
  NEEDS_MAPPED_ARENAS();
  SimClient& again = client(1);
  send_ok("x");
  recv(again, "x");
  allocate(again, 10'000);
  end_lease(again);
  EXPECT_EQ(sidecar(1).stats().quarantined, 2u);
  Engine& engine = sidecar(1).engine();
  engine.let_go(consumer_->instance(), again.instance());
  engine.let_go(12345, again.instance());
  engine.let_go(again.instance(), again.instance());
  EXPECT_EQ(sidecar(1).stats().quarantined, 2u) << "only the process itself can know";
  again.forget_all();
  const InstanceId anew = register_as_another(again);
  engine.let_go(anew, consumer_->instance());
  EXPECT_TRUE(consumer_->connected()) << "another process's";
  engine.let_go(anew, again.instance());
  EXPECT_EQ(sidecar(1).stats().quarantined, 0u);
  again.connect();
  settle();
  recv(again, "x");
  world_.kill(again);  // its end is heard once
  settle();
  EXPECT_EQ(sidecar(1).stats().views, 0u);
}

TEST_F(ContractLeases, LettingGoCountsAlsoBeforeTheSidecarHasNoticedTheEndOfTheConnection) {
  NEEDS_MAPPED_ARENAS();
  SimClient& process = client(1);
  send_ok("x");
  recv(process, "x");
  EXPECT_EQ(sidecar(1).stats().views, 1u);
  const InstanceId anew = register_as_another(process);
  process.forget_all();
  sidecar(1).engine().let_go(anew, process.instance());
  sidecar(1).touch();
  EXPECT_EQ(sidecar(1).stats().views, 0u);
  EXPECT_EQ(sidecar(1).stats().quarantined, 0u);
  settle();
  EXPECT_FALSE(process.connected());
  EXPECT_TRUE(sidecar(1).engine().knows_client(anew));
}

TEST_F(ContractLeases, WhatWasCapturedIsDeliveredThoughItsClientIsGone) {
  world_.stop(sidecar(1));
  const RequestId sent = producer_->send({.id = "x", .bytes = 50'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return producer_->outcome(sent).captured; }, kSecond));
  end_lease(*producer_);
  world_.go_on(sidecar(1));
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractLeases, WhoWaitsForAChunkThatWasNotCapturedHearsThatItsClientIsGone) {
  const RequestId waiting = consumer_->recv("x");
  slow();
  producer_->send({.id = "x", .bytes = 400'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  world_.stop(*producer_);
  end_lease(*producer_);
  const Outcome& lost = wait(*consumer_, waiting, 5 * kSecond);
  EXPECT_THAT(lost, IsError(Errc::kPeerLost));
  EXPECT_EQ(lost.reply.rank, 0);
  EXPECT_THAT(recv(*consumer_, "x"), IsError(Errc::kPeerLost)) << "who asks later does not wait in vain";
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  fast();
  // Who takes its place may send it.
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 400'000, .to = each({1})}), IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractLeases, OnlyTheChunkThatWasHalfSentIsLost) {
  EXPECT_THAT(send(*producer_, {.id = "x", .chunk = 0, .num_chunks = 3, .to = each({1})}), IsOk());
  slow();
  producer_->send({.id = "x", .chunk = 1, .num_chunks = 3, .bytes = 400'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  const RequestId half = consumer_->recv("x", 1);
  const RequestId other = consumer_->recv("x", 2);
  world_.kill(*producer_);
  EXPECT_THAT(wait(*consumer_, half, 5 * kSecond), IsError(Errc::kPeerLost));
  EXPECT_THAT(recv(*consumer_, "x", 0), IsOk()) << "what arrived whole stays readable";
  expect_waits(*consumer_, other);
  fast();
  EXPECT_THAT(send(client(0), {.id = "x", .chunk = 2, .num_chunks = 3, .to = each({1})}), IsOk());
  EXPECT_THAT(wait(*consumer_, other), IsOk());
  EXPECT_THAT(done(*consumer_, "x", 1), IsOk());
}

TEST_F(ContractLeases, EveryDestinationHearsOfItAlsoOneThatWasNeverConnected) {
  add(2, "a");
  add(3, "c");
  SimClient& near = client(2);
  SimClient& far = client(3);
  const RequestId one = near.recv("x");
  const RequestId two = far.recv("x");
  slow();
  producer_->send({.id = "x", .bytes = 400'000, .to = each({2, 3})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  world_.kill(*producer_);
  EXPECT_THAT(wait(near, one, 5 * kSecond), IsError(Errc::kPeerLost));
  EXPECT_THAT(wait(far, two, 5 * kSecond), IsError(Errc::kPeerLost));
  leaves_data(1);  // that it is lost
}

TEST_F(ContractLeases, AChunkThatIsThereIsNotLostByASecondSendThatFails) {
  send_ok("x");
  slow();
  producer_->send({.id = "x", .bytes = 20'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  world_.kill(*producer_);
  world_.run_for(kSecond);
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractLeases, ACancelledSendIsNoLoss) {
  slow();
  const RequestId waiting = consumer_->recv("x");
  const RequestId sent = producer_->send({.id = "x", .bytes = 400'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  producer_->cancel(sent);
  EXPECT_THAT(wait(*producer_, sent), IsError(Errc::kCancelled));
  fast();
  expect_waits(*consumer_, waiting, 5 * kSecond);
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 400'000, .to = each({1})}), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(ContractLeases, ALostIdThatNobodySpeaksOfIsForgotten) {
  slow();
  producer_->send({.id = "x", .bytes = 400'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  world_.kill(*producer_);
  world_.run_for(3 * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 1u);
  world_.run_for(700 * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(ContractLeases, UnregisteringLosesNothingThatWasSaidBefore) {
  send_ok("mine");
  const RequestId sent =
      consumer_->send({.id = "x", .bytes = 500, .to = each({0}), .kind = ChunkKind::kObject});
  consumer_->mark_done("mine");
  consumer_->recv("never", 0, kNever);
  world_.run_for(kMillisecond);  // it has arrived
  sidecar(1).engine().unregister_client(consumer_->instance());
  sidecar(1).touch();
  settle();
  EXPECT_FALSE(consumer_->connected());
  EXPECT_TRUE(consumer_->over(sent));
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 0u);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u) << "marked done";
  EXPECT_THAT(recv(*producer_, "x"), IsOk());
}

TEST_F(ContractLeases, RegressionC2WhatIsUnderWaySurvivesARegistrationWithOtherHints) {
  NEEDS_MAPPED_ARENAS();
  send_ok("view");
  recv(*consumer_, "view");
  const std::uint64_t slot = allocate(*consumer_, 30'000);
  slow();
  const RequestId sending = consumer_->send({.id = "out", .bytes = 400'000, .to = each({0})});
  const RequestId waiting = consumer_->recv("in", 0, kNever);
  ASSERT_TRUE(world_.run_until([&] { return sidecar(1).stats().send.runs == 2; }, kSecond));
  ClientRegistration again;
  again.instance = consumer_->instance();
  again.send_unit_bytes = 7'168;
  again.receive_unit_bytes = 4'096;
  EXPECT_TRUE(sidecar(1).engine().register_client(again));
  EXPECT_TRUE(consumer_->connected());
  fast();
  EXPECT_THAT(wait(*consumer_, sending), IsOk());
  EXPECT_THAT(recv(*producer_, "out"), IsOk());
  send_ok("in");
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
  EXPECT_EQ(consumer_->views().size(), 2u);
  EXPECT_THAT(send(*consumer_,
                   {.id = "slot", .bytes = 30'000, .to = each({0}), .source = Source::kSlot, .slot = slot}),
              IsOk());
  EXPECT_THAT(recv(*producer_, "slot"), IsOk());
  // And the new hints hold: one unit takes one slot.
  const std::uint64_t before = sidecar(1).stats().send.used_bytes;
  allocate(*consumer_, 100);
  EXPECT_EQ(sidecar(1).stats().send.used_bytes - before, 7'168u);
}

using ContractGroupLeases = ContractGroupFailures;

TEST_F(ContractGroupLeases, WhoWaitsForAChunkOfWhichHalfIsThereHearsThatAMemberIsGone) {
  const RequestId waiting = consumer_->recv("x");
  producers_[0]->send(spec_);
  half_is_there();
  world_.conditions().bytes_per_ns = 0.0002;
  producers_[1]->send(spec_);
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().outgoing == 1; }, kSecond));
  world_.run_for(10 * kMillisecond);
  world_.kill(*producers_[1]);
  const Outcome& lost = wait(*consumer_, waiting, 10 * kSecond);
  EXPECT_THAT(lost, IsError(Errc::kPeerLost));
  EXPECT_EQ(lost.reply.rank, 0);
  world_.conditions().bytes_per_ns = 4.0;
  world_.run_for(2 * kSecond);
  nothing_is_there();
  EXPECT_THAT(recv(*consumer_, "x"), IsError(Errc::kPeerLost));
  producers_[1] = &client({.rank = 0, .group = {0, 1}, .member = 1});
  works_now();
}

TEST_F(ContractGroupLeases, WhoTookTheirPlaceIsWaitedForAlsoWhenHalfOfTheFirstIsThere) {
  const RequestId waiting = consumer_->recv("x");
  producers_[0]->send(spec_);
  half_is_there();
  SimClient& next = client(0);
  const RequestId again = next.send({.id = "x", .bytes = 400'000, .to = each({2})});
  ASSERT_TRUE(world_.run_until([&] { return next.outcome(again).captured; }, kSecond));
  world_.run_for(10 * kMillisecond);
  EXPECT_FALSE(consumer_->over(waiting)) << "held until the half is given up";
  world_.conditions().bytes_per_ns = 0.0002;
  producers_[1]->send(spec_);
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 2; }, kSecond));
  world_.run_for(kMillisecond);
  world_.kill(*producers_[1]);
  world_.run_for(10 * kMillisecond);
  world_.conditions().bytes_per_ns = 4.0;
  EXPECT_THAT(wait(next, again), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(ContractGroupLeases, AnotherMembersDeadlineIsNoLossAndTheNextAttemptIsWaitedFor) {
  const RequestId waiting = consumer_->recv("x");
  spec_.timeout = kSecond;
  producers_[0]->send(spec_);
  half_is_there();
  world_.run_for(3 * kSecond);
  nothing_is_there();
  EXPECT_FALSE(consumer_->over(waiting));
  works_now();
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(ContractLeases, WhoeverTookTheLostOnesPlaceIsWaitedFor) {
  NEEDS_MAPPED_ARENAS();
  SimClient& holder = client(0);
  SimClient& doomed = client(0);
  SimClient& next = client(0);
  const std::uint64_t all = allocate(holder, 2 * kMiB);
  doomed.send({.id = "x", .bytes = 100'000, .to = each({1})});
  const RequestId again = next.send({.id = "x", .bytes = 100'000, .to = each({1})});
  const RequestId waiting = consumer_->recv("x");
  settle();
  world_.kill(doomed);
  expect_waits(*consumer_, waiting);
  holder.release_slot(all);
  EXPECT_THAT(wait(next, again), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(ContractLeases, ALostChunkThatWasMarkedDoneIsDone) {
  NEEDS_MAPPED_ARENAS();
  SimClient& holder = client(0);
  SimClient& doomed = client(0);
  EXPECT_THAT(send(*producer_, {.id = "x", .num_chunks = 2, .bytes = 500, .to = each({1})}), IsOk());
  EXPECT_THAT(done(*consumer_, "x", 0), IsOk());
  const std::uint64_t all = allocate(holder, 2 * kMiB);
  doomed.send({.id = "x", .chunk = 1, .num_chunks = 2, .bytes = 100'000, .to = each({1})});
  settle();
  world_.kill(doomed);
  holder.release_slot(all);
  EXPECT_THAT(recv(*consumer_, "x", 1), IsError(Errc::kPeerLost));
  EXPECT_THAT(done(*consumer_, "x", 1), IsOk());
  EXPECT_THAT(recv(*consumer_, "x", 1), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(recv(*consumer_, "x", 0), IsError(Errc::kAlreadyDone));
}

}  // namespace
}  // namespace sidecar::sim
