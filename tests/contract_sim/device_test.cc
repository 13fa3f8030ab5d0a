// Chunks that come from GPU memory, over a simulated device: captured after the copy, sent piece by piece,
// and gone without a trace when the copy fails.
#include <gtest/gtest.h>

#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

class ContractDevice : public Groups {
 protected:
  void SetUp() override {
    add(0, "a", 8 * kMiB);
    add(1, "a", 8 * kMiB);
    add(2, "b", 8 * kMiB);
    producer_ = &client(0);
    for (const Rank rank : {1, 2}) {
      EXPECT_THAT(send(*producer_, {.id = "connects", .to = each({rank})}), IsOk());
      EXPECT_THAT(done(client(rank), "connects"), IsOk());
    }
  }
  RequestId from_gpu(const std::string& id, std::uint64_t bytes, std::initializer_list<Rank> to,
                     TimeNs timeout = 600 * kSecond) {
    return producer_->send(
        {.id = id, .bytes = bytes, .to = each(to), .timeout = timeout, .source = Source::kDevice});
  }
  SimClient* producer_ = nullptr;
};

TEST_F(ContractDevice, ATensorOnAGpuArrivesWholeOnEitherPath) {
  for (const std::uint64_t bytes : {1ull, 64ull, 1'000ull, 65'537ull, 2'000'000ull}) {
    const std::string id = "x" + std::to_string(bytes);
    EXPECT_THAT(wait(*producer_, from_gpu(id, bytes, {1, 2})), IsOk());
    for (const Rank rank : {1, 2}) {
      EXPECT_THAT(recv(client(rank), id), IsOk());
      EXPECT_THAT(done(client(rank), id), IsOk());
    }
  }
}

TEST_F(ContractDevice, CapturedComesAfterTheCopyAndBeforeDelivery) {
  sidecar(0).device().hold(true);
  const RequestId request = from_gpu("x", 200'000, {1});
  settle();
  EXPECT_FALSE(producer_->outcome(request).captured);
  sidecar(0).device().hold(false);
  EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_TRUE(producer_->outcome(request).captured);
}

TEST_F(ContractDevice, PiecesLeaveForAnotherNodeWhileLaterOnesAreStillBeingCopied) {
  constexpr std::uint64_t kBytes = 3 * kMiB;
  sidecar(0).device().hold(true);
  const RequestId request = from_gpu("x", kBytes, {1, 2});
  sidecar(0).device().let_pieces_through(24);
  settle();
  EXPECT_GE(sidecar(2).stats().counters.bytes_received, kBytes / 2 - 2 * SimDevice::kPieceBytes);
  EXPECT_LE(sidecar(2).stats().counters.bytes_received, kBytes / 2 + 256);
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 0u) << "on the same node nothing is told yet";
  EXPECT_FALSE(producer_->over(request));
  sidecar(0).device().hold(false);
  EXPECT_THAT(wait(*producer_, request), IsOk());
  for (const Rank rank : {1, 2}) EXPECT_THAT(recv(client(rank), "x"), IsOk());
  EXPECT_LE(sidecar(2).stats().counters.bytes_received, kBytes + 256) << "nothing twice";
}

TEST_F(ContractDevice, MembersCopyTheirShardsFromTheirOwnGpus) { shards_arrive_from(Source::kDevice); }

TEST_F(ContractDevice, ACopyThatFailsFailsTheSendAndTakesBackWhatHasLeft) {
  constexpr std::uint64_t kBytes = 3 * kMiB;
  sidecar(0).device().fail_next();
  EXPECT_THAT(wait(*producer_, from_gpu("x", kBytes, {1, 2})), IsError(Errc::kIo));
  sidecar(0).device().hold(true);
  const RequestId request = from_gpu("y", kBytes, {2});
  sidecar(0).device().let_pieces_through(24);
  settle();
  EXPECT_EQ(sidecar(2).stats().receive.runs, 1u);
  world_.gpu_memories().clear();
  sidecar(0).device().hold(false);
  EXPECT_THAT(wait(*producer_, request), IsError(Errc::kIo));
  settle();
  EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
  EXPECT_THAT(wait(*producer_, from_gpu("y", kBytes, {2})), IsOk()) << "again, and nothing is in its way";
}

TEST_F(ContractDevice, AProducerThatDiesInTheMiddleOfACopyLeavesNothing) {
  sidecar(0).device().hold(true);
  from_gpu("x", 3 * kMiB, {1, 2});
  sidecar(0).device().let_pieces_through(24);
  settle();
  world_.kill(*producer_);
  sidecar(0).device().hold(false);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
}

TEST_F(ContractDevice, ASlotIsNotReusedWhileACopyThatWasGivenUpStillWritesToIt) {
  sidecar(0).device().hold(true);
  sidecar(0).device().write_on(true);
  const RequestId request = from_gpu("x", kMiB, {1}, kSecond);
  EXPECT_THAT(wait(*producer_, request), IsError(Errc::kTimeout));
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u);
  sidecar(0).device().hold(false);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(ContractDevice, ACopyThatNobodyWantsAnyMoreIsTakenBack) {
  sidecar(0).device().hold(true);  // as behind an event that never comes
  const RequestId late = from_gpu("x", kMiB, {1}, kSecond);
  EXPECT_THAT(wait(*producer_, late), IsError(Errc::kTimeout));
  const RequestId given_up = from_gpu("y", kMiB, {1});
  settle();
  producer_->cancel(given_up);
  EXPECT_THAT(wait(*producer_, given_up), IsError(Errc::kCancelled));
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

// The caller had its memory back, and used it, while the sidecar stood still in the middle of the copy.
TEST_F(ContractDevice, WhatWasCopiedAfterItsCallWasGivenUpIsNotDelivered) {
  for (const std::uint64_t bytes : {1'000ull, 200'000ull}) {
    sidecar(0).device().hold(true);
    const RequestId request = from_gpu("x", bytes, {1, 2});
    settle();
    world_.stop(sidecar(0));
    producer_->cancel(request);
    settle();
    for (auto& [name, memory] : world_.gpu_memories()) std::ranges::fill(memory.bytes, std::byte{0xEE});
    sidecar(0).device().hold(false);
    world_.go_on(sidecar(0));
    EXPECT_THAT(wait(*producer_, request), IsError(Errc::kCancelled));
    settle();
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
    EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
    EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
    EXPECT_EQ(sidecar(1).stats().chunks + sidecar(2).stats().chunks, 0u);
  }
}

TEST_F(ContractDevice, ASidecarWithoutAGpuSaysSo) {
  add({.rank = 5, .node = "e", .gpu = false});
  SimClient& there = client(5);
  EXPECT_THAT(send(there, {.id = "x", .to = each({1}), .source = Source::kDevice}),
              IsError(Errc::kUnavailable));
}

}  // namespace
}  // namespace sidecar::sim
