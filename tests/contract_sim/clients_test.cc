// Clients that die, register again, come late or differ (rules 9, 16, 17 and 18), and what happens to calls
// at every stage.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Clients : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};
using Rule09NoEndlessWaits = Clients;
using Rule16Bounds = Clients;
using Rule17AClientThatDies = Clients;
using Rule18ArrivalBeforeRegistration = Clients;
using ContractRegistration = Clients;
using ContractDeadlines = Clients;

TEST_F(Rule09NoEndlessWaits, ADeadlineIsKeptAndOnlyAnExplicitNeverWaitsForEver) {
  const RequestId timed = consumer_->recv("x", 0, 600 * kSecond);
  const RequestId never = consumer_->recv("x", 0, kNever);
  world_.run_for(599 * kSecond);
  EXPECT_FALSE(consumer_->over(timed));
  EXPECT_THAT(wait(*consumer_, timed, 2 * kSecond), IsError(Errc::kTimeout));
  world_.run_for(24 * 3600 * kSecond);
  EXPECT_FALSE(consumer_->over(never));
  consumer_->cancel(never);
  EXPECT_THAT(wait(*consumer_, never), IsError(Errc::kCancelled));
}

TEST_F(Rule09NoEndlessWaits, ADeadlineSoLargeThatTheSumOverflowsIsNever) {
  const RequestId request = consumer_->recv("x", 0, kNever - 1);
  expect_waits(*consumer_, request, 10 * kSecond);
  consumer_->cancel(request);
  EXPECT_THAT(wait(*consumer_, request), IsError(Errc::kCancelled));
}

TEST_F(Rule16Bounds, ADestinationListMayHave256RanksAndASmallObjectRidesInTheHeader) {
  SendSpec spec{.id = std::string(255, 'i'), .bytes = kInlineBytesMax, .to = {}, .kind = ChunkKind::kObject};
  // One group as large as can be; its leader is rank 1.
  std::vector<Rank> members;
  for (Rank rank = 1; rank < kRanksMax; ++rank) members.push_back(rank);
  spec.to.push_back(members);
  EXPECT_THAT(send(*producer_, spec), IsOk());
  const Outcome& got = recv(*consumer_, spec.id);
  EXPECT_EQ(got.reply.where, Where::kInline);
  EXPECT_TRUE(got.salt);
}

// --- a client dies
// -----------------------------------------------------------------------------------------------------------------

TEST_F(Rule17AClientThatDies, FreesItsWaits) {
  SimClient& doomed = client(1);
  for (int i = 0; i < 50; ++i) doomed.recv("x" + std::to_string(i % 7), 0, kNever);
  const RequestId survivor = consumer_->recv("x0");
  settle();
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 51u);
  world_.kill(doomed);
  settle();
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 1u);
  EXPECT_EQ(sidecar(1).stats().data, 1u);
  EXPECT_THAT(send(*producer_, {.id = "x0", .to = each({1})}), IsOk());
  EXPECT_THAT(wait(*consumer_, survivor), IsOk());
}

TEST_F(Rule17AClientThatDies, FreesItsViews) {
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& doomed = client(1);
  recv(doomed, "x");
  world_.kill(doomed);
  settle();
  EXPECT_EQ(sidecar(1).stats().views, 0u);
  EXPECT_THAT(recv(*consumer_, "x"), IsOk()) << "the data is there for others";
}

TEST_F(Rule17AClientThatDies, FreesItsAllocationsAndThoseWhoWaitGetThem) {
  NEEDS_MAPPED_ARENAS();
  SimClient& doomed = client(0);
  allocate(doomed, 400'000);
  doomed.allocate(300'000);  // waits
  const RequestId waiting = producer_->allocate(200'000);
  expect_waits(*producer_, waiting);
  world_.kill(doomed);
  EXPECT_THAT(wait(*producer_, waiting, kSecond), IsOk());
}

TEST_F(Rule17AClientThatDies, WhatWasCapturedIsStillDelivered) {
  SimClient& doomed = client(0);
  world_.stop(sidecar(1));
  const RequestId request = doomed.send({.id = "x", .bytes = 50'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return doomed.outcome(request).captured; }, kSecond));
  world_.kill(doomed);
  settle();
  world_.go_on(sidecar(1));
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
  settle();
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
}

TEST_F(Rule17AClientThatDies, WhatWasNotCapturedIsDropped) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, 512 * kKiB);
  SimClient& doomed = client(0);
  doomed.send({.id = "x", .bytes = 50'000, .to = each({1})});
  settle();
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 1u);
  world_.kill(doomed);
  settle();
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 0u);
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  producer_->release_slot(all);
  leaves_data(1);  // that it is lost
}

TEST_F(Rule17AClientThatDies, InTheMiddleOfCapturingIsDroppedToo) {
  world_.conditions().bytes_per_ns = 0.001;
  SimClient& doomed = client(0);
  doomed.send({.id = "x", .bytes = 200'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  world_.kill(doomed);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  EXPECT_EQ(sidecar(1).stats().chunks, 0u);
  leaves_data(1);  // that it is lost
}

// --- registration
// ------------------------------------------------------------------------------------------------------------------

TEST_F(Rule18ArrivalBeforeRegistration, IsHeldWithTheProducersUnitAndFoundLater) {
  add(2, "c");
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 5'000, .to = each({2}), .unit_bytes = 500}), IsOk());
  EXPECT_EQ(sidecar(2).stats().clients, 0u);
  EXPECT_EQ(sidecar(2).stats().receive.used_bytes, 10u * 512) << "slots of the producer's unit, rounded up";
  world_.run_for(590 * kSecond);
  EXPECT_THAT(recv(client(2), "x"), IsOk());
}

TEST_F(ContractRegistration, ClientsOfOneSidecarMayHaveDifferentHints) {
  std::vector<SimClient*> clients;
  for (const std::uint64_t unit : {64ul, 1'000ul, 7'168ul, 50'000ul}) clients.push_back(&client(0, unit));
  for (std::size_t i = 0; i < clients.size(); ++i) {
    const std::string id = "x" + std::to_string(i);
    EXPECT_THAT(send(*clients[i], {.id = id, .bytes = 33'333, .to = each({1})}), IsOk())
        << "no multiple of the hint";
    EXPECT_THAT(recv(*consumer_, id), IsOk());
  }
}

TEST_F(ContractRegistration, AClientMayNotConnectTwiceAtOnce) {
  Hello hello;
  hello.role = Role::kClient;
  hello.instance = producer_->instance();
  hello.ticket = world_.issue_ticket(producer_->instance(), sidecar(0).instance(), true);
  const auto answer = sidecar(0).engine().on_hello(LinkId{900, 1}, hello);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kUnavailable);
}

TEST_F(ContractRegistration, ARegistrationThatNobodyUsesIsForgotten) {
  ClientRegistration unused;
  unused.instance = 99;
  EXPECT_TRUE(sidecar(0).engine().register_client(unused));
  Hello hello;
  hello.role = Role::kClient;
  hello.instance = 99;
  const auto refusal = [&] {
    return std::string(sidecar(0).engine().on_hello(LinkId{900, 1}, hello).error().what);
  };
  EXPECT_THAT(refusal(), ::testing::HasSubstr("ticket")) << "known, but it has no ticket";
  world_.run_for(120 * kSecond);
  EXPECT_THAT(refusal(), ::testing::HasSubstr("not registered"));
}

TEST_F(ContractRegistration, UnregisteringEndsTheClientsConnection) {
  const RequestId waiting = consumer_->recv("x", 0, kNever);
  settle();
  sidecar(1).engine().unregister_client(consumer_->instance());
  sidecar(1).touch();
  settle();
  EXPECT_TRUE(consumer_->over(waiting));
  EXPECT_FALSE(consumer_->connected());
  EXPECT_EQ(sidecar(1).stats().clients, 0u);
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 0u);
  sidecar(1).engine().unregister_client(12345);  // unknown: nothing
}

TEST_F(ContractRegistration, ADrainingSidecarRefusesNewWorkAndFinishesTheOld) {
  world_.stop(sidecar(1));
  const RequestId old = producer_->send({.id = "x", .bytes = 50'000, .to = each({1})});
  settle();
  sidecar(0).engine().drain();
  EXPECT_FALSE(sidecar(0).engine().drained());
  EXPECT_THAT(send(*producer_, {.id = "y", .to = each({1})}), IsError(Errc::kUnavailable));
  EXPECT_THAT(wait(*producer_, producer_->allocate(100)), IsError(Errc::kUnavailable));
  EXPECT_THAT(wait(*producer_, producer_->close_stream("s", 0, each({1}))), IsError(Errc::kUnavailable));
  EXPECT_FALSE(sidecar(0).engine().register_client({}));
  world_.go_on(sidecar(1));
  EXPECT_THAT(wait(*producer_, old), IsOk());
  settle();
  EXPECT_TRUE(sidecar(0).engine().drained());
}

TEST_F(ContractRegistration, ADrainingSidecarLetsInTheRestOfWhatItHasAndNothingNew) {
  EXPECT_THAT(send(*producer_, {.id = "begun", .num_chunks = 2, .bytes = 5'000, .to = each({1})}), IsOk());
  const RequestId waiting = consumer_->recv("awaited", 0, 60 * kSecond);
  settle();
  EXPECT_EQ(sidecar(1).engine().undone(), 1u) << "what is only waited for is not held";
  sidecar(1).engine().drain();
  EXPECT_THAT(send(*producer_, {.id = "new", .to = each({1})}), IsError(Errc::kUnavailable));
  EXPECT_THAT(wait(*producer_, producer_->close_stream("new stream", 2, each({1}))),
              IsError(Errc::kUnavailable));
  EXPECT_THAT(send(*producer_, {.id = "begun", .chunk = 1, .num_chunks = 2, .bytes = 5'000, .to = each({1})}),
              IsOk());
  EXPECT_THAT(send(*producer_, {.id = "awaited", .bytes = 5'000, .to = each({1})}), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
  EXPECT_EQ(sidecar(1).engine().undone(), 3u);
  EXPECT_EQ(sidecar(1).engine().undone(2), 2u);
  for (const auto& [id, chunks] : {std::pair{"begun", 2u}, {"awaited", 1u}}) {
    for (ChunkIndex chunk = 0; chunk < chunks; ++chunk) {
      EXPECT_THAT(recv(*consumer_, id, chunk), IsOk());
      EXPECT_THAT(done(*consumer_, id, chunk), IsOk());
    }
  }
  EXPECT_EQ(sidecar(1).engine().undone(), 0u);
}

// --- deadlines and cancel of a send, at every stage
// ----------------------------------------------------------------------------------

class SendStages : public Clients, public ::testing::WithParamInterface<bool> {
 protected:
  // Ends the send by its deadline or by a cancel, and says which error that is.
  RequestId start(SendSpec spec) {
    if (!GetParam()) spec.timeout = 500 * kMillisecond;
    return producer_->send(spec);
  }
  void expect_ended(RequestId request) {
    if (GetParam()) producer_->cancel(request);
    const Outcome& outcome = wait(*producer_, request, kSecond);
    EXPECT_THAT(outcome, IsError(GetParam() ? Errc::kCancelled : Errc::kTimeout));
    EXPECT_EQ(outcome.reply.rank, 1) << "names the rank that did not get it";
  }
  void expect_nothing_left() {
    settle();
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
    EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  }
};
INSTANTIATE_TEST_SUITE_P(EndedBy, SendStages, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Cancel" : "Deadline"; });

TEST_P(SendStages, WhileItsBytesAreOnTheirWayIntoTheArena) {
  world_.conditions().bytes_per_ns = 0.0002;  // 200 kB take a second
  const RequestId request = start({.id = "x", .bytes = 200'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(0).stats().send.runs == 1; }, kSecond));
  expect_ended(request);
  world_.run_for(2 * kSecond);
  expect_nothing_left();
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_P(SendStages, WhileThePeerIsNotConnected) {
  world_.cut_off(sidecar(0), sidecar(1));
  const RequestId request = start({.id = "x", .bytes = 50'000, .to = each({1})});
  world_.run_for(100 * kMillisecond);
  expect_ended(request);
  expect_nothing_left();
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_P(SendStages, WhileItWaitsForRoomAtThePeer) {
  EXPECT_THAT(send(*producer_, {.id = "filler", .bytes = 440'000, .to = each({1})}), IsOk());
  const RequestId request = start({.id = "x", .bytes = 50'000, .to = each({1})});
  world_.run_for(100 * kMillisecond);
  EXPECT_EQ(sidecar(1).stats().parked_chunks, 1u);
  expect_ended(request);
  expect_nothing_left();
  EXPECT_EQ(sidecar(1).stats().parked_chunks, 0u) << "the peer no longer holds a place for it";
  EXPECT_THAT(recv(*consumer_, "filler"), IsOk());
}

TEST_P(SendStages, WhileItIsRefusedByThePeer) {
  add({.rank = 2, .node = "c", .adjust = [](EngineOptions& options) { options.parked_max = 0; }});
  EXPECT_THAT(send(*producer_, {.id = "filler", .bytes = 440'000, .to = each({2})}), IsOk());
  SendSpec spec{.id = "x", .bytes = 50'000, .to = each({2})};
  const RequestId request = start(spec);
  world_.run_for(100 * kMillisecond);
  EXPECT_EQ(sidecar(2).stats().counters.refusals, 1u);
  if (GetParam()) producer_->cancel(request);
  EXPECT_FALSE(wait(*producer_, request, kSecond).ok());
  expect_nothing_left();
}

TEST_P(SendStages, WhileThePeerIsStopped) {
  EXPECT_THAT(send(*producer_, {.id = "warm up", .to = each({1})}), IsOk());
  world_.stop(sidecar(1));
  const RequestId request = start({.id = "x", .bytes = 50'000, .to = each({1})});
  world_.run_for(100 * kMillisecond);
  expect_ended(request);
  world_.run_for(2 * kSecond);
  world_.go_on(sidecar(1));
  world_.run_for(2 * kSecond);
  expect_nothing_left();  // whether it got there or not
}

TEST_P(SendStages, OneDestinationHasItAndTheOtherDoesNot) {
  add(2, "c");
  EXPECT_THAT(send(*producer_, {.id = "warm up", .to = each({1, 2})}), IsOk());
  world_.stop(sidecar(1));
  const RequestId request = start({.id = "x", .bytes = 50'000, .to = each({1, 2})});
  world_.run_for(100 * kMillisecond);
  expect_ended(request);
  const Outcome& outcome = producer_->outcome(request);
  ASSERT_EQ(outcome.reply.failures, 1);
  EXPECT_EQ(outcome.reply.failed_rank[0], 1);
  EXPECT_THAT(recv(client(2), "x"), IsOk());
  world_.go_on(sidecar(1));
}

}  // namespace
}  // namespace sidecar::sim
