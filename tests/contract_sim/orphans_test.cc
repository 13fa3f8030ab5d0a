// Chunks that no client is here to get: kept for the orphan grace, then freed as if they had been marked done
// (DESIGN 9).
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class ContractOrphans : public Cluster {
 protected:
  static constexpr TimeNs kGrace = 60 * kSecond;

  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add({.rank = 1, .node = "b", .arena_bytes = 4 * kMiB, .adjust = short_grace});
    add({.rank = 2, .node = "a", .arena_bytes = 4 * kMiB, .adjust = short_grace});
    producer_ = &client(0);
  }
  static void short_grace(EngineOptions& options) { options.orphan_grace = kGrace; }

  void send_ok(const std::string& id, Rank to, ChunkIndex chunk = 0, ChunkIndex num_chunks = 1) {
    EXPECT_THAT(send(*producer_,
                     {.id = id, .chunk = chunk, .num_chunks = num_chunks, .bytes = 20'000, .to = each({to})}),
                IsOk());
  }
  std::uint64_t freed(Rank rank) { return sidecar(rank).stats().counters.orphans_freed; }

  SimClient* producer_ = nullptr;
};

TEST_F(ContractOrphans, WhatNoClientEverCameForIsFreedAfterTheGraceAndSaysSo) {
  world_.run_for(3 * kGrace);  // alone for long: what counts is when the chunk came
  send_ok("x", 1);
  world_.run_for(kGrace - 2 * kSecond);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
  world_.run_for(4 * kSecond);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_EQ(freed(1), 1u);
  EXPECT_EQ(sidecar(1).stats().counters.orphan_bytes_freed, 20'000u);
  SimClient& late = client(1);
  const Outcome& got = recv(late, "x");
  EXPECT_THAT(got, IsError(Errc::kPeerLost));
  EXPECT_THAT(got.text(), ::testing::HasSubstr("orphan"));
  EXPECT_THAT(recv(late, "x", 1), IsError(Errc::kEndOfStream));
  EXPECT_THAT(done(late, "x"), IsOk());
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 20'000, .to = each({1})}), IsError(Errc::kAlreadyExists));
}

TEST_F(ContractOrphans, AReferenceIsGivenBackToItsOwner) {
  NEEDS_MAPPED_ARENAS();
  send_ok("x", 2);
  EXPECT_EQ(sidecar(0).stats().lent, 1u);
  world_.run_for(kGrace + 3 * kSecond);
  EXPECT_EQ(sidecar(2).stats().foreign, 0u);
  EXPECT_EQ(sidecar(0).stats().lent, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(ContractOrphans, TheGraceCountsFromWhenTheLastOfTheGroupsClientsWent) {
  SimClient& one = client({.rank = 1, .group = {1, 3}, .member = 1});
  SimClient& other = client({.rank = 1, .group = {1, 3}, .member = 3});
  send_ok("x", 1);
  world_.run_for(2 * kGrace);
  world_.kill(one);
  world_.run_for(2 * kGrace);
  EXPECT_EQ(freed(1), 0u) << "one live member is enough";
  other.disconnect();
  world_.run_for(kGrace - 2 * kSecond);
  EXPECT_EQ(freed(1), 0u);
  world_.run_for(4 * kSecond);
  EXPECT_EQ(freed(1), 1u);
}

TEST_F(ContractOrphans, WhoRegistersWithinTheGraceFindsEverything) {
  SimClient& first = client(1);
  send_ok("x", 1);
  send_ok("y", 1);
  for (SimClient* previous = &first; int round : {1, 2, 3}) {
    world_.kill(*previous);
    world_.run_for(kGrace - 3 * kSecond);  // together longer than one grace
    previous = &client(1);
    EXPECT_THAT(recv(*previous, "x"), IsOk()) << round;
  }
  EXPECT_EQ(freed(1), 0u);
}

TEST_F(ContractOrphans, ARegistrationKeepsThemBeforeItsClientHasConnected) {
  send_ok("x", 1);
  world_.run_for(kGrace - 2 * kSecond);
  ClientRegistration registration;
  registration.instance = 99;
  registration.leased = true;
  EXPECT_TRUE(sidecar(1).engine().register_client(registration));
  world_.run_for(10 * kGrace);
  EXPECT_EQ(freed(1), 0u);
  sidecar(1).engine().end_client(99, "its lease has ended");
  world_.run_for(kGrace + 2 * kSecond);
  EXPECT_EQ(freed(1), 1u);
}

TEST_F(ContractOrphans, WhoStillLooksAtOneKeepsItsMemory) {
  NEEDS_MAPPED_ARENAS();
  for (const Rank rank : {1, 2}) {
    SimClient& holder = client(rank);
    send_ok("x" + std::to_string(rank), rank);
    recv(holder, "x" + std::to_string(rank));
    sidecar(rank).engine().end_client(holder.instance(), "its lease has ended");
    sidecar(rank).touch();
    world_.run_for(kGrace + 3 * kSecond);
    EXPECT_EQ(freed(rank), 1u);
    EXPECT_EQ(sidecar(rank).stats().chunks, 0u);
    EXPECT_EQ(sidecar(rank).stats().quarantined, 1u);
    // Others get the room that is left, and nothing of what the holder looks at.
    for (int i = 0; i < 20; ++i) send_ok("y" + std::to_string(i), rank);
    holder.check_views();
    world_.kill(holder);
    settle();
    EXPECT_EQ(sidecar(rank).stats().quarantined, 0u);
  }
}

TEST_F(ContractOrphans, OfADatumThatIsNotCompleteEachChunkIsAnsweredForItself) {
  SimClient& first = client(1);
  for (const ChunkIndex chunk : {0, 1, 3}) send_ok("x", 1, chunk, 5);
  EXPECT_THAT(done(first, "x", 0), IsOk());
  world_.kill(first);
  world_.run_for(kGrace + 3 * kSecond);
  EXPECT_EQ(freed(1), 2u);
  SimClient& second = client(1);
  EXPECT_THAT(recv(second, "x", 0), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(recv(second, "x", 1), IsError(Errc::kPeerLost));
  EXPECT_THAT(recv(second, "x", 3), IsError(Errc::kPeerLost));
  const RequestId waiting = second.recv("x", 2);
  send_ok("x", 1, 2, 5);
  EXPECT_THAT(wait(second, waiting), IsOk()) << "what comes later is there for who is here";
  send_ok("x", 1, 4, 5);
  EXPECT_THAT(done(second, "x", 2), IsOk());
  EXPECT_THAT(done(second, "x", 4), IsOk());
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_THAT(recv(second, "x", 0), IsError(Errc::kAlreadyDone)) << "also when it is complete";
  EXPECT_THAT(recv(second, "x", 1), IsError(Errc::kPeerLost));
}

TEST_F(ContractOrphans, TheyMakeRoomForWhatWaits) {
  send_ok("x", 1);
  EXPECT_THAT(send(*producer_, {.id = "filler", .bytes = 1'800'000, .to = each({1})}), IsOk());
  const RequestId parked = producer_->send({.id = "y", .bytes = 900'000, .to = each({1})});
  expect_waits(*producer_, parked, kGrace - 5 * kSecond);
  EXPECT_THAT(wait(*producer_, parked, 10 * kSecond), IsOk());
  EXPECT_THAT(recv(client(1), "y"), IsOk()) << "it came just now";
}

TEST_F(ContractOrphans, ManyAreFreedAFewAtATime) {
  constexpr std::uint64_t kCount = 3000;
  std::vector<RequestId> sends;
  for (std::uint64_t i = 0; i < kCount; ++i)
    sends.push_back(producer_->send({.id = std::to_string(i), .bytes = 64, .to = each({1})}));
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_EQ(sidecar(1).stats().chunks, kCount);
  ASSERT_TRUE(world_.run_until([&] { return freed(1) > 0; }, kGrace + 3 * kSecond));
  EXPECT_LT(freed(1), kCount) << "not all in one step";
  world_.run_for(kSecond);
  EXPECT_EQ(freed(1), kCount);
  EXPECT_EQ(sidecar(1).stats().chunks, 0u);
}

TEST_F(ContractOrphans, ASidecarThatStoodStillGivesItsClientsTheirTimeAgain) {
  SimClient& first = client(1);
  send_ok("x", 1);
  world_.kill(first);
  world_.run_for(kSecond);
  world_.stop(sidecar(1));
  world_.run_for(kGrace + 10 * kSecond);  // nobody could have registered meanwhile
  world_.go_on(sidecar(1));
  world_.run_for(kGrace - 5 * kSecond);
  EXPECT_THAT(recv(client(1), "x"), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
