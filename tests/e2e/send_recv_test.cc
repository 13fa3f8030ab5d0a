// The contract between real processes: send, allocate, recv, mark_done.
#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

using Contract = BothPaths;
SIDECAR_BOTH_PATHS(Contract);

TEST_P(Contract, SmokeATensorArrivesWholeWithItsDtypeAndShape) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  const auto bytes = contents("t", 0, 2 * 300 * 500);
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kBF16, {300, 500}}, "t", {{this->consumer()}}));
  const auto view = consumer.recv("t");
  ASSERT_TRUE(view) << to_string(view.error());
  EXPECT_EQ(view->dtype(), Dtype::kBF16);
  EXPECT_EQ(view->shape(), (std::vector<std::uint64_t>{300, 500}));
  EXPECT_TRUE(matches(view->bytes(), "t", 0));
  EXPECT_TRUE(view->is_shared());
  EXPECT_TRUE(consumer.mark_done("t"));
}

TEST_P(Contract, EverySizeArrivesBitExact) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{64},
                                 std::size_t{1024}, std::size_t{1025}, std::size_t{65535}, std::size_t{65536},
                                 std::size_t{65537}, std::size_t{1000003}, std::size_t{16} << 20}) {
    const std::string id = "size-" + std::to_string(size);
    const auto bytes = contents(id, 0, size);
    const auto sent = producer.send(tensor_of(bytes), id, {{this->consumer()}});
    ASSERT_TRUE(sent) << size << ": " << to_string(sent.error());
    {
      const auto view = consumer.recv(id);
      ASSERT_TRUE(view) << size << ": " << to_string(view.error());
      EXPECT_EQ(view->size_bytes(), size);
      EXPECT_EQ(view->shape(), (std::vector<std::uint64_t>{size}));
      EXPECT_TRUE(matches(view->bytes(), id, 0)) << size;
    }
    EXPECT_TRUE(consumer.mark_done(id));
  }
}

TEST_P(Contract, SmokeAllocatedMemoryIsSentWithoutACopy) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  auto buffer = producer.allocate({1 << 20}, Dtype::kU8);
  ASSERT_TRUE(buffer) << to_string(buffer.error());
  ASSERT_TRUE(buffer->in_arena());
  fill({buffer->data(), buffer->size_bytes()}, "a", 0);
  ASSERT_TRUE(producer.send(std::move(*buffer), "a", {{this->consumer()}}));
  EXPECT_EQ(cluster_.counter(0, "bytes_captured"), 0u);
  const auto view = consumer.recv("a");
  ASSERT_TRUE(view);
  EXPECT_TRUE(matches(view->bytes(), "a", 0));
  if (GetParam() == Path::kSameNode) {
    EXPECT_EQ(cluster_.counter(1, "bytes_received"), 0u);
    EXPECT_EQ(cluster_.counter(1, "bytes_mapped"), 1u << 20);
  }
  EXPECT_TRUE(consumer.mark_done("a"));
}

TEST_P(Contract, AnUnsentBufferIsGivenBack) {
  Client producer = cluster_.client(0);
  {
    auto buffer = producer.allocate({1 << 20}, Dtype::kF32);
    ASSERT_TRUE(buffer);
    EXPECT_GE(cluster_.status(0).memory[0].used_bytes, 4u << 20);
  }
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Contract, ManyProcessesOfAGroupSeeTheSameMemory) {
  Executor producer(cluster_, 0);
  Executor first(cluster_, consumer());
  Executor second(cluster_, consumer());
  const std::string to = std::to_string(consumer());
  ASSERT_EQ(producer.ask("send shared " + to + " 0 1 1000003 arena"), "ok");
  const std::string expected = "ok 1000003 good " + std::to_string(inode_of_data());
  EXPECT_EQ(first.ask("hold shared 0 5000"), expected);
  EXPECT_EQ(second.ask("hold shared 0 5000"), expected);
  EXPECT_EQ(first.ask("recv shared 0 5000"), expected) << "recv is idempotent";
  ASSERT_EQ(first.ask("done shared 0"), "ok");
  EXPECT_EQ(second.ask("check"), "ok 1") << "its view outlives the other's mark_done";
  EXPECT_EQ(second.ask("drop"), "ok");
  EXPECT_EQ(first.ask("drop"), "ok");
}

TEST_P(Contract, RecvAfterMarkDoneSaysAlreadyDoneAtOnce) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  const auto bytes = contents("d", 0, 5000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "d", {{this->consumer()}}, 0, 2));
  ASSERT_TRUE(consumer.recv("d", 0));
  ASSERT_TRUE(consumer.mark_done("d", 0));
  ASSERT_TRUE(consumer.mark_done("d", 0)) << "idempotent";
  EXPECT_EQ(consumer.recv("d", 0).code(), Errc::kAlreadyDone);
  ASSERT_TRUE(consumer.mark_done("d", 1)) << "before it arrives";
  ASSERT_TRUE(producer.send(tensor_of(bytes), "d", {{this->consumer()}}, 1, 2)) << "dropped and acknowledged";
  EXPECT_EQ(consumer.recv("d", 1).code(), Errc::kAlreadyDone);
  EXPECT_EQ(consumer.recv("d", 2).value().end_of_stream(), true);
}

TEST_P(Contract, ASecondSendOfAChunkSaysAlreadyExistsAndTheFirstDataStay) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  const auto first = contents("x", 0, 70000);
  const auto second = contents("y", 0, 70000);
  ASSERT_TRUE(producer.send(tensor_of(first), "x", {{this->consumer()}}));
  EXPECT_EQ(producer.send(tensor_of(second), "x", {{this->consumer()}}).code(), Errc::kAlreadyExists);
  EXPECT_TRUE(matches(consumer.recv("x").value().bytes(), "x", 0));
  ASSERT_TRUE(consumer.mark_done("x"));
  EXPECT_EQ(producer.send(tensor_of(second), "x", {{this->consumer()}}).code(), Errc::kAlreadyExists);
}

TEST_P(Contract, ChunksMayBeSentReadAndDoneInAnyOrder) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  constexpr ChunkIndex kChunks = 40;
  for (ChunkIndex i = 0; i < kChunks; ++i) {
    const ChunkIndex chunk = i * 7 % kChunks;
    const auto bytes = contents("o", chunk, 100 + 3000 * chunk);
    ASSERT_TRUE(producer.send(tensor_of(bytes), "o", {{this->consumer()}}, chunk, kChunks));
  }
  for (ChunkIndex i = 0; i < kChunks; ++i) {
    const ChunkIndex chunk = i * 11 % kChunks;
    EXPECT_TRUE(matches(consumer.recv("o", chunk).value().bytes(), "o", chunk)) << chunk;
    EXPECT_TRUE(consumer.mark_done("o", chunk));
  }
  EXPECT_TRUE(consumer.recv("o", kChunks).value().end_of_stream());
}

TEST_P(Contract, IdsAreAnyBytesFrom1To255) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  std::vector<std::string> ids{std::string(1, '\0'), std::string(255, '\xff')};
  std::string all;
  for (int i = 0; i < 255; ++i) all.push_back(static_cast<char>(i));
  ids.push_back(all);
  for (const std::string& id : ids) {
    const auto bytes = contents(id, 0, 100);
    ASSERT_TRUE(producer.send(tensor_of(bytes), id, {{this->consumer()}})) << id.size();
    EXPECT_TRUE(matches(consumer.recv(id).value().bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
  }
  EXPECT_EQ(producer.send(Object{"x", 1, 0}, "", {{this->consumer()}}).code(), Errc::kInvalidArgument);
  EXPECT_EQ(producer.send(Object{"x", 1, 0}, std::string(256, 'i'), {{this->consumer()}}).code(),
            Errc::kInvalidArgument);
}

TEST_P(Contract, StridedTensorsArePackedOnce) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  std::vector<std::int32_t> matrix(100 * 60);
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::int32_t>(i);
  // The transpose: shape 60 x 100 with the rows as columns.
  ASSERT_TRUE(
      producer.send(Tensor{matrix.data(), Dtype::kI32, {60, 100}, {1, 60}}, "s", {{this->consumer()}}));
  const auto view = consumer.recv("s");
  ASSERT_TRUE(view);
  const auto* got = reinterpret_cast<const std::int32_t*>(view->data());
  for (std::size_t i = 0; i < 60; ++i) {
    for (std::size_t j = 0; j < 100; ++j) ASSERT_EQ(got[i * 100 + j], matrix[j * 60 + i]);
  }
  EXPECT_TRUE(consumer.mark_done("s"));
}

TEST_P(Contract, ObjectsKeepTheirCodec) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{64}, std::size_t{1024}, std::size_t{1025}, std::size_t{300000}}) {
    const std::string id = "object-" + std::to_string(size);
    const auto bytes = contents(id, 0, size);
    ASSERT_TRUE(producer.send(Object{bytes.data(), size, 77}, id, {{this->consumer()}}));
    const auto view = consumer.recv(id);
    ASSERT_TRUE(view);
    EXPECT_TRUE(view->is_object());
    EXPECT_EQ(view->codec(), 77u);
    EXPECT_TRUE(matches(view->bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
  }
}

TEST_P(Contract, AClientThatCannotMapGetsTheBytes) {
  Executor producer(cluster_, 0);
  Executor by_value(cluster_, consumer(), "value");
  const std::string to = std::to_string(consumer());
  for (const std::string size : {"100", "40000", "3000000"}) {
    ASSERT_EQ(producer.ask("send v" + size + " " + to + " 0 1 " + size + " private"), "ok");
    EXPECT_EQ(by_value.ask("recv v" + size + " 0 5000"), "ok " + size + " good 0");
    EXPECT_EQ(by_value.ask("done v" + size + " 0"), "ok");
  }
}

TEST_P(Contract, BadArgumentsAreRefusedNamingTheField) {
  Client producer = cluster_.client(0);
  const std::byte bytes[8] = {};
  const Object object{bytes, 8, 0};
  const Rank good = this->consumer();
  const auto refused = [&](const Expected<void>& result, const std::string& field) {
    ASSERT_EQ(result.code(), Errc::kInvalidArgument);
    EXPECT_NE(result.error().message.find(field), std::string::npos) << to_string(result.error());
  };
  refused(producer.send(object, "b", {{0}}), "destinations");
  refused(producer.send(object, "b", {{-1}}), "destinations");
  refused(producer.send(object, "b", {{99}}), "destinations");
  refused(producer.send(object, "b", {}), "destinations");
  refused(producer.send(object, "b", {{}}), "destinations");
  refused(producer.send(object, "b", {{good}, {good}}), "destinations");
  refused(producer.send(object, "b", {{good}}, 3, 3), "chunk_id");
  refused(producer.send(object, "b", {{good}}, 0, 0), "num_chunks");
  refused(producer.send(Tensor{bytes, Dtype::kU8, {std::uint64_t{1} << 62, 16}}, "b", {{good}}), "shape");
  EXPECT_EQ(cluster_.client(good).recv("b", 0, milliseconds(0)).code(), Errc::kTimeout) << "nothing happened";
}

TEST_P(Contract, WaitingEndsByDeadlineAndByCancel) {
  Client consumer = cluster_.client(this->consumer());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(consumer.recv("never", 0, milliseconds(100)).code(), Errc::kTimeout);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(100));
  auto waiting = consumer.recv_async("never", 0);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  waiting.cancel();
  EXPECT_EQ(waiting.get().code(), Errc::kCancelled);
  EXPECT_TRUE(cluster_.becomes_empty(this->consumer()));
}

TEST_P(Contract, AThousandWaitOnOneDatumAtOnce) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  std::vector<Future<View>> waiting;
  for (int i = 0; i < 1000; ++i)
    waiting.push_back(consumer.recv_async("crowd", static_cast<ChunkIndex>(i % 4)));
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) {
    const auto bytes = contents("crowd", chunk, 20000);
    ASSERT_TRUE(producer.send(tensor_of(bytes), "crowd", {{this->consumer()}}, chunk, 4));
  }
  for (int i = 0; i < 1000; ++i) {
    auto view = waiting[static_cast<std::size_t>(i)].get();
    ASSERT_TRUE(view) << to_string(view.error());
    ASSERT_TRUE(matches(view->bytes(), "crowd", static_cast<ChunkIndex>(i % 4)));
  }
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) EXPECT_TRUE(consumer.mark_done("crowd", chunk));
}

TEST_P(Contract, TenThousandIdsAreInFlightAtOnce) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  constexpr int kIds = 10000;
  std::vector<SendHandle> sends;
  for (int i = 0; i < kIds; ++i) {
    const std::string id = "id-" + std::to_string(i);
    const auto bytes = contents(id, 0, 100);
    sends.push_back(producer.send_async(Object{bytes.data(), bytes.size(), 0}, id, {{this->consumer()}}));
  }
  for (auto& send : sends) ASSERT_TRUE(send.delivered.get());
  EXPECT_EQ(cluster_.counter(this->consumer(), "chunks"), static_cast<std::uint64_t>(kIds));
  for (int i = 0; i < kIds; ++i) {
    const std::string id = "id-" + std::to_string(i);
    ASSERT_TRUE(matches(consumer.recv(id).value().bytes(), id, 0));
    ASSERT_TRUE(consumer.mark_done(id));
  }
}

TEST(Broadcast, SmokeOneSendReachesSameNodeAndOtherNodeGroups) {
  Cluster cluster({.nodes = {"a", "a", "b", "b"}});
  Executor producer(cluster, 0);
  ASSERT_EQ(producer.ask("send b 1/2/3 0 1 3000001 arena"), "ok");
  for (const Rank rank : {1, 2, 3}) {
    Executor consumer(cluster, rank);
    const Rank holder = rank == 1 ? 0 : rank;
    EXPECT_EQ(consumer.ask("recv b 0 5000"),
              "ok 3000001 good " + std::to_string(cluster.arena_inode(holder)));
    EXPECT_EQ(consumer.ask("done b 0"), "ok");
  }
  for (const Rank rank : {1, 2, 3}) {
    EXPECT_EQ(cluster.peer(0, rank).path, rank == 1 ? "shared memory" : "network") << "rank " << rank;
  }
}

TEST(RegressionR8, ASlotThatIsAlsoOnTheNetworkIsNotFreedByTheSameNodeReader) {
  Cluster cluster({.nodes = {"a", "a", "b"}});
  Executor producer(cluster, 0);
  Executor near(cluster, 1);
  Executor far(cluster, 2);
  for (int i = 0; i < 20; ++i) {
    const std::string id = "r8-" + std::to_string(i);
    producer.tell("send " + id + " 1/2 0 1 4000000 arena");
    ASSERT_EQ(near.ask("recv " + id + " 0 5000").substr(0, 15), "ok 4000000 good");
    ASSERT_EQ(near.ask("done " + id + " 0"), "ok");
    ASSERT_EQ(producer.answer(), "ok");
    ASSERT_EQ(far.ask("recv " + id + " 0 5000").substr(0, 15), "ok 4000000 good");
    ASSERT_EQ(far.ask("done " + id + " 0"), "ok");
  }
}

}  // namespace
}  // namespace sidecar::e2e
