// Groups between real processes: members send their shards of one chunk and receive the same memory.
#include "tests/e2e/groups_fixture.h"

namespace sidecar::e2e {
namespace {

using RegressionR10 = Groups;
using RegressionR11 = Groups;
using RegressionC7 = Groups;

TEST_F(Groups, SmokeShardsOfBothMembersMakeTheChunkOnBothKindsOfNode) {
  Client near = cluster_.client(2);
  Client far = member(3, {3, 4}), far_too = member(4, {3, 4});
  for (const std::size_t size : {1ul, 64ul, 65ul, 5'000ul, 65'537ul, 1'000'003ul, 48ul << 20}) {
    const std::string id = "x" + std::to_string(size);
    send_together(id, size, {{2}, {4, 3}});
    for (Client* consumer : {&near, &far, &far_too}) expect_there(*consumer, id, size);
    EXPECT_TRUE(near.mark_done(id));
    EXPECT_TRUE(far_too.mark_done(id));
    EXPECT_EQ(far.recv(id).code(), Errc::kAlreadyDone);
  }
}

TEST_F(Groups, SmokeWithoutConcurrentCopyTheFirstMemberCopiesForAll) {
  Client first = cluster_.client(0, {.group = {0, 1}}), second = cluster_.client(1, {.group = {0, 1}});
  Client consumer = cluster_.client(2);
  const auto bytes = contents("x", 0, 1'000'000);
  const Tensor tensor{bytes.data(), Dtype::kU8, {bytes.size()}};
  EXPECT_TRUE(second.send(tensor, "x", {{2}}));
  EXPECT_TRUE(first.send(tensor, "x", {{2}}));
  EXPECT_EQ(cluster_.counter(0, "bytes_captured"), bytes.size());
  expect_there(consumer, "x", bytes.size());
  EXPECT_TRUE(consumer.mark_done("x"));
}

TEST_F(Groups, AShardIsAtTheOtherNodeBeforeTheLastIsSent) {
  Client consumer = cluster_.client(3);
  send_together("connects", 100, {{3}});
  EXPECT_TRUE(consumer.mark_done("connects"));
  const std::uint64_t before = cluster_.counter(3, "bytes_received");
  const auto bytes = contents("x", 0, 32 << 20);
  SendHandle second = send(1, "x", bytes, {{3}});
  EXPECT_TRUE(second.captured.get());
  EXPECT_TRUE(eventually([&] { return cluster_.counter(3, "bytes_received") == before + (16 << 20); }));
  EXPECT_EQ(consumer.recv("x", 0, milliseconds(0)).code(), Errc::kTimeout);
  EXPECT_FALSE(second.delivered.ready());
  SendHandle first = send(0, "x", bytes, {{3}});
  EXPECT_TRUE(first.delivered.get());
  EXPECT_TRUE(second.delivered.get());
  expect_there(consumer, "x", bytes.size());
  EXPECT_TRUE(consumer.mark_done("x"));
}

TEST_F(RegressionR10, FewerBytesThanShardsLeaveNobodyWaiting) {
  Client near = cluster_.client(2), far = cluster_.client(3);
  Future<View> waiting = far.recv_async("x");
  send_together("x", 3, {{2}, {3}});
  EXPECT_TRUE(waiting.get());
  EXPECT_TRUE(near.mark_done("x"));
  EXPECT_TRUE(far.mark_done("x"));
}

TEST_F(RegressionR11, ManySendsTogetherOnOneNodeLeaveNothing) {
  Client consumer = cluster_.client(2);
  for (int i = 0; i < 200; ++i) {
    const std::string id = "x" + std::to_string(i);
    send_together(id, 20'000, {{2}});
    EXPECT_TRUE(consumer.mark_done(id));
  }
  EXPECT_TRUE(cluster_.becomes_empty(0));
  EXPECT_EQ(cluster_.counter(0, "outgoing"), 0u);
  EXPECT_EQ(cluster_.counter(2, "data"), 0u);
}

TEST_F(RegressionC7, TheLeaderIsTheSmallestRankInWhateverOrderTheyAreWritten) {
  Client leader = member(3, {4, 3}), other = member(4, {4, 3});
  EXPECT_EQ(leader.rank(), 3);
  EXPECT_EQ(other.rank(), 3);
  send_together("x", 10'000, {{4, 3}});
  expect_there(other, "x", 10'000);
  EXPECT_TRUE(leader.mark_done("x"));
  EXPECT_EQ(cluster_.counter(4, "chunks_received"), 0u);
}

}  // namespace
}  // namespace sidecar::e2e
