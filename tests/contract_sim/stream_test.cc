// Streams: the length is told by close_stream, whenever that comes.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class ContractStream : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    add(2, "a");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  const Outcome& chunk(const std::string& id, ChunkIndex number) {
    return send(*producer_, {.id = id, .chunk = number, .bytes = 3'000, .to = each({1, 2}), .stream = true});
  }
  const Outcome& close(const std::string& id, ChunkIndex count) {
    return wait(*producer_, producer_->close_stream(id, count, each({1, 2})));
  }
  void consume(const std::string& id, ChunkIndex count) {
    for (const Rank rank : {1, 2}) {
      SimClient& at = client(rank);
      for (ChunkIndex i = 0; i < count; ++i) {
        EXPECT_THAT(recv(at, id, i), IsOk());
        EXPECT_THAT(done(at, id, i), IsOk());
      }
      EXPECT_THAT(recv(at, id, count), IsError(Errc::kEndOfStream));
      EXPECT_EQ(sidecar(rank).stats().data, 0u);
    }
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};
using Rule14Streams = ContractStream;

TEST_F(ContractStream, ClosedAfterItsChunks) {
  for (ChunkIndex i = 0; i < 3; ++i) EXPECT_THAT(chunk("s", i), IsOk());
  const RequestId beyond = consumer_->recv("s", 3);
  expect_waits(*consumer_, beyond);
  EXPECT_THAT(close("s", 3), IsOk());
  EXPECT_THAT(wait(*consumer_, beyond), IsError(Errc::kEndOfStream));
  consume("s", 3);
}

TEST_F(ContractStream, ClosedBeforeItsChunks) {
  EXPECT_THAT(close("s", 2), IsOk());
  const RequestId beyond = consumer_->recv("s", 2);
  EXPECT_THAT(wait(*consumer_, beyond), IsError(Errc::kEndOfStream));
  for (ChunkIndex i = 0; i < 2; ++i) EXPECT_THAT(chunk("s", i), IsOk());
  consume("s", 2);
}

TEST_F(ContractStream, ClosedBetweenItsChunks) {
  EXPECT_THAT(chunk("s", 1), IsOk());
  EXPECT_THAT(close("s", 3), IsOk());
  EXPECT_THAT(chunk("s", 2), IsOk());
  EXPECT_THAT(chunk("s", 0), IsOk());
  consume("s", 3);
}

TEST_F(ContractStream, ClosedWithNoChunksAtAll) {
  const RequestId early = consumer_->recv("s", 0);
  expect_waits(*consumer_, early);
  EXPECT_THAT(close("s", 0), IsOk());
  EXPECT_THAT(wait(*consumer_, early), IsError(Errc::kEndOfStream));
  EXPECT_THAT(recv(*consumer_, "s", 0), IsError(Errc::kEndOfStream)) << "also afterwards";
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(ContractStream, FullyConsumedAndClosedLater) {
  for (ChunkIndex i = 0; i < 2; ++i) {
    EXPECT_THAT(chunk("s", i), IsOk());
    for (const Rank rank : {1, 2}) EXPECT_THAT(done(client(rank), "s", i), IsOk());
  }
  EXPECT_THAT(close("s", 2), IsOk());
  for (const Rank rank : {1, 2}) EXPECT_EQ(sidecar(rank).stats().data, 0u);
}

TEST_F(Rule14Streams, AStreamAndASizedDatumDoNotMix) {
  EXPECT_THAT(chunk("s", 0), IsOk());
  EXPECT_THAT(send(*producer_, {.id = "s", .chunk = 1, .num_chunks = 2, .to = each({1})}),
              IsError(Errc::kInvalidArgument));
  EXPECT_THAT(send(*producer_, {.id = "d", .chunk = 0, .num_chunks = 2, .to = each({1, 2})}), IsOk());
  EXPECT_THAT(chunk("d", 1), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(close("d", 2), IsError(Errc::kInvalidArgument));
  leaves_data(2);
}

TEST_F(Rule14Streams, AnotherProducerIsRefused) {
  add(3, "c");
  SimClient& rival = client(3);
  EXPECT_THAT(chunk("s", 0), IsOk());
  EXPECT_THAT(send(rival, {.id = "s", .chunk = 1, .to = each({1}), .stream = true}),
              IsError(Errc::kInvalidArgument));
  EXPECT_THAT(wait(rival, rival.close_stream("s", 1, each({1}))), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(close("s", 1), IsOk());
  consume("s", 1);
}

TEST_F(Rule14Streams, ClosingAgainWithTheSameCountIsFine) {
  EXPECT_THAT(chunk("s", 0), IsOk());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(close("s", 1), IsOk());
  consume("s", 1);
  EXPECT_THAT(close("s", 1), IsOk()) << "also when it is over";
}

TEST_F(Rule14Streams, ClosingAgainWithAnotherCountIsRefused) {
  EXPECT_THAT(close("s", 2), IsOk());
  EXPECT_THAT(close("s", 3), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(close("s", 1), IsError(Errc::kInvalidArgument));
  for (ChunkIndex i = 0; i < 2; ++i) EXPECT_THAT(chunk("s", i), IsOk());
  consume("s", 2);
  EXPECT_THAT(close("s", 3), IsError(Errc::kInvalidArgument)) << "also when it is over";
}

TEST_F(Rule14Streams, AnEndAtOrBelowAChunkAlreadySeenIsRefused) {
  EXPECT_THAT(chunk("s", 4), IsOk());
  for (const ChunkIndex count : {0, 3, 4}) EXPECT_THAT(close("s", count), IsError(Errc::kInvalidArgument));
  for (const ChunkIndex i : {0, 1, 2, 3}) EXPECT_THAT(chunk("s", i), IsOk());
  EXPECT_THAT(close("s", 5), IsOk());
  consume("s", 5);
}

TEST_F(Rule14Streams, AChunkAtOrPastTheEndIsRefused) {
  EXPECT_THAT(close("s", 2), IsOk());
  EXPECT_THAT(chunk("s", 2), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(chunk("s", 100), IsError(Errc::kInvalidArgument));
  for (ChunkIndex i = 0; i < 2; ++i) EXPECT_THAT(chunk("s", i), IsOk());
  consume("s", 2);
}

TEST_F(Rule14Streams, TheEndDoesNotOvertakeTheProducersOwnLoss) {
  EXPECT_THAT(chunk("s", 0), IsOk());
  const RequestId next = consumer_->recv("s", 1);
  world_.run_for(kSecond);
  world_.kill(sidecar(0));
  EXPECT_THAT(wait(*consumer_, next), IsError(Errc::kPeerLost));
  EXPECT_THAT(recv(*consumer_, "s", 0), IsOk()) << "what came whole stays";
}

}  // namespace
}  // namespace sidecar::sim
