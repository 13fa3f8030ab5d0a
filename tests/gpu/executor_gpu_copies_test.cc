// Tensors in GPU memory where the sidecar cannot copy by itself: the client does.
#include <future>

#include "tests/gpu/executor_fixture.h"

namespace sidecar::e2e {
namespace {

class GpuFallback : public GpuExecutors {
 protected:
  void SetUp() override {
    GpuExecutors::SetUp();
    if (!IsSkipped()) start({}, {"CUDA_VISIBLE_DEVICES="});  // sidecars without a GPU
  }
  void send_and_expect(const ClientOptions& options, const std::string& id, std::uint64_t size) {
    Client producer = client(0, options);
    const GpuMemory memory(*stream_, size);
    for (const Rank consumer : {1, 2}) {
      const auto content = contents(id, static_cast<ChunkIndex>(consumer), size);
      memory.put(content);
      const std::string name = id + std::to_string(consumer);
      const auto sent = producer.send(memory.tensor(), name, {{consumer}});
      ASSERT_TRUE(sent) << to_string(sent.error());
      expect_there(consumer, name, content);
    }
  }
};

TEST_F(GpuFallback, GoesStraightToTheArenaWhereItIsMapped) {
  send_and_expect({}, "mapped", 20 * kMiB + 1);
  EXPECT_EQ(cluster_->counter(0, "bytes_captured"), 0u);
}

TEST_F(GpuFallback, AndThroughPrivateMemoryWhereItIsNot) {
  send_and_expect({.map_arenas = false}, "private", 20 * kMiB + 1);
}

TEST_F(GpuFallback, AlsoWhenTheCallerMakesTheProgress) {
  send_and_expect({.progress = Progress::kCaller}, "caller", kMiB);
}

TEST_F(GpuFallback, AlsoForTheMembersOfAGroupAndInsideACallback) {
  Client first = client(0, {.group = {0, 1}, .concurrent_copy = true});
  Client second = client(1, {.group = {0, 1}, .concurrent_copy = true});
  const auto content = contents("group", 0, 2 * kMiB + 1);
  const GpuMemory memory(*stream_, content.size());
  memory.put(content);
  SendHandle a = first.send_async(memory.tensor(), "group", {{2}});
  SendHandle b;
  std::promise<void> over;
  second.mark_done_async("nothing").then([&](const Expected<void>&) {
    b = second.send_async(memory.tensor(), "group", {{2}});
    over.set_value();
  });
  over.get_future().wait();
  EXPECT_TRUE(a.delivered.get());
  EXPECT_TRUE(b.delivered.get());
  expect_there(2, "group", content);
}

TEST_F(GpuFallback, StillComesAfterWhatTheStreamHolds) {
  Client producer = client(0);
  const GpuMemory memory(*stream_, 32 * kMiB);
  memory.fill(0x5A, 1000);
  ASSERT_TRUE(producer.send(memory.tensor(), "slow", {{1}}));
  expect_there(1, "slow", std::vector(32 * kMiB, std::byte{0x5A}));
}

TEST_F(GpuFallback, WaitsForRoomNoLongerThanItsDeadline) {
  Client producer = client(0);
  const GpuMemory memory(*stream_, 40 * kMiB);
  memory.fill(1);
  auto taken = producer.allocate({40 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(taken);
  const SendOptions options{.deadline = milliseconds(200)};
  std::vector<Expected<Buffer>> more;
  while (more.empty() || more.back())
    more.push_back(producer.allocate({8 * kMiB}, Dtype::kU8, milliseconds(0)));
  EXPECT_EQ(producer.send(memory.tensor(), "full", {{1}}, 0, 1, options).code(), Errc::kTimeout);
  more.clear();
  *taken = Buffer();
  ASSERT_TRUE(producer.send(memory.tensor(), "room", {{1}}));
  expect_there(1, "room", std::vector(40 * kMiB, std::byte{1}));
}

TEST_F(GpuFallback, RefusesWhatIsNoGpuMemoryAndTakesTheDefaultStream) {
  Client producer = client(0);
  const auto content = contents("x", 0, 100'000);
  const GpuMemory memory(*stream_, content.size());
  memory.put(content);
  Tensor tensor = memory.tensor();
  tensor.data = content.data();
  EXPECT_EQ(producer.send(tensor, "x", {{1}}).code(), Errc::kInvalidArgument);
  tensor = memory.tensor();
  tensor.stream = nullptr;
  ASSERT_TRUE(producer.send(tensor, "x", {{1}}));
  expect_there(1, "x", content);
}

}  // namespace
}  // namespace sidecar::e2e
