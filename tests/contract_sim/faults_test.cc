// Links that break in the middle of things, and ids that are remembered (rules 6 and 7).
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

using Rule06Retransmission = Faults;
using Rule07Tombstones = Faults;

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

// Acks on their way to rank 0, and the transfers that they are for.
struct Acks {
  std::uint32_t messages = 0, transfers = 0;
};

TEST_F(Rule06Retransmission, WhatComesTogetherIsAcknowledgedTogetherUnlessThePeerIsOlder) {
  for (const bool older : {false, true}) {
    if (older)
      world_.network().spoil([](SimProcess&, SimProcess&, Message& message) {
        if (auto* hello = std::get_if<Hello>(&message)) hello->version_max = kAckRunsVersion - 1;
        return false;
      });
    const Rank rank = older ? 4 : 1;
    if (older) add(4, "d");
    Acks acks;
    world_.network().filter([&acks](SimProcess&, SimProcess& to, const Message& message) {
      if (const auto* ack = std::get_if<Ack>(&message); ack != nullptr && dynamic_cast<SimSidecar*>(&to)) {
        ++acks.messages;
        acks.transfers += ack->count;
      }
      return true;
    });
    std::vector<RequestId> requests;
    world_.stop(sidecar(rank));
    for (int i = 0; i < 20; ++i)
      requests.push_back(
          start((older ? "o" : "n") + std::to_string(i), i % 2 == 0 ? 100 : 30'000, each({rank})));
    settle();
    world_.go_on(sidecar(rank));
    for (const RequestId request : requests) EXPECT_THAT(wait(*producer_, request), IsOk());
    EXPECT_EQ(acks.transfers, 20u);
    if (older)
      EXPECT_EQ(acks.messages, 20u);
    else
      EXPECT_LT(acks.messages, 20u);
    world_.network().filter({});
  }
}

TEST_F(Rule06Retransmission, ALostReferenceAndItsAckLendOnce) {
  NEEDS_MAPPED_ARENAS();
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

TEST_F(Rule07Tombstones, WhatIsForgottenDoesNotWaitForWhatIsKept) {
  EXPECT_THAT(wait(*producer_, start("begun", 5'000, each({1}), 0, 2)), IsOk());
  EXPECT_THAT(done(*consumer_, "begun", 0), IsOk());
  for (int i = 0; i < 1'000; ++i) EXPECT_THAT(done(*consumer_, "never " + std::to_string(i)), IsOk());
  EXPECT_EQ(sidecar(1).stats().data, 1'001u);
  world_.run_for(11 * 60 * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 1u);
  leaves_data(1);
}

}  // namespace
}  // namespace sidecar::sim
