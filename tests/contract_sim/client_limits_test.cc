// What one client may cost: calls, bytes, ids. Another client of the same sidecar notices nothing.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

class ClientLimits : public Faults {
 protected:
  void SetUp() override {
    Faults::SetUp();
    add({.rank = 3, .node = "c", .adjust = [](EngineOptions& options) {
           options.client_calls_max = 3;
           options.client_ids_max = 5;
           options.client_bytes_max = 100'000;
         }});
    greedy_ = &client(3);
    other_ = &client(3);
  }
  SimClient* greedy_ = nullptr;
  SimClient* other_ = nullptr;
};

TEST_F(ClientLimits, AReceiveBeyondThoseThatMayWaitIsRefused) {
  std::vector<RequestId> waiting;
  for (ChunkIndex chunk = 0; chunk < 3; ++chunk) waiting.push_back(greedy_->recv("x", chunk));
  EXPECT_THAT(recv(*greedy_, "x", 3), IsError(Errc::kUnavailable));
  expect_waits(*other_, other_->recv("y"));
  EXPECT_THAT(wait(*producer_, start("x", 500, each({3}), 0, 4)), IsOk());
  EXPECT_THAT(wait(*greedy_, waiting[0]), IsOk());
  expect_waits(*greedy_, greedy_->recv("x", 3));  // there is a place again
  greedy_->disconnect();
  other_->disconnect();
  settle();
  leaves_data(1);
}

TEST_F(ClientLimits, ClosingStreamsThatNobodyHearsOfIsRefusedAfterAWhile) {
  world_.stop(sidecar(1));
  std::vector<RequestId> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(greedy_->close_stream("s" + std::to_string(i), 1, each({1})));
  settle();
  EXPECT_THAT(wait(*greedy_, greedy_->close_stream("s3", 1, each({1}))), IsError(Errc::kUnavailable));
  world_.go_on(sidecar(1));
  for (const RequestId request : waiting) EXPECT_THAT(wait(*greedy_, request), IsOk());
  leaves_data(3);  // closed streams are remembered while they are empty
}

TEST_F(ClientLimits, WhatIsThereIsHandedOutAlsoToOneThatMayNotWait) {
  for (ChunkIndex chunk = 1; chunk < 4; ++chunk) greedy_->recv("x", chunk);
  EXPECT_THAT(wait(*producer_, start("x", 500, each({3}), 0, 4)), IsOk());
  EXPECT_THAT(recv(*greedy_, "x", 0), IsOk());
  greedy_->disconnect();
  leaves_data(1);
}

TEST_F(ClientLimits, ASendBeyondTheBytesThatOneMayHoldIsRefusedUntilOthersAreOver) {
  world_.stop(sidecar(1));
  const RequestId first = greedy_->send({.id = "a", .bytes = 60'000, .to = each({1})});
  settle();
  EXPECT_THAT(send(*greedy_, {.id = "b", .bytes = 60'000, .to = each({1})}), IsError(Errc::kNoSpace));
  EXPECT_THAT(wait(*greedy_, greedy_->allocate(60'000)), IsError(Errc::kNoSpace));
  const RequestId others = other_->send({.id = "c", .bytes = 60'000, .to = each({1})});
  world_.go_on(sidecar(1));
  EXPECT_THAT(wait(*greedy_, first), IsOk());
  EXPECT_THAT(wait(*other_, others), IsOk());
  EXPECT_THAT(send(*greedy_, {.id = "b", .bytes = 60'000, .to = each({1})}), IsOk());
}

TEST_F(ClientLimits, ASendThatTimedOutCountsAsLongAsADestinationHasItsSlot) {
  EXPECT_THAT(send(*greedy_, {.id = "connects", .bytes = 10, .to = each({1})}), IsOk());
  world_.stop(sidecar(1));
  const RequestId late = greedy_->send({.id = "a", .bytes = 60'000, .to = each({1}), .timeout = kSecond});
  EXPECT_THAT(wait(*greedy_, late), IsError(Errc::kTimeout));
  EXPECT_EQ(sidecar(3).stats().send.runs, 1u);
  EXPECT_THAT(send(*greedy_, {.id = "b", .bytes = 60'000, .to = each({1})}), IsError(Errc::kNoSpace));
  std::vector<RequestId> more;
  for (int i = 0; i < 2; ++i)
    more.push_back(greedy_->send({.id = "c", .bytes = 600, .to = each({1}), .timeout = kSecond}));
  for (const RequestId request : more) EXPECT_THAT(wait(*greedy_, request), IsError(Errc::kTimeout));
  EXPECT_THAT(send(*greedy_, {.id = "d", .bytes = 600, .to = each({1})}), IsError(Errc::kUnavailable));
  world_.go_on(sidecar(1));
  settle();
  EXPECT_EQ(sidecar(3).stats().send.runs, 0u);
  EXPECT_THAT(send(*greedy_, {.id = "b", .bytes = 60'000, .to = each({1})}), IsOk());
}

TEST_F(ClientLimits, AnAllocationCountsUntilItIsReleasedOrItsSendIsOver) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t slot = allocate(*greedy_, 60'000);
  EXPECT_THAT(wait(*greedy_, greedy_->allocate(60'000)), IsError(Errc::kNoSpace));
  EXPECT_THAT(
      send(*greedy_, {.id = "a", .bytes = 60'000, .to = each({1}), .source = Source::kSlot, .slot = slot}),
      IsOk());
  const std::uint64_t next = allocate(*greedy_, 60'000);
  greedy_->release_slot(next);
  const std::uint64_t last = allocate(*greedy_, 60'000);
  greedy_->release_slot(last);
}

TEST_F(ClientLimits, MarkingWhatNeverCameIsRefusedAfterAWhile) {
  for (int i = 0; i < 5; ++i) EXPECT_THAT(done(*greedy_, "never " + std::to_string(i)), IsOk());
  EXPECT_THAT(done(*greedy_, "never 5"), IsError(Errc::kNoSpace));
  EXPECT_THAT(wait(*greedy_, greedy_->recv("never 6", 0, kSecond)), IsError(Errc::kNoSpace));
  EXPECT_THAT(done(*greedy_, "never 0"), IsOk()) << "one that is known";
  EXPECT_THAT(done(*other_, "never 5"), IsOk());
  leaves_data(6);
}

TEST_F(ClientLimits, AnIdOfWhichSomethingCameCountsNoMore) {
  for (int round = 0; round < 20; ++round) {
    const std::string id = "x" + std::to_string(round);
    const RequestId request = greedy_->recv(id);
    EXPECT_THAT(wait(*producer_, start(id, 500, each({3}), 0, 2)), IsOk());
    EXPECT_THAT(wait(*greedy_, request), IsOk());
  }
  leaves_data(20);
}

}  // namespace
}  // namespace sidecar::sim
