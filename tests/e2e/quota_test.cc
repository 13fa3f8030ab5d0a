// Quotas: who waits in which order, and that nobody waits for ever.
#include <thread>

#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

constexpr std::size_t kMiB = 1 << 20;

// 16 MiB to send from, 16 MiB to receive into.
class Quota : public BothPaths {
 protected:
  Quota() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M"}) {}
  template <class Condition>
  static bool eventually(Condition condition) {
    const auto until = std::chrono::steady_clock::now() + seconds(10);
    while (!condition() && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(milliseconds(5));
    return condition();
  }
};
SIDECAR_BOTH_PATHS(Quota);

TEST_P(Quota, TwoFullSidecarsThatSendToEachOtherGoOn) {
  Client here = cluster_.client(0);
  Client there = cluster_.client(consumer());
  constexpr ChunkIndex kChunks = 40;
  const auto bytes = contents("x", 0, kMiB);
  std::vector<SendHandle> sends;
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) {
    sends.push_back(here.send_async(tensor_of(bytes), "there", {{consumer()}}, chunk, kChunks));
    sends.push_back(there.send_async(tensor_of(bytes), "back", {{0}}, chunk, kChunks));
  }
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) {
    EXPECT_TRUE(matches(there.recv("there", chunk, seconds(20)).value().bytes(), "x", 0)) << chunk;
    EXPECT_TRUE(there.mark_done("there", chunk));
    EXPECT_TRUE(matches(here.recv("back", chunk, seconds(20)).value().bytes(), "x", 0)) << chunk;
    EXPECT_TRUE(here.mark_done("back", chunk));
  }
  for (auto& send : sends) EXPECT_TRUE(send.delivered.get());
}

TEST_P(Quota, RegressionR12ALargeRequestIsNotStarvedBySmallOnes) {
  Client producer = cluster_.client(0);
  std::vector<Buffer> held;
  for (int i = 0; i < 14; ++i) held.push_back(std::move(*producer.allocate({kMiB}, Dtype::kU8)));
  auto large = producer.allocate_async({10 * kMiB}, Dtype::kU8);
  EXPECT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") >= 1; }));
  // Small ones come and go all the time; the large one gets its turn once enough was given back.
  std::vector<Future<Buffer>> small;
  for (int i = 0; i < 40; ++i) {
    small.push_back(producer.allocate_async({kMiB}, Dtype::kU8));
    if (!held.empty()) held.pop_back();
  }
  EXPECT_TRUE(large.wait(seconds(10))) << "starved";
  EXPECT_TRUE(large.get());
  for (auto& each : small) {
    auto buffer = each.get();  // given back at once, so that the next has room
    EXPECT_TRUE(buffer);
  }
}

TEST_P(Quota, RegressionC4PressureIsSeenWhileItLastsAndNoLonger) {
  Client producer = cluster_.client(0);
  for (int round = 0; round < 5; ++round) {
    auto held = producer.allocate({12 * kMiB}, Dtype::kU8);
    ASSERT_TRUE(held);
    auto waiting = producer.allocate_async({8 * kMiB}, Dtype::kU8);
    EXPECT_TRUE(eventually([&] { return cluster_.status(0).memory_pressure; }));
    *held = Buffer();
    EXPECT_TRUE(waiting.get());
    EXPECT_FALSE(cluster_.status(0).memory_pressure) << "round " << round;
  }
}

TEST_P(Quota, ACancelledWaitLeavesItsPlaceToTheNext) {
  Client producer = cluster_.client(0);
  auto held = producer.allocate({12 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(held);
  auto first = producer.allocate_async({12 * kMiB}, Dtype::kU8);
  auto second = producer.allocate_async({2 * kMiB}, Dtype::kU8);
  EXPECT_FALSE(first.wait(milliseconds(50)));
  first.cancel();
  EXPECT_EQ(first.get().code(), Errc::kCancelled);
  EXPECT_TRUE(second.get()) << "there is room for it beside the first";
  EXPECT_EQ(producer.allocate({12 * kMiB}, Dtype::kU8, milliseconds(100)).code(), Errc::kTimeout);
}

// Dtype and shape travel with the chunk: what the receiver was told of its own data changes nothing.
TEST_P(Quota, RegressionC6HintsNeverReinterpretBytesNorLimitSizes) {
  ClientOptions sends_units_of;
  sends_units_of.send_unit_bytes = 7168;
  Client producer = cluster_.client(0, sends_units_of);
  ClientOptions receives_units_of;
  receives_units_of.recv_unit_bytes = 10'000;
  Client consumer = cluster_.client(this->consumer(), receives_units_of);
  for (const std::size_t elements : {1u, 3583u, 3584u, 5001u, 777'777u}) {
    const std::string id = "c6-" + std::to_string(elements);
    const auto bytes = contents(id, 0, 2 * elements);
    ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kF16, {elements}}, id, {{this->consumer()}}));
    {
      const auto view = consumer.recv(id);
      ASSERT_TRUE(view);
      EXPECT_EQ(view->dtype(), Dtype::kF16);
      EXPECT_EQ(view->shape(), (std::vector<std::uint64_t>{elements}));
      EXPECT_TRUE(matches(view->bytes(), id, 0));
    }
    EXPECT_TRUE(consumer.mark_done(id));
  }
}

}  // namespace
}  // namespace sidecar::e2e
