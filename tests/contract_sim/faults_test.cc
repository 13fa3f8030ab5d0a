// Links that break, peers that stop, die, come back or say goodbye: rules 6, 7, 8, 11 and 13.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

using Rule06Retransmission = Faults;
using Rule07Tombstones = Faults;
using Rule08PeerLost = Faults;

TEST_F(Rule06Retransmission, ALostChunkIsSentAgain) {
  for (const std::uint64_t bytes : {100ul, 30'000ul, 200'000ul}) {  // inline, eager, rendezvous
    break_at<Chunk>(2);
    const std::string id = "x" + std::to_string(bytes);
    EXPECT_THAT(wait(*producer_, start(id, bytes, each({1}))), IsOk());
    EXPECT_THAT(recv(*consumer_, id), IsOk());
  }
  EXPECT_GE(sidecar(0).stats().counters.resends, 6u);
}

TEST_F(Rule06Retransmission, ALostAckMakesADuplicateThatIsDroppedAndAcknowledgedAgain) {
  for (const std::uint64_t bytes : {100ul, 30'000ul, 200'000ul}) {
    break_at<Ack>(2);
    const std::string id = "x" + std::to_string(bytes);
    EXPECT_THAT(wait(*producer_, start(id, bytes, each({1}))), IsOk())
        << "not AlreadyExists: it is the same transfer";
    EXPECT_THAT(recv(*consumer_, id), IsOk());
  }
  EXPECT_GE(sidecar(1).stats().counters.duplicates, 6u);
  EXPECT_EQ(sidecar(1).stats().counters.chunks_received, 3u) << "each exactly once";
}

TEST_F(Rule06Retransmission, ALostReferenceAndItsAckLendOnce) {
  break_at<ChunkRef>(1);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({2}))), IsOk());
  break_at<Ack>(1);
  EXPECT_THAT(wait(*producer_, start("y", 5'000, each({2}))), IsOk());
  EXPECT_EQ(sidecar(2).stats().foreign, 2u);
  EXPECT_EQ(sidecar(0).stats().lent, 2u);
  SimClient& at = client(2);
  break_at<Unlink>(2);
  for (const char* id : {"x", "y"}) EXPECT_THAT(done(at, id), IsOk());
  world_.run_for(5 * kSecond);
  EXPECT_EQ(sidecar(0).stats().lent, 0u) << "a lost Unlink is sent again";
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(Rule06Retransmission, ALostRefusalDoesNotLoseTheChunk) {
  add_tight();
  std::vector<RequestId> sends;
  break_at<Refuse>(3);
  for (int i = 0; i < 6; ++i) sends.push_back(start("x" + std::to_string(i), 20'000, each({3})));
  world_.run_for(20 * kSecond);
  SimClient& at = client(3);
  for (int i = 0; i < 6; ++i) {
    EXPECT_THAT(recv(at, "x" + std::to_string(i)), IsOk());
    EXPECT_THAT(done(at, "x" + std::to_string(i)), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule06Retransmission, ALostCreditThatSaysResumeDoesNotLoseTheChunk) {
  add_tight();
  std::vector<RequestId> sends;
  for (int i = 0; i < 4; ++i) sends.push_back(start("x" + std::to_string(i), 20'000, each({3})));
  world_.run_for(kSecond);
  break_at<Credit>(2);
  SimClient& at = client(3);
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(recv(at, "x" + std::to_string(i)), IsOk());
    EXPECT_THAT(done(at, "x" + std::to_string(i)), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule06Retransmission, AResetInTheMiddleOfARendezvousIsRepaired) {
  world_.conditions().bytes_per_ns = 0.001;  // 200 kB take 200 ms
  for (int round = 0; round < 5; ++round) {
    const std::string id = "x" + std::to_string(round);
    const RequestId waiting = consumer_->recv(id);
    const RequestId sent = start(id, 200'000, each({1}));
    for (int reset = 0; reset < 3; ++reset) {
      world_.run_for(300 * kMillisecond);
      world_.network().reset(sidecar(0), sidecar(1));
    }
    EXPECT_THAT(wait(*producer_, sent), IsOk());
    EXPECT_THAT(wait(*consumer_, waiting), IsOk());
    EXPECT_THAT(done(*consumer_, id), IsOk());
    settle();
    EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  }
}

TEST_F(Rule06Retransmission, AnyNumberOfResetsDeliversEveryChunkExactlyOnce) {
  world_.conditions().reorder = 0.5;
  const ChunkIndex count = 60;
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 0; chunk < count; ++chunk) {
    sends.push_back(start("x", 500 + 977 * (chunk % 5), each({1, 2}), chunk, count));
    if (chunk % 4 == 0) world_.network().reset(sidecar(0), sidecar(chunk % 8 == 0 ? 1 : 2));
    world_.run_for(world_.random().below(3 * kMillisecond));
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.chunks_received, count);
  EXPECT_EQ(sidecar(2).stats().counters.chunks_received, count);
  for (ChunkIndex chunk = 0; chunk < count; ++chunk) EXPECT_THAT(recv(*consumer_, "x", chunk), IsOk());
}

TEST_F(Rule06Retransmission, ANewSequenceForAnOldChunkIsAlreadyExists) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsError(Errc::kAlreadyExists));
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsError(Errc::kAlreadyExists))
      << "also when it is done";
}

// --- tombstones
// ------------------------------------------------------------------------------------------------------------------

TEST_F(Rule07Tombstones, MarkDoneBeforeArrivalDropsTheArrivalAndAcknowledgesIt) {
  for (const std::uint64_t bytes : {100ul, 30'000ul, 200'000ul}) {
    const std::string id = "x" + std::to_string(bytes);
    EXPECT_THAT(done(*consumer_, id), IsOk());
    EXPECT_THAT(recv(*consumer_, id), IsError(Errc::kAlreadyDone));
    EXPECT_THAT(wait(*producer_, start(id, bytes, each({1}))), IsOk());
    settle();
    EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
    EXPECT_EQ(sidecar(1).stats().data, 0u);
  }
}

TEST_F(Rule07Tombstones, MarkDoneBeforeArrivalOnTheSameNodeGivesTheSlotBack) {
  SimClient& at = client(2);
  EXPECT_THAT(done(at, "x"), IsOk());
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({2}))), IsOk());
  settle();
  EXPECT_EQ(sidecar(0).stats().lent, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(Rule07Tombstones, TheRestOfADatumMarkedDoneEarlyIsDroppedWhenItComes) {
  for (const ChunkIndex chunk : {0, 1, 2}) EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  for (const ChunkIndex chunk : {2, 0, 1})
    EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), chunk, 3)), IsOk());
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_THAT(recv(*consumer_, "x", 1), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(recv(*consumer_, "x", 3), IsError(Errc::kEndOfStream));
}

TEST_F(Rule07Tombstones, AnIdMayNotBeReusedAndTheCountIsRemembered) {
  for (const ChunkIndex chunk : {0, 1}) {
    EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), chunk, 2)), IsOk());
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  }
  world_.run_for(9 * 60 * kSecond);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsError(Errc::kAlreadyExists));
  EXPECT_THAT(recv(*consumer_, "x", 1), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(recv(*consumer_, "x", 2), IsError(Errc::kEndOfStream));
  EXPECT_EQ(sidecar(1).stats().tombstones, 1u);
}

TEST_F(Rule07Tombstones, AMarkDoneOfWhatNeverComesIsForgottenInTime) {
  EXPECT_THAT(done(*consumer_, "never"), IsOk());
  world_.run_for(9 * 60 * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 1u);
  world_.run_for(2 * 60 * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

// --- peer lost
// -------------------------------------------------------------------------------------------------------------------

TEST_F(Rule08PeerLost, ABrokenLinkAloneIsNoLoss) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  for (int i = 0; i < 20; ++i) {
    world_.network().reset(sidecar(0), sidecar(1));
    world_.run_for(2 * kSecond);
  }
  EXPECT_FALSE(consumer_->over(waiting));
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 1, 2)), IsOk());
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 0u);
}

TEST_F(Rule08PeerLost, ANewInstanceOfTheRankEndsTheWaits) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  world_.kill(sidecar(0));
  world_.run_for(100 * kMillisecond);
  add(0, "a");
  const Outcome& outcome = wait(*consumer_, waiting, 10 * kSecond);
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost)) << "long before the peer time-out";
  EXPECT_EQ(outcome.reply.rank, 0);
  EXPECT_THAT(recv(*consumer_, "x", 0), IsOk()) << "what came whole stays readable";
  EXPECT_THAT(recv(*consumer_, "x", 1), IsError(Errc::kPeerLost)) << "final";
}

TEST_F(Rule08PeerLost, AGoodbyeEndsTheWaitsAtOnce) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  sidecar(0).engine().drain();
  EXPECT_TRUE(sidecar(0).engine().drained());
  sidecar(0).engine().say_goodbye();
  sidecar(0).touch();
  EXPECT_THAT(wait(*consumer_, waiting, 100 * kMillisecond), IsError(Errc::kPeerLost));
  world_.kill(sidecar(0));
}

TEST_F(Rule08PeerLost, SilenceForThePeerTimeOutEndsTheWaits) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  world_.stop(sidecar(0));
  const TimeNs stopped = world_.now();
  const Outcome& outcome = wait(*consumer_, waiting);
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  EXPECT_GE(outcome.at - stopped, 28 * kSecond);
  EXPECT_LE(outcome.at - stopped, 45 * kSecond);
}

TEST_F(Rule08PeerLost, APeerKilledForGoodIsLostAfterThePeerTimeOut) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}), 0, 2)), IsOk());
  const RequestId waiting = consumer_->recv("x", 1);
  settle();
  world_.kill(sidecar(0));
  EXPECT_THAT(wait(*consumer_, waiting), IsError(Errc::kPeerLost));
}

TEST_F(Rule08PeerLost, ASendToADestinationThatIsGoneEndsWithPeerLost) {
  world_.kill(sidecar(1));
  const Outcome& outcome = wait(*producer_, start("x", 5'000, each({1})));
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  EXPECT_EQ(outcome.reply.rank, 1);
}

TEST_F(Rule08PeerLost, StoppedForLessThanThePeerTimeOutLosesNothing) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1, 2}), 0, 3)), IsOk());
  SimClient& near = client(2);
  const RequestId far_wait = consumer_->recv("x", 2);
  const RequestId near_wait = near.recv("x", 2);
  for (const Rank stopped : {1, 0, 2}) {
    const RequestId early = start("while " + std::to_string(stopped), 100'000, each({1, 2}));
    world_.run_for(kMillisecond);
    world_.stop(sidecar(stopped));
    world_.run_for(25 * kSecond);
    world_.go_on(sidecar(stopped));
    EXPECT_THAT(wait(*producer_, early), IsOk());
  }
  for (const ChunkIndex chunk : {1, 2})
    EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1, 2}), chunk, 3)), IsOk());
  EXPECT_THAT(wait(*consumer_, far_wait), IsOk());
  EXPECT_THAT(wait(near, near_wait), IsOk());
  for (const Rank rank : {0, 1, 2}) EXPECT_EQ(sidecar(rank).stats().counters.peers_lost, 0u) << rank;
}

TEST_F(Rule08PeerLost, AnIdlePeerThatGoesAndComesBackIsNoLoss) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  world_.kill(sidecar(0));
  world_.run_for(120 * kSecond);
  EXPECT_THAT(recv(*consumer_, "x"), IsOk()) << "it came whole";
  add(0, "a");
  SimClient& again = client(0);
  EXPECT_THAT(send(again, {.id = "y", .to = each({1})}), IsOk());
  EXPECT_THAT(recv(*consumer_, "y"), IsOk());
}

TEST_F(Rule08PeerLost, ACutInOneDirectionHealsWithoutLoss) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  for (const bool forth : {true, false}) {
    const std::string id = forth ? "forth" : "back";
    if (forth)
      world_.cut_off(sidecar(0), sidecar(1));
    else
      world_.cut_off(sidecar(1), sidecar(0));
    const RequestId sent = start(id, 100'000, each({1}));
    world_.run_for(15 * kSecond);
    EXPECT_FALSE(producer_->over(sent));
    world_.heal();
    EXPECT_THAT(wait(*producer_, sent), IsOk());
    EXPECT_THAT(recv(*consumer_, id), IsOk());
  }
  EXPECT_EQ(sidecar(0).stats().counters.peers_lost + sidecar(1).stats().counters.peers_lost, 0u);
}

TEST_F(Rule08PeerLost, ARestartedSidecarJoinsWithoutAnybodyElseBeingRestarted) {
  for (int round = 0; round < 4; ++round) {
    const Rank rank = round % 2 == 0 ? 1 : 2;
    world_.kill(sidecar(rank));
    world_.run_for(50 * kMillisecond);
    add(rank, rank == 1 ? "b" : "a");
    const std::string id = "round " + std::to_string(round);
    EXPECT_THAT(wait(*producer_, start(id, 50'000, each({1, 2}))), IsOk());
    EXPECT_THAT(recv(client(rank), id), IsOk());
    EXPECT_THAT(send(client(rank), {.id = "back " + id, .bytes = 5'000, .to = each({0})}), IsOk());
    EXPECT_THAT(recv(*producer_, "back " + id), IsOk());
  }
}

TEST_F(Rule08PeerLost, AKillInTheMiddleOfARendezvousFreesTheSlotsOnBothSides) {
  world_.conditions().bytes_per_ns = 0.001;
  RequestId sent = start("to the dead", 200'000, each({1}));
  world_.run_for(300 * kMillisecond);
  world_.kill(sidecar(1));
  EXPECT_THAT(wait(*producer_, sent), IsError(Errc::kPeerLost));
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  add(1, "b");
  SimClient& consumer = client(1);
  const RequestId waiting = consumer.recv("from the dead");
  sent = start("from the dead", 200'000, each({1}));
  ASSERT_TRUE(world_.run_until([&] { return sidecar(1).stats().receive.runs == 1; }, 20 * kSecond));
  world_.kill(sidecar(0));
  EXPECT_THAT(wait(consumer, waiting), IsError(Errc::kPeerLost));
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
}

}  // namespace
}  // namespace sidecar::sim
