// Rules about memory that several processes look at: who is on the same node, views, zombies, and arenas that
// outlive their owners (rules 1, 2, 3, 4 and 12).
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

using Rule01Groups = Cluster;
using Rule02SameNode = Cluster;
using Rule03MarkDoneAndViews = Cluster;
using Rule04Zombies = Cluster;
using Rule12Arenas = Cluster;

TEST_F(Rule01Groups, TheSmallestRankHoldsTheGroupsData) {
  add(0, "a");
  for (const Rank rank : {1, 2, 3}) add(rank, "b");
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .to = {{3, 1, 2}}}), IsOk());
  EXPECT_EQ(sidecar(1).stats().chunks, 1u);
  EXPECT_EQ(sidecar(2).stats().chunks, 0u);
  EXPECT_EQ(sidecar(3).stats().chunks, 0u);
}

TEST_F(Rule01Groups, GroupsMayOverlapAsLongAsTheirLeadersDiffer) {
  add(0, "a");
  for (const Rank rank : {1, 2, 3}) add(rank, "b");
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .to = {{1, 3}, {2, 3}}}), IsOk());
  EXPECT_EQ(sidecar(1).stats().chunks, 1u);
  EXPECT_EQ(sidecar(2).stats().chunks, 1u);
}

TEST_F(Rule01Groups, TheLeadersLossEndsItsClientsCallsWithPeerLost) {
  add(0, "a");
  add(1, "b");
  SimClient& consumer = client(1);
  const RequestId request = consumer.recv("x");
  settle();
  world_.kill(sidecar(1));
  EXPECT_THAT(wait(consumer, request), IsError(Errc::kPeerLost));
  add(1, "b");
  consumer.connect();
  ASSERT_TRUE(world_.run_until([&] { return consumer.connected(); }, kSecond));
  EXPECT_THAT(send(client(0), {.id = "x", .to = each({1})}), IsOk());
  EXPECT_THAT(recv(consumer, "x"), IsOk()) << "registered again, it is served";
}

// --- same node
// -----------------------------------------------------------------------------------------------------------------

TEST_F(Rule02SameNode, ADifferentNodeNameVetoesSharedMemory) {
  add({.rank = 0, .node = "a", .machine = "m"});
  add({.rank = 1, .node = "b", .machine = "m"});
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 0u);
  EXPECT_EQ(sidecar(1).stats().counters.bytes_received, 5'000u);
  EXPECT_EQ(sidecar(0).engine().peers().at(0).path, "network");
}

TEST_F(Rule02SameNode, AnEqualNodeNameOnAnotherMachineFallsBackToTheNetwork) {
  add({.rank = 0, .node = "a", .machine = "m"});
  add({.rank = 1, .node = "a", .machine = "n"});
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 0u);
  EXPECT_EQ(sidecar(1).stats().counters.bytes_received, 5'000u);
  EXPECT_THAT(recv(client(1), "x"), IsOk());
}

TEST_F(Rule02SameNode, AnArenaThatCannotBeMappedMeansThatBytesMove) {
  add({.rank = 0, .node = "a", .mappable = false});
  add({.rank = 1, .node = "a"});
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 0u);
  EXPECT_THAT(recv(client(1), "x"), IsOk());
  // The other way its clients cannot look into its arena either: they get the bytes.
  EXPECT_THAT(send(client(1), {.id = "y", .bytes = 5'000, .to = each({0})}), IsOk());
  const Outcome& got = recv(producer, "y");
  EXPECT_THAT(got, IsOk());
  EXPECT_THAT(wait(producer, producer.allocate(1'000)), IsError(Errc::kUnavailable));
}

TEST_F(Rule02SameNode, TheSameNameAndTheSameMachineShareMemory) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 1u);
  EXPECT_EQ(sidecar(1).arenas_mapped(), 1u);
  EXPECT_EQ(sidecar(0).engine().peers().at(0).path, "shared memory");
}

// --- views
// ---------------------------------------------------------------------------------------------------------------------

TEST_F(Rule03MarkDoneAndViews, TheSlotsLiveOnForTheOtherHolders) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& first = client(1);
  SimClient& second = client(1);
  const std::uint64_t view = recv(second, "x").reply.view;
  recv(first, "x");
  EXPECT_THAT(done(first, "x"), IsOk());
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u) << "the second still looks at it";
  EXPECT_EQ(sidecar(1).stats().chunks, 0u) << "but it is hidden";
  EXPECT_THAT(recv(second, "x"), IsError(Errc::kAlreadyDone));
  second.check_views();
  second.release_view(view);
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
}

TEST_F(Rule03MarkDoneAndViews, MarkDoneForfeitsTheCallersOwnViews) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& consumer = client(1);
  for (int i = 0; i < 3; ++i) recv(consumer, "x");
  EXPECT_EQ(sidecar(1).stats().views, 1u) << "one grant, counted three times";
  EXPECT_THAT(done(consumer, "x"), IsOk());
  EXPECT_EQ(sidecar(1).stats().views, 0u);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
}

TEST_F(Rule03MarkDoneAndViews, ASecondMarkDoneForfeitsItsCallersViewsToo) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  SimClient& producer = client(0);
  SimClient& first = client(1);
  SimClient& second = client(1);
  for (const bool whole : {false, true}) {  // is the datum over with the first mark_done?
    const std::string id = whole ? "whole" : "part";
    EXPECT_THAT(send(producer, {.id = id, .num_chunks = whole ? 1u : 2u, .bytes = 5'000, .to = each({1})}),
                IsOk());
    recv(first, id);
    recv(second, id);
    EXPECT_THAT(done(first, id), IsOk());
    EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
    EXPECT_THAT(done(second, id), IsOk());
    EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
    EXPECT_EQ(sidecar(1).stats().views, 0u);
  }
  leaves_data(1);
}

TEST_F(Rule03MarkDoneAndViews, EveryReplyCountsAsOneView) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& holder = client(1);
  for (int i = 0; i < 3; ++i) recv(holder, "x");
  done(client(1), "x");
  const std::uint64_t view = holder.views().begin()->first;
  Release one;
  one.views = 1;
  one.view[0] = view;
  one.count[0] = 2;
  holder.raw(one, 1'000'000);
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u) << "two of three given back";
  holder.check_views();
  one.count[0] = 5;  // more than it has: counts as all
  holder.raw(one, 1'000'000);
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  holder.raw(one, 1'000'000);  // unknown by now
  settle();
  world_.kill(holder);
}

TEST_F(Rule03MarkDoneAndViews, AReplyThatCrossesAMarkDoneOfAnotherKeepsItsSlots) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& first = client(1);
  SimClient& second = client(1);
  world_.stop(second);
  world_.go_on(second);
  const RequestId request = second.recv("x");
  ASSERT_TRUE(world_.run_until([&] { return sidecar(1).stats().views == 1; }, kSecond));
  world_.stop(second);  // told where, and cannot have said anything about it
  EXPECT_THAT(done(first, "x"), IsOk());
  world_.run_for(30 * kSecond);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
  world_.go_on(second);
  EXPECT_THAT(wait(second, request), IsOk());
  second.check_views();
}

TEST_F(Rule03MarkDoneAndViews, AViewIntoAPeersArenaHoldsThePeersSlot) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& holder = client(1);
  recv(holder, "x");
  EXPECT_THAT(done(client(1), "x"), IsOk());
  settle();
  EXPECT_EQ(sidecar(0).stats().lent, 1u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u);
  holder.check_views();
  holder.release_all_views();
  settle();
  EXPECT_EQ(sidecar(0).stats().lent, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

// --- zombies
// -------------------------------------------------------------------------------------------------------------------

TEST_F(Rule04Zombies, SlotsOfAClientWhoseConnectionBrokeAreKeptUntilItsProcessIsGone) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& zombie = client(1);
  recv(zombie, "x");
  world_.network().reset(zombie, sidecar(1));
  ASSERT_TRUE(world_.run_until([&] { return !zombie.connected(); }, kSecond));
  EXPECT_THAT(done(client(1), "x"), IsOk());
  world_.run_for(600 * kSecond);
  zombie.check_views();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
  EXPECT_EQ(sidecar(1).stats().quarantined, 1u);
  world_.kill(zombie);
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  EXPECT_EQ(sidecar(1).stats().quarantined, 0u);
}

TEST_F(Rule04Zombies, AllocationsOfSuchAClientAreKeptToo) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  SimClient& zombie = client(0);
  allocate(zombie, 10'000);
  world_.network().reset(zombie, sidecar(0));
  ASSERT_TRUE(world_.run_until([&] { return !zombie.connected(); }, kSecond));
  world_.run_for(60 * kSecond);
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u) << "its process may still write there";
  world_.kill(zombie);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(Rule04Zombies, AClientThatSaysGoodbyeLeavesNothing) {
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& consumer = client(1);
  recv(consumer, "x");
  consumer.recv("never", 0, kNever);
  consumer.allocate(1'000);
  settle();
  consumer.disconnect();
  settle();
  const EngineStats stats = sidecar(1).stats();
  EXPECT_EQ(stats.views, 0u);
  EXPECT_EQ(stats.waiting_recvs, 0u);
  EXPECT_EQ(stats.send.runs, 0u);
  EXPECT_EQ(stats.clients, 0u);
  EXPECT_EQ(stats.quarantined, 0u);
}

TEST_F(Rule04Zombies, SlotsLentToALostPeerAreKeptUntilItsProcessIsGone) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& consumer = client(1);
  recv(consumer, "x");
  SimSidecar& zombie = sidecar(1);
  world_.stop(zombie);
  world_.run_for(40 * kSecond);  // beyond the peer time-out: lost, though its process is there
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u);
  EXPECT_EQ(sidecar(0).stats().quarantined, 1u);
  consumer.check_views();
  world_.kill(zombie);
  world_.run_for(5 * kSecond);
  EXPECT_EQ(sidecar(0).stats().quarantined, 1u) << "its client lives, and looks at it";
  consumer.check_views();
  world_.kill(consumer);
  world_.run_for(2 * kSecond);
  EXPECT_EQ(sidecar(0).stats().quarantined, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

// --- arenas
// ----------------------------------------------------------------------------------------------------------------------

TEST_F(Rule12Arenas, DeliveredDataOutlivesTheProducersSidecar) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 50'000, .to = each({1})}), IsOk());
  world_.kill(sidecar(0));
  world_.run_for(60 * kSecond);
  SimClient& consumer = client(1);
  const Outcome& got = wait(consumer, consumer.recv("x", 0, kSecond, true));
  EXPECT_THAT(got, IsOk());
  EXPECT_TRUE(got.salt) << "through the mapping of a file that has no owner any more";
  EXPECT_EQ(sidecar(1).arenas_mapped(), 1u);
  EXPECT_THAT(done(consumer, "x"), IsOk());
  settle();
  EXPECT_EQ(sidecar(1).arenas_mapped(), 0u) << "unmapped with the last slot";
}

TEST_F(Rule12Arenas, ARestartedProducerHasAnArenaOfItsOwn) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  EXPECT_THAT(send(client(0), {.id = "old", .bytes = 50'000, .to = each({1})}), IsOk());
  world_.kill(sidecar(0));
  world_.run_for(kSecond);
  add(0, "a");
  EXPECT_THAT(send(client(0), {.id = "new", .bytes = 50'000, .to = each({1})}), IsOk());
  SimClient& consumer = client(1);
  for (const char* id : {"old", "new"}) {
    const Outcome& got = wait(consumer, consumer.recv(id, 0, kSecond, true));
    EXPECT_THAT(got, IsOk());
    EXPECT_TRUE(got.salt);
    EXPECT_THAT(done(consumer, id), IsOk());
  }
  settle();
  EXPECT_EQ(sidecar(1).arenas_mapped(), 1u) << "the living one's";
}

TEST_F(Rule12Arenas, AClientOnAnotherMachineGetsTheBytesOfAPeersArenaFromItsOwnSidecar) {
  add(0, "a");
  add(1, "a");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 50'000, .to = each({1})}), IsOk());
  SimClient& far = client({.rank = 1, .machine = "elsewhere"});
  const Outcome& got = wait(far, far.recv("x", 0, kSecond, true));
  EXPECT_THAT(got, IsOk());
  EXPECT_EQ(got.reply.where, Where::kPayload);
  EXPECT_TRUE(got.salt);
}

}  // namespace
}  // namespace sidecar::sim
