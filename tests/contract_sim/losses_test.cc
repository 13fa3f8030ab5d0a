// When a peer counts as lost, what that ends and what it leaves alone (rule 8).
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

using Rule08PeerLost = Faults;

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

// Its parent has taken note of the end before its links tell of it: nobody can begin to watch it then.
TEST_F(Rule08PeerLost, ANeighboursEndIsProvenLongBeforeThePeerTimeOut) {
  NEEDS_MAPPED_ARENAS();
  SimClient& neighbour = client(2);  // of rank 0's node
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({2}), 0, 2)), IsOk());
  const RequestId waiting = neighbour.recv("x", 1);
  settle();
  world_.kill(sidecar(0));
  const Outcome& outcome = wait(neighbour, waiting, 1 * kSecond);
  EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  EXPECT_EQ(outcome.reply.rank, 0);
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

TEST_F(Rule08PeerLost, AViewOfANeighboursMemoryOutlivesTheSidecarThatToldOfIt) {
  NEEDS_MAPPED_ARENAS();
  SimClient& reader = client(2);  // of rank 0's node
  EXPECT_THAT(wait(*producer_, start("x", 200'000, each({2}))), IsOk());
  EXPECT_THAT(recv(reader, "x"), IsOk());
  world_.kill(sidecar(2));
  world_.run_for(5 * kSecond);
  EXPECT_EQ(sidecar(0).stats().quarantined, 1u);
  // Whatever is free is written to.
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(wait(*producer_, start("y" + std::to_string(i), 200'000, each({1}))), IsOk());
    EXPECT_THAT(done(*consumer_, "y" + std::to_string(i)), IsOk());
  }
  reader.check_views();
  reader.forget_all();
  world_.run_for(2 * kSecond);
  EXPECT_EQ(sidecar(0).stats().quarantined, 0u);
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

TEST_F(Rule08PeerLost, OneSidedLossLeavesNoSlotBehind) {
  NEEDS_MAPPED_ARENAS();
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({2}), 0, 2)), IsOk());
  SimClient& near = client(2);
  recv(near, "x", 0);
  world_.stop(sidecar(0));  // which will know nothing of having been away
  EXPECT_THAT(recv(near, "x", 1), IsError(Errc::kPeerLost));
  EXPECT_THAT(done(near, "x", 0), IsOk());
  world_.run_for(10 * kSecond);
  world_.go_on(sidecar(0));
  world_.run_for(10 * kSecond);
  EXPECT_EQ(sidecar(0).stats().counters.peers_lost, 0u);
  EXPECT_EQ(sidecar(2).stats().counters.peers_lost, 1u);
  EXPECT_EQ(sidecar(0).stats().lent, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  EXPECT_THAT(wait(*producer_, start("y", 5'000, each({2}))), IsOk()) << "and they share memory as before";
  EXPECT_EQ(sidecar(2).stats().counters.chunks_mapped, 2u);
}

TEST_F(Rule08PeerLost, OneSidedLossDoesNotTurnAResendIntoAlreadyExists) {
  for (const Rank to : {1, 2}) {
    const std::string id = "x" + std::to_string(to);
    SimClient& at = client(to);
    EXPECT_THAT(wait(*producer_, start(id, 5'000, each({to}), 0, 3)), IsOk());
    const RequestId waiting = at.recv(id, 2);
    const std::uint64_t before = sidecar(to).stats().counters.chunks_received;
    break_at<Ack>(1);
    const RequestId sent = start(id, 5'000, each({to}), 1, 3);
    ASSERT_TRUE(
        world_.run_until([&] { return sidecar(to).stats().counters.chunks_received > before; }, kSecond));
    world_.stop(sidecar(0));
    EXPECT_THAT(wait(at, waiting), IsError(Errc::kPeerLost));
    world_.go_on(sidecar(0));
    EXPECT_THAT(wait(*producer_, sent), IsOk()) << "it is there";
    EXPECT_THAT(recv(at, id, 1), IsOk());
    EXPECT_THAT(wait(*producer_, start(id, 5'000, each({to}), 2, 3)), IsError(Errc::kPeerLost))
        << "for the rest it is final";
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
