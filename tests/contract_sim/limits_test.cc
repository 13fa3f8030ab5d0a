// Many, large, tiny and odd.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Limits : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a", 8 * kMiB);
    add(1, "b", 8 * kMiB);
    add(2, "a", 8 * kMiB);
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

TEST_F(Limits, AThousandRecvsOnOneDatumAreAllAnswered) {
  SimClient& near = client(2);
  std::vector<RequestId> far_requests, near_requests;
  for (int i = 0; i < 500; ++i) {
    far_requests.push_back(consumer_->recv("x", 0, i % 2 == 0 ? kNever : 100 * kSecond));
    near_requests.push_back(near.recv("x", 0, i % 2 == 0 ? kNever : 100 * kSecond));
  }
  for (int i = 0; i < 500; ++i) far_requests.push_back(consumer_->recv("x"));
  settle();
  EXPECT_EQ(sidecar(1).stats().waiting_recvs, 1'000u);
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 100'000, .to = each({1, 2})}), IsOk());
  for (const RequestId request : far_requests) EXPECT_THAT(wait(*consumer_, request, kSecond), IsOk());
  for (const RequestId request : near_requests) EXPECT_THAT(wait(near, request, kSecond), IsOk());
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
}

TEST_F(Limits, TenThousandIdsInFlight) {
  constexpr int kCount = 10'000;
  std::vector<RequestId> recvs, sends;
  for (int i = 0; i < kCount; ++i) {
    recvs.push_back(consumer_->recv("id " + std::to_string(i)));
    if (i % 500 == 0) world_.run_for(kMillisecond);
  }
  world_.stop(sidecar(1));
  for (int i = 0; i < kCount; ++i) {
    sends.push_back(producer_->send(
        {.id = "id " + std::to_string(i), .bytes = 200, .to = each({1}), .kind = ChunkKind::kObject}));
    if (i % 500 == 0) world_.run_for(kMillisecond);
  }
  settle();
  EXPECT_EQ(sidecar(0).stats().outgoing, static_cast<std::uint64_t>(kCount));
  world_.go_on(sidecar(1));
  for (const RequestId request : sends) ASSERT_THAT(wait(*producer_, request), IsOk());
  for (const RequestId request : recvs) ASSERT_THAT(wait(*consumer_, request), IsOk());
  std::vector<RequestId> dones;
  for (int i = 0; i < kCount; ++i) {
    dones.push_back(consumer_->mark_done("id " + std::to_string(i)));
    if (i % 500 == 0) world_.run_for(kMillisecond);
  }
  for (const RequestId request : dones) ASSERT_THAT(wait(*consumer_, request), IsOk());
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_EQ(sidecar(1).stats().tombstones, static_cast<std::uint64_t>(kCount));
}

TEST_F(Limits, MoreTransfersThanTheWindowHoldsAllArrive) {
  EXPECT_THAT(send(*producer_, {.id = "warm up", .to = each({1})}), IsOk());
  world_.stop(sidecar(1));
  std::vector<RequestId> sends;
  const ChunkIndex count = kTransferWindow + 3'000;
  for (ChunkIndex chunk = 0; chunk < count; ++chunk) {
    sends.push_back(producer_->send({.id = "x",
                                     .chunk = chunk,
                                     .num_chunks = count,
                                     .bytes = 1,
                                     .to = each({1}),
                                     .kind = ChunkKind::kObject}));
    if (chunk % 500 == 0) world_.run_for(100 * kMicrosecond);
  }
  world_.run_for(10 * kMillisecond);
  EXPECT_LE(sidecar(0).transport().sent(Message(Chunk{}).index()), kTransferWindow + 1);
  world_.go_on(sidecar(1));
  for (const RequestId request : sends) ASSERT_THAT(wait(*producer_, request), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.protocol_errors, 0u);
  EXPECT_EQ(sidecar(1).stats().chunks, count + 1u);
}

TEST_F(Limits, IdsOfOneAndOf255BytesWithAnyByteInThem) {
  std::vector<std::string> ids;
  for (int byte = 0; byte < 256; ++byte) ids.push_back(std::string(1, static_cast<char>(byte)));
  std::string all;
  for (int byte = 0; byte < 255; ++byte) all += static_cast<char>(byte);
  ids.push_back(all);
  ids.push_back(all.substr(1) + '\xff');
  ids.push_back(std::string(255, '\0'));
  ids.push_back(std::string(254, '\0'));
  std::vector<RequestId> sends;
  for (const std::string& id : ids) {
    sends.push_back(producer_->send({.id = id, .bytes = 16, .to = each({1, 2}), .kind = ChunkKind::kObject}));
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
  SimClient& near = client(2);
  for (const std::string& id : ids) {
    for (SimClient* at : {consumer_, &near}) {
      const Outcome& got = recv(*at, id);
      EXPECT_THAT(got, IsOk());
      EXPECT_EQ(got.reply.meta.id.view(), id);
      EXPECT_THAT(done(*at, id), IsOk());
    }
  }
}

TEST_F(Limits, ChunksOfEverySizeFromNothingToTheWholeRegion) {
  SimClient& near = client(2);
  const std::uint64_t region = 8 * kMiB / 2 - 8 * kMiB / 16;  // what is for receiving
  for (const std::uint64_t bytes : {0ul, 1ul, 2ul, 63ul, 64ul, 65ul, 1'023ul, 1'024ul, 1'025ul, 65'535ul,
                                    65'536ul, 65'537ul, 104'729ul, 1'299'709ul, region}) {
    const std::string id = "chunk of " + std::to_string(bytes);
    for (const bool eager : {false, true}) {
      const std::string name = id + (eager ? " eager" : "");
      EXPECT_THAT(send(*producer_, {.id = name, .bytes = bytes, .to = each({1, 2}), .eager = eager}), IsOk());
      for (SimClient* at : {consumer_, &near}) {
        const Outcome& got = recv(*at, name);
        EXPECT_THAT(got, IsOk());
        EXPECT_EQ(got.reply.meta.bytes, bytes);
        EXPECT_TRUE(got.salt);
        EXPECT_THAT(done(*at, name), IsOk());
      }
    }
  }
}

TEST_F(Limits, AnEmptyTensorKeepsItsShape) {
  EXPECT_THAT(
      send(*producer_, {.id = "x", .bytes = 0, .to = each({1, 2}), .dtype = Dtype::kF32, .shape = {4, 0, 7}}),
      IsOk());
  for (SimClient* at : {consumer_, &client(2)}) {
    const Outcome& got = recv(*at, "x");
    EXPECT_THAT(got, IsOk());
    EXPECT_EQ(got.reply.meta.dtype, Dtype::kF32);
    EXPECT_TRUE(std::ranges::equal(got.reply.meta.shape.span(), std::vector<std::uint64_t>{4, 0, 7}));
    EXPECT_THAT(done(*at, "x"), IsOk());
  }
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
}

TEST_F(Limits, AnAllocationOfNothingCanBeSent) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t slot = allocate(*producer_, 0);
  EXPECT_THAT(
      send(*producer_, {.id = "x", .bytes = 0, .to = each({1, 2}), .source = Source::kSlot, .slot = slot}),
      IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsOk());
  EXPECT_THAT(recv(client(2), "x"), IsOk());
}

TEST_F(Limits, ADatumOfManyChunksInReverseOrder) {
  constexpr ChunkIndex kCount = 1'000;
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = kCount; chunk-- > 0;) {
    sends.push_back(producer_->send(
        {.id = "x", .chunk = chunk, .num_chunks = kCount, .bytes = 2'000, .to = each({1}), .eager = true}));
  }
  for (ChunkIndex chunk = 0; chunk < kCount; ++chunk) {
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsOk());
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(Limits, TheLastChunkNumberThatExists) {
  const ChunkIndex last = ~ChunkIndex{0} - 1;
  EXPECT_THAT(send(*producer_, {.id = "x", .chunk = last, .num_chunks = last + 1, .to = each({1})}), IsOk());
  EXPECT_THAT(recv(*consumer_, "x", last), IsOk());
  EXPECT_THAT(recv(*consumer_, "x", last + 1), IsError(Errc::kEndOfStream));
  EXPECT_THAT(send(*producer_, {.id = "s", .chunk = last + 1, .to = each({1}), .stream = true}),
              IsError(Errc::kInvalidArgument));
  leaves_data(1);
}

}  // namespace
}  // namespace sidecar::sim
