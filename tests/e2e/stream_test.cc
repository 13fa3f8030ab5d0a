// Streams, whose length is told by close_stream, between real processes.
#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Streams : public BothPaths {
 protected:
  Client producer_ = cluster_.client(0);
  Client consumer_ = cluster_.client(consumer());

  [[nodiscard]] Groups to() const { return {{consumer()}}; }
  Expected<void> send_chunk(std::string_view id, ChunkIndex chunk, std::size_t bytes = 50'000) {
    const auto data = contents(id, chunk, bytes);
    return producer_.send(tensor_of(data), id, to(), chunk, 0, {.stream = true});
  }
  // Takes all chunks in order, then the end.
  void consume(std::string_view id, ChunkIndex num_chunks) {
    for (ChunkIndex chunk = 0; chunk < num_chunks; ++chunk) {
      const auto view = consumer_.recv(id, chunk);
      ASSERT_TRUE(view) << chunk << ": " << to_string(view.error());
      EXPECT_TRUE(matches(view->bytes(), id, chunk)) << chunk;
      EXPECT_TRUE(consumer_.mark_done(id, chunk));
    }
    const auto end = consumer_.recv(id, num_chunks);
    ASSERT_TRUE(end) << to_string(end.error());
    EXPECT_TRUE(end->end_of_stream());
    EXPECT_EQ(end->num_chunks(), num_chunks);
  }
};
SIDECAR_BOTH_PATHS(Streams);

TEST_P(Streams, SmokeClosedAfterItsChunks) {
  for (ChunkIndex chunk = 0; chunk < 5; ++chunk) ASSERT_TRUE(send_chunk("after", chunk));
  ASSERT_TRUE(producer_.close_stream("after", 5, to()));
  consume("after", 5);
}

TEST_P(Streams, ClosedBeforeItsChunks) {
  ASSERT_TRUE(producer_.close_stream("before", 3, to()));
  for (const ChunkIndex chunk : {2u, 0u, 1u}) ASSERT_TRUE(send_chunk("before", chunk));
  consume("before", 3);
}

TEST_P(Streams, ClosedBetweenItsChunks) {
  ASSERT_TRUE(send_chunk("between", 3));
  ASSERT_TRUE(producer_.close_stream("between", 4, to()));
  for (const ChunkIndex chunk : {0u, 1u, 2u}) ASSERT_TRUE(send_chunk("between", chunk));
  consume("between", 4);
}

TEST_P(Streams, RegressionR4OfNoChunksItEndsAtOnceForWhoeverWaits) {
  auto waiting = consumer_.recv_async("none");
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  ASSERT_TRUE(producer_.close_stream("none", 0, to()));
  const auto view = waiting.get();
  ASSERT_TRUE(view) << to_string(view.error());
  EXPECT_TRUE(view->end_of_stream());
  EXPECT_EQ(view->num_chunks(), 0u);
}

TEST_P(Streams, RegressionR5ConsumedWholeAndClosedAfterwardsItLeavesNothing) {
  for (ChunkIndex chunk = 0; chunk < 3; ++chunk) {
    ASSERT_TRUE(send_chunk("r5", chunk));
    ASSERT_TRUE(consumer_.recv("r5", chunk));
    ASSERT_TRUE(consumer_.mark_done("r5", chunk));
  }
  auto waiting = consumer_.recv_async("r5", 3);
  ASSERT_TRUE(producer_.close_stream("r5", 3, to()));
  EXPECT_TRUE(waiting.get().value().end_of_stream());
  EXPECT_TRUE(cluster_.becomes_empty(consumer()));
}

TEST_P(Streams, Rule14ClosingAgainMustSayTheSame) {
  for (ChunkIndex chunk = 0; chunk < 2; ++chunk) ASSERT_TRUE(send_chunk("again", chunk));
  ASSERT_TRUE(producer_.close_stream("again", 2, to()));
  EXPECT_TRUE(producer_.close_stream("again", 2, to()));
  EXPECT_EQ(producer_.close_stream("again", 3, to()).code(), Errc::kInvalidArgument);
  consume("again", 2);
}

TEST_P(Streams, Rule14ACloseAtOrBelowAChunkAlreadySeenIsRefused) {
  ASSERT_TRUE(send_chunk("short", 4));
  EXPECT_EQ(producer_.close_stream("short", 4, to()).code(), Errc::kInvalidArgument);
  ASSERT_TRUE(producer_.close_stream("short", 5, to()));
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) ASSERT_TRUE(send_chunk("short", chunk));
  consume("short", 5);
}

TEST_P(Streams, Rule14AChunkPastTheCloseIsRefused) {
  ASSERT_TRUE(producer_.close_stream("closed", 1, to()));
  EXPECT_EQ(send_chunk("closed", 1).code(), Errc::kInvalidArgument);
  ASSERT_TRUE(send_chunk("closed", 0));
  consume("closed", 1);
}

TEST_P(Streams, Rule14ADatumIsAStreamOrHasALengthNeverBoth) {
  const auto data = contents("fixed", 0, 50'000);
  ASSERT_TRUE(producer_.send(tensor_of(data), "fixed", to(), 0, 2));
  EXPECT_EQ(send_chunk("fixed", 1).code(), Errc::kInvalidArgument);
  ASSERT_TRUE(producer_.send(tensor_of(data), "fixed", to(), 1, 2));
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("fixed", chunk));
}

}  // namespace
}  // namespace sidecar::e2e
