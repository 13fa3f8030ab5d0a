// Groups when something goes wrong: members that do not call, die or give up, sidecars that die, memory that
// is full, networks that lose. What came in part never stays.
#include <gtest/gtest.h>

#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

TEST_F(ContractGroupFailures, AMemberThatNeverSendsCostsTheOthersTheirDeadlineAndNothingElse) {
  spec_.timeout = 3 * kSecond;
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kTimeout));
  EXPECT_EQ(producers_[0]->outcome(first).reply.rank, 1) << "the one that is missing";
  nothing_is_there();
  works_now();
}

TEST_F(ContractGroupFailures, WhoWaitsForAChunkThatWasGivenUpGetsTheNextAttempt) {
  spec_.timeout = kSecond;
  const RequestId waiting = consumer_->recv("x");
  const RequestId first = producers_[0]->send(spec_);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kTimeout));
  expect_waits(*consumer_, waiting);
  works_now();
  EXPECT_THAT(wait(*consumer_, waiting), IsOk());
}

TEST_F(ContractGroupFailures, TheShortestDeadlineEndsItForAllWhileShardsAreMissing) {
  producers_ = members({0, 1, 3});
  const RequestId patient = producers_[0]->send(spec_);
  spec_.timeout = kSecond;
  const RequestId hasty = producers_[1]->send(spec_);
  EXPECT_THAT(wait(*producers_[1], hasty), IsError(Errc::kTimeout));
  EXPECT_THAT(wait(*producers_[0], patient, kSecond), IsError(Errc::kTimeout));
  EXPECT_EQ(producers_[0]->outcome(patient).reply.rank, 3);
  nothing_is_there();
}

TEST_F(ContractGroupFailures, AMemberThatCancelsEndsItForAll) {
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  producers_[0]->cancel(first);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kCancelled));
  nothing_is_there();
  works_now();
}

TEST_F(ContractGroupFailures, OnceAllShardsAreInACancelIsTheCallersOnly) {
  world_.stop(sidecar(2));
  const auto requests = send_together(producers_, spec_);
  settle();
  producers_[1]->cancel(requests[1]);
  EXPECT_THAT(wait(*producers_[1], requests[1]), IsError(Errc::kCancelled));
  world_.go_on(sidecar(2));
  EXPECT_THAT(wait(*producers_[0], requests[0]), IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractGroupFailures, AMemberThatDiesBeforeItsShardIsInEndsItForTheOthers) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producers_[0], 2 * kMiB);  // so that shards wait at their members
  const auto requests = send_together(producers_, spec_);
  settle();
  world_.kill(*producers_[1]);
  EXPECT_THAT(wait(*producers_[0], requests[0], 5 * kSecond), IsError(Errc::kPeerLost));
  EXPECT_EQ(producers_[0]->outcome(requests[0]).reply.rank, 1);
  producers_[0]->release_slot(all);
  nothing_is_there();
  producers_[1] = &client({.rank = 0, .group = {0, 1}, .member = 1});
  works_now();
}

TEST_F(ContractGroupFailures, AMemberThatDiesWhileItsShardMovesEndsItForTheOthers) {
  world_.conditions().rendezvous_delay = kSecond;
  const auto requests = send_together(producers_, spec_);
  world_.run_for(2 * kMillisecond);
  world_.kill(*producers_[1]);
  const Outcome& outcome = wait(*producers_[0], requests[0], 5 * kSecond);
  if (!outcome.ok()) {
    EXPECT_THAT(outcome, IsError(Errc::kPeerLost));
  }
  world_.conditions().rendezvous_delay = 100 * kMicrosecond;
  world_.run_for(3 * kSecond);
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  leaves_data(1);  // that it is lost
}

TEST_F(ContractGroupFailures, AMemberThatDiesAfterItsShardIsInDoesNotMatter) {
  const RequestId second = producers_[1]->send(spec_);
  half_is_there();
  EXPECT_TRUE(producers_[1]->outcome(second).captured);
  world_.kill(*producers_[1]);
  settle();
  EXPECT_THAT(send(*producers_[0], spec_), IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractGroupFailures, ADestinationThatIsRestartedHalfWayGetsNoHalfChunk) {
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  world_.kill(sidecar(2));
  add(2, "b", 4 * kMiB);
  consumer_ = &client(2);
  settle();
  const RequestId second = producers_[1]->send(spec_);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kPeerLost));
  EXPECT_THAT(wait(*producers_[1], second), IsError(Errc::kPeerLost)) << "it is told so too";
  nothing_is_there();
  EXPECT_EQ(sidecar(2).stats().chunks, 0u);
  works_now();
}

TEST_F(ContractGroupFailures, ADestinationThatIsKnownToBeAnotherProcessGetsNoRestOfAChunk) {
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  world_.kill(sidecar(2));
  add(2, "b", 4 * kMiB);
  settle();
  consumer_ = &client(2);
  EXPECT_THAT(send(*producers_[0], {.id = "other", .bytes = 10, .to = each({2})}), IsOk());
  EXPECT_THAT(done(*consumer_, "other"), IsOk());
  const RequestId second = producers_[1]->send(spec_);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kPeerLost));
  EXPECT_THAT(wait(*producers_[1], second), IsError(Errc::kPeerLost));
  nothing_is_there();
  works_now();
}

TEST_F(ContractGroupFailures, AProducingSidecarThatDiesHalfWayLeavesNothing) {
  const RequestId waiting = consumer_->recv("x");
  producers_[0]->send(spec_);
  half_is_there();
  world_.kill(sidecar(0));
  EXPECT_THAT(wait(*consumer_, waiting), IsError(Errc::kPeerLost));
  settle();
  EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
}

TEST_F(ContractGroupFailures, AChunkMarkedDoneBeforeAnyPartCameIsDroppedToTheLastPart) {
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  all_ok(producers_, send_together(producers_, spec_));
  settle();
  EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
}

TEST_F(ContractGroupFailures, AChunkMarkedDoneBetweenItsPartsIsFreedAfterTheLast) {
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  EXPECT_THAT(send(*producers_[1], spec_), IsOk());
  EXPECT_THAT(wait(*producers_[0], first), IsOk());
  nothing_is_there();
  EXPECT_THAT(recv(*consumer_, "x"), IsError(Errc::kAlreadyDone));
}

TEST_F(ContractGroupFailures, PartsWaitForRoomTogether) {
  SimClient& filler = *producers_[0];
  EXPECT_THAT(send(filler, {.id = "full", .bytes = 1700 * kKiB, .to = each({2})}), IsOk());
  const RequestId first = producers_[0]->send(spec_);
  settle();
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 1u);
  const RequestId second = producers_[1]->send(spec_);
  expect_waits(*producers_[1], second, kSecond);
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 1u) << "one chunk";
  EXPECT_THAT(done(*consumer_, "full"), IsOk());
  EXPECT_THAT(wait(*producers_[0], first), IsOk());
  EXPECT_THAT(wait(*producers_[1], second), IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(ContractGroupFailures, PartsThatWaitForRoomAreGivenUpAndMarkedDone) {
  EXPECT_THAT(send(*producers_[0], {.id = "full", .bytes = 1700 * kKiB, .to = each({2})}), IsOk());
  const RequestId given_up = producers_[0]->send(spec_);
  settle();
  producers_[0]->cancel(given_up);
  EXPECT_THAT(wait(*producers_[0], given_up), IsError(Errc::kCancelled));
  settle();
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 0u);
  const auto requests = send_together(producers_, {.id = "y", .bytes = 400'000, .to = each({2})});
  settle();
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 1u);
  EXPECT_THAT(done(*consumer_, "y"), IsOk());
  all_ok(producers_, requests);
  EXPECT_THAT(done(*consumer_, "full"), IsOk());
}

TEST_F(ContractGroupFailures, PartsThatAreRefusedForLackOfRoomAreSentAgain) {
  add({.rank = 4, .node = "c", .arena_bytes = 4 * kMiB, .adjust = [](EngineOptions& o) {
         o.parked_max = 1;
       }});
  SimClient& consumer = client(4);
  EXPECT_THAT(send(*producers_[0], {.id = "full", .bytes = 1700 * kKiB, .to = each({4})}), IsOk());
  const RequestId parked = producers_[0]->send({.id = "parked", .bytes = 300'000, .to = each({4})});
  settle();
  const auto requests = send_together(producers_, {.id = "y", .bytes = 400'000, .to = each({4})});
  settle();
  EXPECT_GT(sidecar(4).stats().counters.refusals, 0u);
  EXPECT_THAT(done(consumer, "full"), IsOk());
  EXPECT_THAT(wait(*producers_[0], parked), IsOk());
  all_ok(producers_, requests);
  EXPECT_THAT(recv(consumer, "y"), IsOk());
}

TEST_F(ContractGroupFailures, MembersWaitForRoomInTheSendersArenaTogether) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producers_[0], 2 * kMiB);
  const auto requests = send_together(producers_, spec_);
  expect_waits(*producers_[0], requests[0]);
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 1u);
  producers_[0]->release_slot(all);
  all_ok(producers_, requests);
}

TEST_F(ContractGroupFailures, APeerThatKnowsNoPartsGetsTheChunkWhole) {
  world_.network().spoil([](SimProcess&, SimProcess&, Message& message) {
    if (auto* hello = std::get_if<Hello>(&message)) hello->version_max = 1;
    return false;
  });
  add(4, "c", 4 * kMiB);
  EXPECT_THAT(send(*producers_[0], {.id = "connects", .to = each({4})}), IsOk());
  spec_.to = each({4});
  const RequestId first = producers_[0]->send(spec_);
  settle();
  EXPECT_EQ(sidecar(4).stats().counters.bytes_received, 256u) << "nothing of it yet";
  EXPECT_THAT(send(*producers_[1], spec_), IsOk());
  EXPECT_THAT(wait(*producers_[0], first), IsOk());
  EXPECT_THAT(recv(client(4), "x"), IsOk());
}

TEST_F(ContractGroupFailures, PartsThatNeverLeftAreNotForARestartedPeerWhichMayKnowNone) {
  world_.stop(sidecar(2));
  for (std::uint32_t i = 0; i < kTransferWindow; ++i)
    producers_[0]->send({.id = "s" + std::to_string(i), .bytes = 10, .to = each({2})});
  settle();
  const RequestId first = producers_[0]->send(spec_);
  settle();
  world_.kill(sidecar(2));
  world_.network().spoil([](SimProcess&, SimProcess&, Message& message) {
    if (auto* hello = std::get_if<Hello>(&message)) hello->version_max = 1;
    return false;
  });
  add(2, "b", 4 * kMiB);
  consumer_ = &client(2);
  const RequestId second = producers_[1]->send(spec_);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kPeerLost));
  EXPECT_THAT(wait(*producers_[1], second), IsError(Errc::kPeerLost));
  works_now();
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  nothing_is_there();
}

}  // namespace
}  // namespace sidecar::sim
