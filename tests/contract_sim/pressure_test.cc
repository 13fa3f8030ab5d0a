// Memory pressure: who waits, in which order, what may pass them, and how it ends.
#include "tests/contract_sim/room_fixture.h"

namespace sidecar::sim {
namespace {

class ContractPressure : public RoomCluster {
 protected:
  ContractPressure() : RoomCluster(kMiB) {}
};
using RegressionR12 = ContractPressure;
using RegressionC4 = ContractPressure;

TEST_F(ContractPressure, AFullSendRegionMakesAllocationsWaitAndClears) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, kSendRegion);
  const RequestId waiting = producer_->allocate(1'000);
  expect_waits(*producer_, waiting);
  EXPECT_TRUE(sidecar(0).stats().memory_pressure()) << "visible";
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 1u);
  producer_->release_slot(all);
  EXPECT_THAT(wait(*producer_, waiting, kSecond), IsOk());
  EXPECT_FALSE(sidecar(0).stats().memory_pressure()) << "cleared";
}

TEST_F(ContractPressure, AFullSendRegionMakesSendsWaitAndClears) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, kSendRegion);
  const RequestId payload = start("x", 100'000);
  SendSpec object{.id = "y", .bytes = 100, .to = each({1}), .kind = ChunkKind::kObject};
  const RequestId small = producer_->send(object);
  expect_waits(*producer_, payload);
  EXPECT_FALSE(producer_->outcome(payload).captured) << "the bytes are still the client's";
  EXPECT_FALSE(producer_->over(small));
  producer_->release_slot(all);
  EXPECT_THAT(wait(*producer_, payload, kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, small, kSecond), IsOk());
  EXPECT_THAT(recv(*consumer_, "y"), IsOk());
}

TEST_F(ContractPressure, AFullReceiveRegionMakesArrivalsWaitAndClears) {
  EXPECT_THAT(wait(*producer_, start("first", kReceiveRegion)), IsOk());
  const RequestId second = start("second", 300'000);
  expect_waits(*producer_, second);
  EXPECT_TRUE(sidecar(1).stats().memory_pressure()) << "visible";
  EXPECT_EQ(sidecar(1).stats().parked_chunks, 1u);
  EXPECT_THAT(done(*consumer_, "first"), IsOk());
  EXPECT_THAT(wait(*producer_, second, kSecond), IsOk());
  EXPECT_FALSE(sidecar(1).stats().memory_pressure()) << "cleared";
  EXPECT_THAT(recv(*consumer_, "second"), IsOk());
}

TEST_F(ContractPressure, WaitersAreServedInTheOrderOfTheirComing) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, kSendRegion);
  std::vector<RequestId> requests;
  for (int i = 0; i < 20; ++i) requests.push_back(producer_->allocate(200'000));
  settle();
  producer_->release_slot(all);
  for (std::size_t served = 0; served < requests.size(); ++served) {
    const Outcome& outcome = wait(*producer_, requests[served], kSecond);
    ASSERT_THAT(outcome, IsOk());
    for (std::size_t later = served + 2; later < requests.size(); ++later)
      EXPECT_FALSE(producer_->over(requests[later]));
    producer_->release_slot(outcome.reply.offset);
  }
}

TEST_F(ContractPressure, ALargeAllocationIsNotStarvedBySmallOnes) {
  NEEDS_MAPPED_ARENAS();
  std::vector<std::uint64_t> held;
  for (int i = 0; i < 8; ++i) held.push_back(allocate(*producer_, kSendRegion / 8));
  const RequestId large = producer_->allocate(kSendRegion / 2);
  std::vector<RequestId> small;
  for (int i = 0; i < 50; ++i) small.push_back(producer_->allocate(64));
  settle();
  for (int i = 0; i < 8; ++i) {
    if (!producer_->over(large)) {
      small.push_back(producer_->allocate(64));  // from the second round on there is room for it
      settle();
      for (const RequestId request : small)
        EXPECT_FALSE(producer_->over(request)) << "a small one passed the large one";
    }
    producer_->release_slot(held[static_cast<std::size_t>(i)]);
    settle();
  }
  EXPECT_THAT(wait(*producer_, large, kSecond), IsOk());
  for (const RequestId request : small) EXPECT_THAT(wait(*producer_, request, kSecond), IsOk());
}

TEST_F(ContractPressure, ALargeArrivalIsNotStarvedBySmallOnes) {
  for (const std::uint64_t small_bytes : {500, 2'000}) {  // inline, and with a payload
    const std::string round = std::to_string(small_bytes);
    std::vector<std::string> held;
    for (int i = 0; i < 7; ++i) {
      held.push_back(round + "held" + std::to_string(i));
      EXPECT_THAT(wait(*producer_, start(held.back(), 64 * kKiB)), IsOk());
    }
    EXPECT_THAT(done(*consumer_, held[0]), IsOk());  // room for small ones, not for the large one
    const RequestId large = start(round + "large", 300 * kKiB);
    settle();
    std::vector<RequestId> small;
    for (int i = 0; i < 5; ++i) small.push_back(start(round + "small" + std::to_string(i), small_bytes));
    settle();
    for (int i = 1; i < 7; ++i) {
      if (!producer_->over(large)) {
        for (const RequestId request : small)
          EXPECT_FALSE(producer_->over(request)) << "a small one passed the large one";
      }
      EXPECT_THAT(done(*consumer_, held[static_cast<std::size_t>(i)]), IsOk());
      settle();
    }
    EXPECT_THAT(wait(*producer_, large, kSecond), IsOk());
    for (const RequestId request : small) EXPECT_THAT(wait(*producer_, request, kSecond), IsOk());
    EXPECT_THAT(done(*consumer_, round + "large"), IsOk());
    for (int i = 0; i < 5; ++i) EXPECT_THAT(done(*consumer_, round + "small" + std::to_string(i)), IsOk());
  }
}

TEST_F(ContractPressure, WhatCanNeverFitFailsAtOnceWithBothSizes) {
  NEEDS_MAPPED_ARENAS();
  const Outcome& allocation = wait(*producer_, producer_->allocate(kSendRegion + 1), 10 * kMillisecond);
  EXPECT_THAT(allocation, IsError(Errc::kNoSpace));
  EXPECT_THAT(allocation.text(), ::testing::HasSubstr(std::to_string(kSendRegion + 1)));
  EXPECT_THAT(allocation.text(), ::testing::HasSubstr(std::to_string(kSendRegion)));
  const Outcome& sent = wait(*producer_, start("x", 600'000), kSecond);
  EXPECT_THAT(sent, IsError(Errc::kNoSpace));
  EXPECT_THAT(sent.text(), ::testing::HasSubstr("600000"));
  EXPECT_THAT(sent.text(), ::testing::HasSubstr(std::to_string(kSendRegion)));
}

TEST_F(ContractPressure, WhatCanNeverFitAtTheDestinationFailsAtOnceWithBothSizes) {
  const std::uint64_t bytes = kReceiveRegion + 1;  // it fits the send region
  const Outcome& sent = wait(*producer_, start("x", bytes), kSecond);
  EXPECT_THAT(sent, IsError(Errc::kNoSpace));
  EXPECT_EQ(sent.reply.rank, 1);
  EXPECT_THAT(sent.text(), ::testing::HasSubstr(std::to_string(bytes)));
  EXPECT_THAT(sent.text(), ::testing::HasSubstr(std::to_string(kReceiveRegion)));
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(ContractPressure, ASameNodeDestinationNeedsNoRoomOfItsOwn) {
  NEEDS_MAPPED_ARENAS();
  add({.rank = 2, .node = "a", .arena_bytes = 16 * kKiB});
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 400'000, .to = each({2})}), IsOk());
  EXPECT_THAT(recv(client(2), "x"), IsOk());
}

TEST_F(ContractPressure, DeadlineAndCancelEndAWaitForRoomAtEitherEnd) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, kSendRegion);
  const RequestId allocation = producer_->allocate(1'000, 300 * kMillisecond);
  const RequestId parked =
      producer_->send({.id = "x", .bytes = 5'000, .to = each({1}), .timeout = 300 * kMillisecond});
  const RequestId cancelled = producer_->allocate(1'000);
  const RequestId cancelled_send = start("y", 5'000);
  settle();
  producer_->cancel(cancelled);
  producer_->cancel(cancelled_send);
  EXPECT_THAT(wait(*producer_, cancelled, 100 * kMillisecond), IsError(Errc::kCancelled));
  EXPECT_THAT(wait(*producer_, cancelled_send, 100 * kMillisecond), IsError(Errc::kCancelled));
  EXPECT_THAT(wait(*producer_, allocation, kSecond), IsError(Errc::kTimeout));
  EXPECT_THAT(wait(*producer_, parked, kSecond), IsError(Errc::kTimeout));
  EXPECT_FALSE(sidecar(0).stats().memory_pressure());
  producer_->release_slot(all);
}

TEST_F(ContractPressure, WhoWaitsBehindOneThatGivesUpIsServed) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t part = allocate(*producer_, kSendRegion - 64 * kKiB);
  const RequestId large = producer_->allocate(200'000, 300 * kMillisecond);
  const RequestId small = producer_->allocate(1'000);
  expect_waits(*producer_, small, 200 * kMillisecond);
  EXPECT_THAT(wait(*producer_, large, kSecond), IsError(Errc::kTimeout));
  EXPECT_THAT(wait(*producer_, small, 100 * kMillisecond), IsOk()) << "there was room for it all along";
  producer_->release_slot(part);
}

TEST_F(ContractPressure, TwoFullSidecarsThatSendToEachOtherMakeProgress) {
  SimClient* const clients[] = {producer_, consumer_};
  std::vector<std::pair<SimClient*, RequestId>> sends;
  for (int i = 0; i < 40; ++i) {
    for (const Rank from : {0, 1}) {
      SimClient* const client = clients[from];
      sends.emplace_back(client, client->send({.id = "from" + std::to_string(from) + "/" + std::to_string(i),
                                               .bytes = 60'000,  // so that the reserve holds one
                                               .to = each({1 - from})}));
    }
  }
  world_.run_for(kSecond);
  EXPECT_TRUE(sidecar(0).stats().memory_pressure());
  EXPECT_TRUE(sidecar(1).stats().memory_pressure());
  for (int i = 0; i < 40; ++i) {
    for (const Rank at : {0, 1}) {
      const std::string id = "from" + std::to_string(1 - at) + "/" + std::to_string(i);
      EXPECT_THAT(recv(*clients[at], id), IsOk());
      EXPECT_THAT(done(*clients[at], id), IsOk());
    }
  }
  for (const auto& [client, request] : sends) EXPECT_THAT(wait(*client, request), IsOk());
}

// --- regressions
// ---------------------------------------------------------------------------------------------------------------

TEST_F(RegressionR12, FragmentedMemoryDelaysButNeverBlocksAWaiter) {
  NEEDS_MAPPED_ARENAS();
  std::vector<std::uint64_t> held;
  for (int i = 0; i < 8; ++i) held.push_back(allocate(*producer_, kSendRegion / 8));
  for (int i = 0; i < 8; i += 2) producer_->release_slot(held[static_cast<std::size_t>(i)]);
  const RequestId two_together =
      producer_->allocate(kSendRegion / 4, 20 * kSecond);  // half is free, no two adjacent
  expect_waits(*producer_, two_together);
  for (int i = 1; i < 8; i += 2) producer_->release_slot(held[static_cast<std::size_t>(i)]);
  EXPECT_THAT(wait(*producer_, two_together, kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, producer_->allocate(kSendRegion, 100 * kMillisecond)), IsError(Errc::kTimeout))
      << "and one that does not fit in time is told so";
}

TEST_F(RegressionC4, MemoryPressureIsAStateAndNotAMark) {
  NEEDS_MAPPED_ARENAS();
  for (int round = 0; round < 600; ++round) {
    const std::uint64_t all = allocate(*producer_, kSendRegion);
    const RequestId waiting = producer_->allocate(100);
    world_.run_for(kMillisecond);
    EXPECT_TRUE(sidecar(0).stats().memory_pressure());
    producer_->release_slot(all);
    producer_->release_slot(wait(*producer_, waiting, kSecond).reply.offset);
    world_.run_for(kMillisecond);
    ASSERT_FALSE(sidecar(0).stats().memory_pressure()) << "round " << round;
  }
}

}  // namespace
}  // namespace sidecar::sim
