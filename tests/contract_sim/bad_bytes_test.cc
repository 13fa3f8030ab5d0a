// Bytes that make no message: who waits for an answer gets one, nothing else changes.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

class BadBytes : public Faults {
 protected:
  // The first `times` messages of that kind come spoilt; `damage` may change what is left of them.
  template <class Kind>
  void spoil(int times, std::function<void(Kind&)> damage = {}) {
    world_.network().spoil([this, times, damage](SimProcess&, SimProcess&, Message& message) mutable {
      Kind* const left = std::get_if<Kind>(&message);
      if (left == nullptr || times-- <= 0) return false;
      if (damage) damage(*left);
      ++spoilt_;
      return true;
    });
  }
  void expect_delivered(const std::string& id) {
    EXPECT_THAT(wait(*producer_, start(id, 30'000, each({1}))), IsOk());
    EXPECT_THAT(recv(*consumer_, id), IsOk());
  }
  int spoilt_ = 0;
};

TEST_F(BadBytes, EveryRequestOfAClientIsAnsweredWithProtocolAndWhatIsWrong) {
  const auto expect_told = [&](RequestId request) {
    const Outcome& outcome = wait(*producer_, request, kSecond);
    EXPECT_THAT(outcome, IsError(Errc::kProtocol));
    EXPECT_EQ(outcome.text(), "field: spoilt");
  };
  spoil<Send>(3);
  for (const std::uint64_t bytes : {100ul, 30'000ul, 200'000ul}) expect_told(start("x", bytes, each({1})));
  spoil<Recv>(1);
  expect_told(producer_->recv("x"));
  spoil<MarkDone>(1);
  expect_told(producer_->mark_done("x"));
  spoil<Allocate>(1);
  expect_told(producer_->allocate(1'000));
  spoil<CloseStream>(1);
  expect_told(producer_->close_stream("x", 1, each({1})));
  EXPECT_EQ(spoilt_, 7);
  EXPECT_EQ(sidecar(0).stats().data, 0u) << "and nothing else has happened";
  expect_delivered("x");
}

TEST_F(BadBytes, TheCreditThatSpoiltBytesHadTakenIsGivenBack) {
  spoil<Send>(1'000);
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(wait(*producer_, start("x", 60'000, each({1}))), IsError(Errc::kProtocol));
  }
  const std::uint64_t credits = sidecar(0).transport().sent(Message(Credit{}).index());
  EXPECT_GE(credits, 200 * 60'000 / kEagerWindowBytes) << "or all that came later was not eager";
  spoil<Send>(0);
  expect_delivered("x");
}

TEST_F(BadBytes, ATransferIsOverAndNotSentAgain) {
  for (const std::uint64_t bytes : {100ul, 30'000ul, 200'000ul}) {  // inline, eager, rendezvous
    spoil<Chunk>(1);
    const Outcome& outcome = wait(*producer_, start("x", bytes, each({1})), kSecond);
    EXPECT_THAT(outcome, IsError(Errc::kProtocol));
    EXPECT_EQ(outcome.text(), "field: spoilt");
  }
  world_.network().reset(sidecar(0), sidecar(1));
  settle();
  expect_delivered("x");
  EXPECT_EQ(sidecar(0).stats().counters.resends, 0u);
  EXPECT_EQ(sidecar(1).stats().counters.protocol_errors, 0u) << "the transport has counted them";
}

TEST_F(BadBytes, AReferenceThatIsAnsweredSoLendsNothing) {
  NEEDS_MAPPED_ARENAS();
  spoil<ChunkRef>(1);
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({2})), kSecond), IsError(Errc::kProtocol));
  EXPECT_EQ(sidecar(0).stats().lent, 0u);
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(BadBytes, TheEndOfAStreamIsOver) {
  EXPECT_THAT(wait(*producer_, start("warm up", 100, each({1}))), IsOk());
  spoil<StreamEnd>(1);
  EXPECT_THAT(wait(*producer_, producer_->close_stream("x", 0, each({1})), kSecond),
              IsError(Errc::kProtocol));
  EXPECT_THAT(wait(*producer_, producer_->close_stream("x", 0, each({1})), kSecond), IsOk());
}

TEST_F(BadBytes, ASpoiltCopyOfATransferThatIsOverGetsItsAnswerAgain) {
  break_at<Ack>(1);
  int copies = 0;
  world_.network().spoil([&](SimProcess&, SimProcess&, Message& message) {
    return std::holds_alternative<Chunk>(message) && ++copies == 2;
  });
  EXPECT_THAT(wait(*producer_, start("x", 30'000, each({1}))), IsOk());
  EXPECT_EQ(copies, 2);
  EXPECT_EQ(sidecar(1).stats().counters.duplicates, 1u);
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
}

TEST_F(BadBytes, ASpoiltCopyOfATransferInProgressDoesNotEndIt) {
  add_tight();
  EXPECT_THAT(wait(*producer_, start("first", 20'000, each({3}))), IsOk());
  const RequestId parked = start("parked", 20'000, each({3}));
  settle();
  EXPECT_EQ(sidecar(3).stats().parked_chunks, 1u);
  // Says that it is the one that waits for room.
  spoil<Chunk>(1, [](Chunk& chunk) { chunk.transfer = {2, 1}; });
  const RequestId bad = start("bad", 100, each({3}));
  expect_waits(*producer_, parked);
  EXPECT_EQ(sidecar(3).stats().parked_chunks, 1u);
  SimClient& at = client(3);
  for (const char* id : {"first", "parked"}) {
    EXPECT_THAT(recv(at, id), IsOk());
    EXPECT_THAT(done(at, id), IsOk());
  }
  EXPECT_THAT(wait(*producer_, parked), IsOk());
  // It has had no answer, and comes again with the next link.
  world_.network().reset(sidecar(0), sidecar(3));
  EXPECT_THAT(wait(*producer_, bad), IsOk());
}

TEST_F(BadBytes, ASequenceThatCannotBeOneIsDroppedWithoutAWord) {
  EXPECT_THAT(wait(*producer_, start("warm up", 100, each({1}))), IsOk());
  for (const Transfer transfer : {Transfer{0, 0}, Transfer{5, 6}, Transfer{3 + kTransferWindow, 1},
                                  Transfer{~Sequence{0}, ~Sequence{0}}}) {
    const std::string id = "x" + std::to_string(transfer.sequence);
    spoil<Chunk>(1, [transfer](Chunk& chunk) { chunk.transfer = transfer; });
    const RequestId sent = start(id, 30'000, each({1}));
    expect_waits(*producer_, sent);
    EXPECT_EQ(world_.network().links_up(sidecar(0), sidecar(1)), 1);
    world_.network().reset(sidecar(0), sidecar(1));  // then it comes again, and is well
    EXPECT_THAT(wait(*producer_, sent), IsOk());
  }
  EXPECT_EQ(spoilt_, 4);
}

TEST_F(BadBytes, WhatAnswersATransferIsNotAnsweredItself) {
  spoil<Ack>(1);
  const RequestId sent = start("x", 30'000, each({1}));
  expect_waits(*producer_, sent);
  world_.network().reset(sidecar(0), sidecar(1));
  EXPECT_THAT(wait(*producer_, sent), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
