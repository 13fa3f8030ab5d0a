// Rule 10: whoever waits for a chunk is never blocked by those that nobody waits for.
#include "tests/contract_sim/room_fixture.h"

namespace sidecar::sim {
namespace {

class Rule10ReceiveQuota : public RoomCluster {
 protected:
  Rule10ReceiveQuota() : RoomCluster(4 * kMiB) {}
};

TEST_F(Rule10ReceiveQuota, ChunkZeroArrivesThoughTheOthersFillTheArena) {
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 1; chunk < 10; ++chunk) sends.push_back(start("x", 60'000, chunk, 10));
  world_.run_for(kSecond);
  EXPECT_GT(sidecar(1).stats().parked_chunks, 0u);
  const RequestId waiting = consumer_->recv("x", 0);
  settle();
  sends.push_back(start("x", 60'000, 0, 10));
  EXPECT_THAT(wait(*consumer_, waiting, kSecond), IsOk());
  EXPECT_EQ(sidecar(1).stats().reserve.runs, 1u) << "in the reserve";
  for (ChunkIndex chunk = 0; chunk < 10; ++chunk) {
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsOk());
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, ChunkZeroGoesFirstWhenItWasParkedBeforeAnybodyWanted) {
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 1; chunk < 9; ++chunk) sends.push_back(start("x", 60'000, chunk, 10));
  settle();
  sends.push_back(start("x", 60'000, 0, 10));
  expect_waits(*producer_, sends.back(), kSecond);
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0), kSecond), IsOk());
  for (const ChunkIndex chunk : {0, 1, 2, 3, 4, 5, 6, 7, 8})
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
  leaves_data(1);
}

TEST_F(Rule10ReceiveQuota, ChunkZeroIsLetInWhenItHadBeenRefused) {
  add({.rank = 2, .node = "c", .adjust = [](EngineOptions& options) { options.parked_max = 2; }});
  add(3, "d", 4 * kMiB);
  producer_ = &client(3);
  SimClient& consumer = client(2);
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 1; chunk < 16; ++chunk) {
    sends.push_back(
        producer_->send({.id = "x", .chunk = chunk, .num_chunks = 16, .bytes = 45'000, .to = each({2})}));
  }
  world_.run_for(kSecond);
  const std::uint64_t refusals = sidecar(2).stats().counters.refusals;
  EXPECT_GT(refusals, 0u);
  sends.push_back(
      producer_->send({.id = "x", .chunk = 0, .num_chunks = 16, .bytes = 45'000, .to = each({2})}));
  expect_waits(*producer_, sends.back());
  EXPECT_EQ(sidecar(2).stats().counters.refusals, refusals + 1);
  EXPECT_THAT(wait(consumer, consumer.recv("x", 0), kSecond), IsOk());
  for (ChunkIndex chunk = 0; chunk < 16; ++chunk) {
    EXPECT_THAT(recv(consumer, "x", chunk), IsOk());
    EXPECT_THAT(done(consumer, "x", chunk), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, WhatNobodyWaitsForDoesNotUseTheReserve) {
  std::vector<RequestId> sends;
  for (int i = 0; i < 9; ++i) sends.push_back(start("x" + std::to_string(i), 60'000));
  world_.run_for(kSecond);
  EXPECT_GT(sidecar(1).stats().parked_chunks, 0u);
  EXPECT_EQ(sidecar(1).stats().reserve.runs, 0u);
  for (int i = 0; i < 9; ++i) EXPECT_THAT(done(*consumer_, "x" + std::to_string(i)), IsOk());
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, SmallInlineArrivalsThatFindNoRoomWaitForIt) {
  EXPECT_THAT(wait(*producer_, start("first", kReceiveRegion)), IsOk());
  const RequestId small =
      producer_->send({.id = "x", .bytes = 500, .to = each({1}), .kind = ChunkKind::kObject});
  expect_waits(*producer_, small);
  EXPECT_EQ(sidecar(1).stats().parked_chunks, 1u);
  EXPECT_EQ(sidecar(1).stats().counters.refusals, 0u);
  const RequestId waiting = consumer_->recv("x");
  EXPECT_THAT(wait(*consumer_, waiting, kSecond), IsOk()) << "wanted: it may use the reserve";
  EXPECT_THAT(wait(*producer_, small, kSecond), IsOk());
}

TEST_F(Rule10ReceiveQuota, WaitersForRoomNeverDelayOtherCalls) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, 2 * kMiB);
  std::vector<RequestId> parked;
  for (int i = 0; i < 100; ++i) parked.push_back(start("p" + std::to_string(i), 1'000));
  settle();
  // Rank 0 is full for sending; as a consumer it works as ever.
  EXPECT_THAT(wait(*consumer_, consumer_->send({.id = "back", .bytes = 50'000, .to = each({0})}), kSecond),
              IsOk());
  EXPECT_THAT(wait(*producer_, producer_->recv("back"), 10 * kMillisecond), IsOk());
  EXPECT_THAT(wait(*producer_, producer_->mark_done("back"), 10 * kMillisecond), IsOk());
  EXPECT_THAT(wait(*producer_, producer_->close_stream("s", 0, each({1})), kSecond), IsOk());
  producer_->release_slot(all);
  for (const RequestId request : parked) EXPECT_THAT(wait(*producer_, request), IsOk());
}

// --- chunks larger than the reserve
// ------------------------------------------------------------------------------------------------

TEST_F(Rule10ReceiveQuota, ChunkZeroOfLargeChunksArrivesThoughTheOthersFillTheArena) {
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 1; chunk < 10; ++chunk) sends.push_back(start("x", 100'000, chunk, 10));
  world_.run_for(kSecond);
  EXPECT_GT(sidecar(1).stats().receive.runs, 1u);
  EXPECT_GT(sidecar(1).stats().parked_chunks, 0u);
  const RequestId waiting = consumer_->recv("x", 0);
  settle();
  sends.push_back(start("x", 100'000, 0, 10));
  EXPECT_THAT(wait(*consumer_, waiting, kSecond), IsOk());
  for (ChunkIndex chunk = 0; chunk < 10; ++chunk) {
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsOk());
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, TheRoomIsKeptFromSmallOnesOfOtherDataToo) {
  std::vector<RequestId> sends{start("x", 200'000, 1, 2)};
  settle();
  for (int i = 0; i < 20; ++i) sends.push_back(start("small" + std::to_string(i), 30'000));
  world_.run_for(kSecond);
  EXPECT_GT(sidecar(1).stats().parked_chunks, 0u);
  const RequestId waiting = consumer_->recv("x", 0);
  sends.push_back(start("x", 200'000, 0, 2));
  EXPECT_THAT(wait(*consumer_, waiting, kSecond), IsOk());
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  world_.run_for(kSecond);
  EXPECT_GE(sidecar(1).stats().receive.runs, 14u) << "nothing more of x is to come: all room is theirs";
  for (int i = 0; i < 20; ++i) EXPECT_THAT(done(*consumer_, "small" + std::to_string(i)), IsOk());
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, TheLastToComeNeedsToLeaveNoRoom) {
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) sends.push_back(start("x", 110'000, chunk, 4));
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request, kSecond), IsOk());
  EXPECT_EQ(sidecar(1).stats().receive.runs, 4u);
}

TEST_F(Rule10ReceiveQuota, NoRoomIsKeptForWhatHasItsSlotAndIsOnItsWay) {
  world_.conditions().rendezvous_delay = 3 * kSecond;
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 0; chunk < 2; ++chunk) sends.push_back(start("x", 200'000, chunk, 2));
  EXPECT_TRUE(world_.run_until([&] { return sidecar(1).stats().receive.runs == 2; }));
  const RequestId small =
      producer_->send({.id = "small", .bytes = 500, .to = each({1}), .kind = ChunkKind::kObject});
  EXPECT_THAT(wait(*producer_, small, 5 * kMillisecond), IsOk());
  EXPECT_FALSE(producer_->over(sends[0]) && producer_->over(sends[1]));
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(Rule10ReceiveQuota, TheRoomIsGivenFreeWhenTheProducerIsLost) {
  std::vector<RequestId> lost{start("x", 200'000, 1, 2)};
  settle();
  add(2, "c", 4 * kMiB);
  SimClient& other = client(2);
  std::vector<RequestId> sends;
  for (int i = 0; i < 8; ++i)
    sends.push_back(other.send({.id = "small" + std::to_string(i), .bytes = 30'000, .to = each({1})}));
  world_.run_for(kSecond);
  EXPECT_GT(sidecar(1).stats().parked_chunks, 0u);
  world_.kill(sidecar(0));
  for (const RequestId request : sends) EXPECT_THAT(wait(other, request, 60 * kSecond), IsOk());
  leaves_data(1);  // what is done of x has a gap
}

// Of more than half the region there is never room for two.
TEST_F(Rule10ReceiveQuota, OfTheLargestTheFirstMissingIsLetInAndAnyThatIsWaitedFor) {
  const std::uint64_t most = kReceiveRegion / 4 * 3;
  const RequestId second = start("x", most, 1, 3);
  expect_waits(*producer_, second, kSecond);
  const RequestId first = start("x", most, 0, 3);
  expect_waits(*producer_, first, kSecond);
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0), kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, first, kSecond), IsOk());
  EXPECT_THAT(done(*consumer_, "x", 0), IsOk());
  EXPECT_THAT(wait(*producer_, second, kSecond), IsOk()) << "now it is the first missing one";
  const RequestId third = start("x", most, 2, 3);
  expect_waits(*producer_, third, kSecond);
  EXPECT_THAT(recv(*consumer_, "x", 1), IsOk());
  EXPECT_THAT(done(*consumer_, "x", 1), IsOk());
  EXPECT_THAT(wait(*producer_, third, kSecond), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
