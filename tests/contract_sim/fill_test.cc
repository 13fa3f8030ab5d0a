// Chunks whose bytes the client itself copies into the arena, where it is told to: not sent before they are
// there, and the place is nobody else's while that client may still write to it.
#include <gtest/gtest.h>

#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

class ContractFill : public Groups {
 protected:
  void SetUp() override {
    NEEDS_MAPPED_ARENAS();
    add(0, "a", 8 * kMiB);
    add(1, "a", 8 * kMiB);
    add(2, "b", 8 * kMiB);
    producer_ = &client(0);
    consumers_ = {&client(1), &client(2)};
    EXPECT_THAT(send(*producer_, {.id = "connects", .to = each({1, 2})}), IsOk());
    for (SimClient* consumer : consumers_) EXPECT_THAT(done(*consumer, "connects"), IsOk());
    settle();
  }
  RequestId fills(const std::string& id, std::uint64_t bytes, std::initializer_list<Rank> to,
                  TimeNs timeout = 600 * kSecond) {
    return producer_->send(
        {.id = id, .bytes = bytes, .to = each(to), .timeout = timeout, .source = Source::kFill});
  }
  // One that has its place and copies nothing yet.
  RequestId holds(const std::string& id, std::uint64_t bytes, TimeNs timeout = 600 * kSecond) {
    const RequestId request = producer_->send({.id = id,
                                               .bytes = bytes,
                                               .to = each({1, 2}),
                                               .timeout = timeout,
                                               .source = Source::kFill,
                                               .fills = false});
    settle();
    EXPECT_TRUE(producer_->outcome(request).has_room);
    return request;
  }
  std::size_t places() { return sidecar(0).stats().send.runs; }
  // A chunk in the place of an earlier one, which nothing may disturb; it stays.
  void another_is_whole(const std::string& id, std::uint64_t bytes) {
    EXPECT_THAT(wait(*producer_, fills(id, bytes, {1, 2})), IsOk());
    for (SimClient* consumer : consumers_) EXPECT_THAT(recv(*consumer, id), IsOk());
  }
  void nothing_is_there() {
    settle();
    EXPECT_EQ(places(), 0u);
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
    EXPECT_EQ(sidecar(1).stats().chunks + sidecar(2).stats().chunks, 0u);
  }
  SimClient* producer_ = nullptr;
  std::vector<SimClient*> consumers_;
};

TEST_F(ContractFill, WhatAClientCopiesItselfArrivesWholeOnEitherPath) {
  for (const std::uint64_t bytes : {1ull, 64ull, 1'000ull, 65'537ull, 2'000'000ull}) {
    const std::string id = "x" + std::to_string(bytes);
    EXPECT_THAT(wait(*producer_, fills(id, bytes, {1, 2})), IsOk());
    for (SimClient* consumer : consumers_) {
      EXPECT_THAT(recv(*consumer, id), IsOk());
      EXPECT_THAT(done(*consumer, id), IsOk());
    }
  }
  nothing_is_there();
}

TEST_F(ContractFill, OneOfNoBytesNeedsNoPlace) {
  EXPECT_THAT(wait(*producer_, fills("x", 0, {1, 2})), IsOk());
  EXPECT_THAT(recv(*consumers_[1], "x"), IsOk());
}

TEST_F(ContractFill, NothingLeavesBeforeItIsThere) {
  const auto before = sidecar(2).stats().counters.bytes_received;
  const RequestId request = holds("x", 200'000);
  EXPECT_FALSE(producer_->over(request));
  for (SimClient* consumer : consumers_)
    EXPECT_THAT(wait(*consumer, consumer->recv("x", 0, 0)), IsError(Errc::kTimeout));
  EXPECT_EQ(sidecar(2).stats().counters.bytes_received, before);
  producer_->fill_room(request);
  EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_FALSE(producer_->outcome(request).captured) << "the client knows when it has copied";
  for (SimClient* consumer : consumers_) EXPECT_THAT(recv(*consumer, "x"), IsOk());
}

TEST_F(ContractFill, MembersFillTheirShardsOfOnePlace) { shards_arrive_from(Source::kFill); }

TEST_F(ContractFill, OneThatWaitsForRoomIsToldWhenThereIsSome) {
  const std::uint64_t all = allocate(*producer_, sidecar(0).stats().send.region_bytes);
  const RequestId request = fills("x", 200'000, {1, 2});
  settle();
  EXPECT_FALSE(producer_->outcome(request).has_room);
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 1u);
  producer_->release_slot(all);
  EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(ContractFill, APlaceIsNotReusedWhileItsClientMayStillWriteToIt) {
  const RequestId late = holds("x", kMiB, kSecond);
  EXPECT_THAT(wait(*producer_, late), IsError(Errc::kTimeout));
  EXPECT_THAT(producer_->outcome(late).text(), testing::HasSubstr("copied"));
  EXPECT_EQ(places(), 1u);
  another_is_whole("y", kMiB);
  producer_->write_room(late);
  for (SimClient* consumer : consumers_) consumer->check_views();
  producer_->fill_room(late);  // nothing becomes of that
  for (SimClient* consumer : consumers_) EXPECT_THAT(done(*consumer, "y"), IsOk());
  nothing_is_there();
}

TEST_F(ContractFill, OneThatIsCancelledComesNeverAndLeavesNothing) {
  const RequestId request = holds("x", 200'000);
  producer_->cancel(request);
  EXPECT_THAT(wait(*producer_, request), IsError(Errc::kCancelled));
  nothing_is_there();
  EXPECT_THAT(wait(*producer_, fills("x", 200'000, {1, 2})), IsOk()) << "again, and nothing is in its way";
}

// One member's part is under way when the other's comes too late.
TEST_F(ContractGroupFailures, AShardThatIsFilledAfterAnotherGaveUpIsNotSent) {
  NEEDS_MAPPED_ARENAS();
  spec_.source = Source::kFill;
  world_.stop(sidecar(2));
  const RequestId first = producers_[0]->send(spec_);
  spec_.fills = false;
  const RequestId second = producers_[1]->send(spec_);
  settle();
  producers_[0]->cancel(first);
  EXPECT_THAT(wait(*producers_[1], second), IsError(Errc::kCancelled));
  producers_[1]->fill_room(second);
  settle();
  world_.go_on(sidecar(2));
  nothing_is_there();
  works_now();
}

TEST_F(ContractFill, CancelGivesThePlaceUpAlsoWhenTheSendIsOver) {
  const RequestId late = holds("x", 200'000, kSecond);
  EXPECT_THAT(wait(*producer_, late), IsError(Errc::kTimeout));
  EXPECT_EQ(places(), 1u);
  producer_->cancel(late);  // it had not heard yet
  nothing_is_there();
}

// Its client lives on, elsewhere: what it had been offered would be kept until the end of its process.
TEST_F(ContractFill, OneThatIsGivenUpWhileTheSidecarStandsStillLeavesNothing) {
  world_.stop(sidecar(0));
  const RequestId request = producer_->send(
      {.id = "x", .bytes = 200'000, .to = each({1, 2}), .source = Source::kFill, .fills = false});
  settle();
  producer_->cut_off();
  settle();
  world_.go_on(sidecar(0));
  settle();
  EXPECT_FALSE(producer_->outcome(request).has_room);
  nothing_is_there();
  leaves_data(2);  // that it is lost
}

TEST_F(ContractFill, GivingThePlaceUpEndsTheSend) {
  const RequestId request = holds("x", 200'000);
  producer_->release_slot(producer_->room(request));
  EXPECT_THAT(wait(*producer_, request), IsError(Errc::kCancelled));
  nothing_is_there();
}

TEST_F(ContractFill, WhoWaitsHearsThatTheClientDiedWhileItCopied) {
  const RequestId waits = consumers_[1]->recv("x");
  holds("x", 200'000);
  world_.kill(*producer_);
  EXPECT_THAT(wait(*consumers_[1], waits), IsError(Errc::kPeerLost));
  nothing_is_there();
  leaves_data(1);  // that it is lost
}

TEST_F(ContractFill, ThePlaceOfAClientThatIsCutOffIsKeptUntilItsProcessIsGone) {
  const RequestId request = holds("x", 200'000);
  sidecar(0).engine().end_client(producer_->instance(), "for a test");
  settle();
  EXPECT_EQ(places(), 1u);
  producer_->write_room(request);
  world_.kill(*producer_);
  nothing_is_there();
  leaves_data(1);
}

TEST_F(ContractFill, APlaceThatIsBeingFilledIsNoBufferToSend) {
  const RequestId request = holds("x", 200'000);
  EXPECT_THAT(send(*producer_, {.id = "y",
                                .bytes = 200'000,
                                .to = each({1}),
                                .source = Source::kSlot,
                                .slot = producer_->room(request)}),
              IsError(Errc::kInvalidArgument));
  producer_->fill_room(request);
  EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(ContractFill, FilledForAPlaceThatIsNotItsOwnIsIgnored) {
  const RequestId request = holds("x", 200'000);
  SimClient& other = client(0);
  const std::uint64_t slot = allocate(other, 1'000);
  for (const std::uint64_t wrong : {producer_->room(request), slot, std::uint64_t{64}, ~std::uint64_t{0}})
    other.say(Filled{wrong});
  settle();
  EXPECT_FALSE(producer_->over(request));
  EXPECT_EQ(places(), 2u);
  other.release_slot(slot);
  producer_->fill_room(request);
  EXPECT_THAT(wait(*producer_, request), IsOk());
}

TEST_F(ContractFill, ItIsCountedOnceAndAsLongAsThePlaceIsTaken) {
  add({.rank = 3, .node = "c", .adjust = [](EngineOptions& options) { options.client_bytes_max = 100'000; }});
  producer_ = &client(3);
  const RequestId held = holds("x", 60'000);
  EXPECT_THAT(wait(*producer_, fills("y", 60'000, {1})), IsError(Errc::kNoSpace));
  EXPECT_THAT(wait(*producer_, fills("y", 40'000, {1})), IsOk());
  producer_->fill_room(held);
  EXPECT_THAT(wait(*producer_, held), IsOk());
  const RequestId given_up = holds("z", 60'000, kSecond);
  EXPECT_THAT(wait(*producer_, given_up), IsError(Errc::kTimeout));
  EXPECT_THAT(wait(*producer_, fills("z", 60'000, {1})), IsError(Errc::kNoSpace));
  producer_->release_slot(producer_->room(given_up));
  EXPECT_THAT(wait(*producer_, fills("z", 100'000, {1})), IsOk());
}

TEST_F(ContractFill, ASidecarWhoseArenaCannotBeMappedSaysSo) {
  add({.rank = 5, .node = "e", .mappable = false});
  producer_ = &client(5);
  EXPECT_THAT(wait(*producer_, fills("x", 1'000, {1})), IsError(Errc::kUnavailable));
}

}  // namespace
}  // namespace sidecar::sim
