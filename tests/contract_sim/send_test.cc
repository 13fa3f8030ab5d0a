// What `send` promises: broadcast, the two completions, errors that name the rank and hurt nobody else, and
// arguments that are refused with nothing done.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

using ContractSend = Cluster;

TEST_F(ContractSend, BroadcastReachesEveryGroupOnTheSameNodeAndOnOthers) {
  NEEDS_MAPPED_ARENAS();
  for (const Rank rank : {0, 1}) add(rank, "a");
  for (const Rank rank : {2, 3}) add(rank, "b");
  SimClient& producer = client(0);
  const Outcome& sent = send(producer, {.id = "image", .bytes = 10'000, .to = each({1, 2, 3})});
  EXPECT_THAT(sent, IsOk());
  for (const Rank rank : {1, 2, 3}) {
    SimClient& consumer = client(rank);
    const Outcome& got = recv(consumer, "image");
    EXPECT_THAT(got, IsOk());
    EXPECT_EQ(got.reply.meta.bytes, 10'000u);
    EXPECT_TRUE(got.salt);
    EXPECT_THAT(done(consumer, "image"), IsOk());
  }
  EXPECT_EQ(sidecar(1).stats().counters.chunks_mapped, 1u);
  EXPECT_EQ(sidecar(1).stats().counters.bytes_received, 0u) << "same node: no bytes may move";
  EXPECT_EQ(sidecar(2).stats().counters.bytes_received, 10'000u);
  EXPECT_EQ(sidecar(2).stats().counters.chunks_mapped, 0u);
}

TEST_F(ContractSend, OneCopyInTheArenaServesEveryDestination) {
  add(0, "a");
  for (const Rank rank : {1, 2, 3, 4}) add(rank, "b");
  SimClient& producer = client(0);
  const RequestId request = producer.send({.id = "x", .bytes = 100'000, .to = each({1, 2, 3, 4})});
  std::uint64_t most = 0;
  world_.run_until([&] {
    most = std::max(most, sidecar(0).stats().send.runs);
    return producer.over(request);
  });
  EXPECT_THAT(producer.outcome(request), IsOk());
  EXPECT_EQ(most, 1u);
  EXPECT_EQ(sidecar(0).stats().counters.bytes_captured, 100'000u);
}

TEST_F(ContractSend, CapturedComesBeforeDeliveredAndTheSourceMayBeReused) {
  add(0, "a");
  add(1, "b");
  SimClient& producer = client(0);
  world_.stop(sidecar(1));
  const RequestId request = producer.send({.id = "x", .bytes = 200'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return producer.outcome(request).captured; }, kSecond));
  expect_waits(producer, request, 500 * kMillisecond);  // captured, but the destination has not even looked
  world_.go_on(sidecar(1));
  EXPECT_THAT(wait(producer, request), IsOk());
  // The simulated client overwrites its buffer as soon as the transport lets go of it.
  EXPECT_THAT(recv(client(1), "x"), IsOk());
}

TEST_F(ContractSend, DeliveredMeansThatEveryDestinationHoldsIt) {
  for (const Rank rank : {0, 1, 2}) add(rank, rank == 1 ? "a" : "b" + std::to_string(rank));
  SimClient& producer = client(0);
  world_.stop(sidecar(2));
  const RequestId request = producer.send({.id = "x", .bytes = 5'000, .to = each({1, 2})});
  expect_waits(producer, request, kSecond);
  world_.go_on(sidecar(2));
  EXPECT_THAT(wait(producer, request), IsOk());
  for (const Rank rank : {1, 2}) {
    SimClient& consumer = client(rank);
    EXPECT_THAT(wait(consumer, consumer.recv("x", 0, 0)), IsOk()) << "it is there, nobody has to wait for it";
  }
}

TEST_F(ContractSend, ADestinationThatFailsIsNamedAndDoesNotHurtTheOthers) {
  for (const Rank rank : {0, 1, 2}) add(rank, "n" + std::to_string(rank));
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "warm up", .to = each({1, 2})}), IsOk());
  world_.kill(sidecar(2));
  const Outcome& sent = send(producer, {.id = "x", .bytes = 5'000, .to = each({1, 2})});
  EXPECT_THAT(sent, IsError(Errc::kPeerLost));
  EXPECT_EQ(sent.reply.rank, 2);
  ASSERT_EQ(sent.reply.failures, 1);
  EXPECT_EQ(sent.reply.failed_rank[0], 2);
  EXPECT_EQ(sent.reply.failed_code[0], Errc::kPeerLost);
  SimClient& consumer = client(1);
  EXPECT_THAT(recv(consumer, "x"), IsOk());
}

TEST_F(ContractSend, AllocatedMemoryIsSentFromWhereItLies) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  add(2, "b");
  SimClient& producer = client(0);
  const std::uint64_t slot = allocate(producer, 50'000);
  const Outcome& sent =
      send(producer, {.id = "x", .bytes = 50'000, .to = each({1, 2}), .source = Source::kSlot, .slot = slot});
  EXPECT_THAT(sent, IsOk());
  EXPECT_EQ(sidecar(0).stats().counters.bytes_captured, 0u) << "nothing is copied on the way out";
  SimClient& consumer = client(1);
  const Outcome& got = recv(consumer, "x");
  EXPECT_THAT(got, IsOk());
  EXPECT_EQ(got.reply.arena.instance, sidecar(0).instance());
  EXPECT_EQ(got.reply.offset, slot) << "the consumer looks at the producer's own memory";
  EXPECT_THAT(recv(client(2), "x"), IsOk());
}

TEST_F(ContractSend, AnAllocationMayBeGivenBackUnsent) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  SimClient& producer = client(0);
  const std::uint64_t slot = allocate(producer, 50'000);
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u);
  producer.release_slot(slot);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
}

TEST_F(ContractSend, AnAllocationCannotBeSentTwiceOrByAnotherClient) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  SimClient& producer = client(0);
  SimClient& other = client(0);
  const std::uint64_t slot = allocate(producer, 5'000);
  SendSpec spec{.id = "x", .bytes = 5'000, .to = each({1}), .source = Source::kSlot, .slot = slot};
  EXPECT_THAT(send(other, spec), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(send(producer, spec), IsOk());
  spec.id = "y";
  EXPECT_THAT(send(producer, spec), IsError(Errc::kInvalidArgument));
}

TEST_F(ContractSend, TheSecondSendOfAChunkGetsAlreadyExistsAndTheFirstDataStays) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "a");
  add(2, "b");
  SimClient& producer = client(0);
  const Outcome& first = send(producer, {.id = "x", .bytes = 3'000, .to = each({1, 2})});
  EXPECT_THAT(first, IsOk());
  const Outcome& second = send(producer, {.id = "x", .bytes = 4'000, .to = each({1, 2})});
  EXPECT_THAT(second, IsError(Errc::kAlreadyExists));
  EXPECT_EQ(second.reply.failures, 2);
  for (const Rank rank : {1, 2}) {
    const Outcome& got = recv(client(rank), "x");
    EXPECT_EQ(got.reply.meta.bytes, 3'000u);
    EXPECT_EQ(got.salt, 1u) << "the first send's bytes";
  }
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u) << "lent to rank 1; nothing of the second send is left";
}

TEST_F(ContractSend, TheSecondSendIsRefusedTooWhileTheFirstStillWaitsForRoom) {
  add(0, "b");
  add(1, "a", 64 * kKiB);
  SimClient& producer = client(0);
  const std::uint64_t bytes = 20'000;
  EXPECT_THAT(send(producer, {.id = "filler", .bytes = bytes, .to = each({1})}), IsOk());
  const RequestId parked = producer.send({.id = "x", .bytes = bytes, .to = each({1})});
  expect_waits(producer, parked);
  EXPECT_THAT(send(producer, {.id = "x", .bytes = bytes, .to = each({1})}), IsError(Errc::kAlreadyExists));
  SimClient& consumer = client(1);
  EXPECT_THAT(done(consumer, "filler"), IsOk());
  EXPECT_THAT(wait(producer, parked), IsOk());
}

using ContractShape = Cluster;

TEST_F(ContractShape, DtypeAndShapeTravelWithTheChunk) {
  add(0, "a");
  add(1, "b");
  SimClient& producer = client(0, 4096);
  const std::vector<std::uint64_t> shape{3, 5, 7, 2};
  send(producer,
       {.id = "x", .bytes = 3 * 5 * 7 * 2 * 2, .to = each({1}), .dtype = Dtype::kBF16, .shape = shape});
  const Outcome& got = recv(client(1, 100), "x");  // the receiver's own hint says nothing about the data
  EXPECT_EQ(got.reply.meta.dtype, Dtype::kBF16);
  EXPECT_EQ(got.reply.meta.kind, ChunkKind::kTensor);
  EXPECT_TRUE(std::ranges::equal(got.reply.meta.shape.span(), shape));
}

TEST_F(ContractShape, AnObjectKeepsItsCodecAndItsBytesInlineOrNot) {
  add(0, "a");
  add(1, "a");
  add(2, "b");
  SimClient& producer = client(0);
  for (const std::uint64_t bytes : {0ul, 1ul, 64ul, 1024ul, 1025ul, 70'000ul}) {
    const std::string id = "object of " + std::to_string(bytes);
    EXPECT_THAT(send(producer,
                     {.id = id, .bytes = bytes, .to = each({1, 2}), .kind = ChunkKind::kObject, .codec = 77}),
                IsOk());
    for (const Rank rank : {1, 2}) {
      const Outcome& got = recv(client(rank), id);
      EXPECT_THAT(got, IsOk());
      EXPECT_EQ(got.reply.meta.kind, ChunkKind::kObject);
      EXPECT_EQ(got.reply.meta.codec, 77u);
      EXPECT_EQ(got.reply.meta.bytes, bytes);
      EXPECT_TRUE(got.salt);
      EXPECT_EQ(got.reply.where == Where::kInline, bytes <= kInlineBytesMax);
    }
  }
}

TEST_F(ContractShape, ChunksOfOneDatumMayDifferInDtypeAndSize) {
  add(0, "a");
  add(1, "b");
  SimClient& producer = client(0);
  SimClient& consumer = client(1);
  const std::vector<Dtype> dtypes{Dtype::kU8, Dtype::kF64, Dtype::kC128};
  for (ChunkIndex i = 0; i < 3; ++i) {
    send(producer, {.id = "x",
                    .chunk = i,
                    .num_chunks = 3,
                    .bytes = 1600 * (i + 1),
                    .to = each({1}),
                    .dtype = dtypes[i]});
  }
  for (ChunkIndex i = 0; i < 3; ++i) {
    const Outcome& got = recv(consumer, "x", i);
    EXPECT_EQ(got.reply.meta.dtype, dtypes[i]);
    EXPECT_EQ(got.reply.meta.bytes, 1600 * (i + 1));
    EXPECT_EQ(got.reply.meta.num_chunks, 3u);
  }
}

// --- arguments
// -------------------------------------------------------------------------------------------------------------

class ContractArguments : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "a");
    producer_ = &client(0);
  }
  // Refused at once, with a text that names the field, and nothing happens.
  void expect_refused(const SendSpec& spec, const std::string& field) {
    const Outcome& sent = send(*producer_, spec);
    EXPECT_THAT(sent, IsError(Errc::kInvalidArgument));
    EXPECT_THAT(sent.text(), ::testing::HasSubstr(field));
    expect_nothing_happened();
  }
  void expect_nothing_happened() {
    settle();
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
    EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
    EXPECT_EQ(sidecar(1).stats().data, 0u);
  }
  SimClient* producer_ = nullptr;
};

TEST_F(ContractArguments, ItsOwnRankIsNoDestination) {
  expect_refused({.id = "x", .to = each({0})}, "destinations");
}
TEST_F(ContractArguments, ItsOwnRankInAGroupIsNoDestination) {
  expect_refused({.id = "x", .to = {{1, 0}}}, "destinations");
}
TEST_F(ContractArguments, ANegativeRankIsNoDestination) {
  expect_refused({.id = "x", .to = each({-1})}, "destinations");
}
TEST_F(ContractArguments, AnUnknownRankIsNoDestinationAndIsNamed) {
  const Outcome& sent = send(*producer_, {.id = "x", .to = each({1, 1000})});
  EXPECT_THAT(sent, IsError(Errc::kInvalidArgument));
  EXPECT_EQ(sent.reply.rank, 1000);
  expect_nothing_happened();
}
TEST_F(ContractArguments, NoDestinationAtAll) { expect_refused({.id = "x", .to = {}}, "destinations"); }
TEST_F(ContractArguments, AnEmptyGroup) { expect_refused({.id = "x", .to = {{}}}, "destinations"); }
TEST_F(ContractArguments, TwoGroupsWithOneLeader) {
  expect_refused({.id = "x", .to = {{1, 2}, {3, 1}}}, "destinations");
}
TEST_F(ContractArguments, AChunkNumberThatIsNotBelowTheCount) {
  expect_refused({.id = "x", .chunk = 5, .num_chunks = 5, .to = each({1})}, "chunk_id");
}
TEST_F(ContractArguments, NoChunksWithoutAStream) {
  expect_refused({.id = "x", .num_chunks = 0, .to = each({1})}, "num_chunks");
}
TEST_F(ContractArguments, AnEmptyId) { expect_refused({.id = "", .to = each({1})}, "id"); }
TEST_F(ContractArguments, BytesThatDisagreeWithTheShape) {
  expect_refused({.id = "x", .bytes = 100, .to = each({1}), .dtype = Dtype::kF32, .shape = {26}}, "bytes");
}
TEST_F(ContractArguments, AShapeWhoseProductOverflows) {
  const std::uint64_t huge = 1ull << 40;
  expect_refused({.id = "x", .bytes = 64, .to = each({1}), .shape = {huge, huge}}, "shape");
}
TEST_F(ContractArguments, ASlotThatWasNeverAllocated) {
  expect_refused({.id = "x", .to = each({1}), .source = Source::kSlot, .slot = 64}, "slot");
}
TEST_F(ContractArguments, ASlotOfAnotherSize) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t slot = allocate(*producer_, 1000);
  const Outcome& sent =
      send(*producer_, {.id = "x", .bytes = 2000, .to = each({1}), .source = Source::kSlot, .slot = slot});
  EXPECT_THAT(sent, IsError(Errc::kInvalidArgument));
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u) << "refused: it is the client's still";
  producer_->release_slot(slot);
}
TEST_F(ContractArguments, RecvAndMarkDoneAndCloseOfAnEmptyId) {
  EXPECT_THAT(recv(*producer_, ""), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(done(*producer_, ""), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(wait(*producer_, producer_->close_stream("", 0, each({1}))), IsError(Errc::kInvalidArgument));
  expect_nothing_happened();
}
TEST_F(ContractArguments, MarkDonePastTheEndOfAKnownDatum) {
  EXPECT_THAT(send(*producer_, {.id = "x", .to = each({1})}), IsOk());
  SimClient& consumer = client(1);
  EXPECT_THAT(done(consumer, "x", 1), IsError(Errc::kInvalidArgument));
  EXPECT_THAT(recv(consumer, "x"), IsOk());
}
TEST_F(ContractArguments, AnotherCountForTheSameDatum) {
  EXPECT_THAT(send(*producer_, {.id = "x", .chunk = 0, .num_chunks = 3, .to = each({1})}), IsOk());
  const Outcome& sent = send(*producer_, {.id = "x", .chunk = 1, .num_chunks = 4, .to = each({1})});
  EXPECT_THAT(sent, IsError(Errc::kInvalidArgument));
  EXPECT_THAT(sent.text(), ::testing::HasSubstr("num_chunks"));
  leaves_data(1);
}
TEST_F(ContractArguments, SixteenDimensionsAreAllowed) {
  const std::vector<std::uint64_t> shape(16, 1);
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 1, .to = each({1}), .shape = shape}), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
