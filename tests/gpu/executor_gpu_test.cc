// Tensors in GPU memory through real sidecards, with a real GPU or a driver of plain memory (stub_driver.cc).
#include <dlfcn.h>

#include <cstring>
#include <iostream>

#include "sidecar/gpu.h"
#include "tests/gpu/executor_fixture.h"

namespace sidecar::e2e {
namespace {

struct Setup {
  const char* arena;
  Rank consumer;
};

void PrintTo(const Setup& setup, std::ostream* out) { *out << setup.arena << " to " << setup.consumer; }

class GpuSend : public GpuExecutors, public ::testing::WithParamInterface<Setup> {
 protected:
  void SetUp() override {
    GpuExecutors::SetUp();
    if (!IsSkipped()) start({"--arena", GetParam().arena});
  }
};
INSTANTIATE_TEST_SUITE_P(Over, GpuSend,
                         ::testing::Values(Setup{"shared", 1}, Setup{"shared", 2}, Setup{"cuda", 1},
                                           Setup{"cuda", 2}),
                         [](const auto& setup) {
                           const std::string where = setup.param.consumer == 1 ? "SameNode" : "OtherNode";
                           return std::string(setup.param.arena) + where;
                         });

TEST_P(GpuSend, EverySizeArrivesBitExactCopiedByTheSidecar) {
  Client producer = client(0);
  std::uint64_t all = 0;
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{64}, std::uint64_t{4097},
                                   kMiB + 3, 16 * kMiB, 16 * kMiB + 1, 64 * kMiB}) {
    const std::string id = "size-" + std::to_string(size);
    const GpuMemory memory(*stream_, size);
    const auto content = contents(id, 0, size);
    memory.put(content);
    const auto sent = producer.send(memory.tensor(), id, {{GetParam().consumer}});
    ASSERT_TRUE(sent) << size << ": " << to_string(sent.error());
    expect_there(GetParam().consumer, id, content);
    EXPECT_EQ(cluster_->counter(0, "bytes_captured"), all += size);
  }
}

TEST_P(GpuSend, TheMemoryMayBeReusedOnceItIsCaptured) {
  Client producer = client(0);
  const GpuMemory memory(*stream_, 8 * kMiB);
  for (int round = 0; round < 5; ++round) {
    const std::string id = "reuse-" + std::to_string(round);
    const auto content = contents(id, 0, 8 * kMiB);
    memory.put(content);
    SendHandle handle = producer.send_async(memory.tensor(), id, {{GetParam().consumer}});
    ASSERT_TRUE(handle.captured.get());
    memory.fill(0xEE);
    stream_->finish();
    ASSERT_TRUE(handle.delivered.get());
    expect_there(GetParam().consumer, id, content);
  }
}

// The sidecar stood still in the middle of it, for so long that the caller had its memory back.
TEST_P(GpuSend, WhatItsMemoryHoldsAfterTheCallWasGivenUpIsNotDelivered) {
  const std::uint64_t bytes = 32 * kMiB;
  const GpuMemory memory(*stream_, bytes);
  const std::vector<std::byte> content(bytes, std::byte{1});
  Client consumer = client(GetParam().consumer);
  for (int round = 0; round < 8; ++round) {
    const std::string id = "hung-" + std::to_string(round);
    Client producer = client(0, {.deadline = milliseconds(100), .grace = milliseconds(50)});
    memory.put(content);
    SendHandle handle = producer.send_async(memory.tensor(), id, {{GetParam().consumer}});
    std::this_thread::sleep_for(std::chrono::microseconds(500) * round);
    cluster_->process(0).signal(SIGSTOP);
    const bool delivered = handle.delivered.get().has_value();
    memory.fill(2);
    stream_->finish();
    cluster_->process(0).signal(SIGCONT);
    const auto view = consumer.recv(id, 0, milliseconds(delivered ? 10'000 : 300));
    EXPECT_TRUE(view || !delivered);
    if (!view) continue;
    EXPECT_TRUE(std::ranges::equal(view->bytes(), content)) << "round " << round;
    EXPECT_TRUE(consumer.mark_done(id));
  }
}

TEST_P(GpuSend, NeverOvertakesTheStreamNorWaitsForIt) {
  Client producer = client(0);
  const GpuMemory memory(*stream_, 32 * kMiB);
  for (const std::uint8_t value : {std::uint8_t{0x11}, std::uint8_t{0xA5}}) {
    memory.fill(value, 1500);
    const std::string id = "slow-" + std::to_string(value);
    SendHandle handle = producer.send_async(memory.tensor(), id, {{GetParam().consumer}});
    EXPECT_FALSE(handle.captured.ready()) << "the GPU was quicker than this test thinks possible";
    ASSERT_TRUE(handle.delivered.get());
    expect_there(GetParam().consumer, id, std::vector(32 * kMiB, std::byte{value}));
  }
}

TEST_P(GpuSend, AndBackOntoAGpu) {
  Client producer = client(0);
  Client consumer = client(GetParam().consumer);
  const auto content = contents("back", 0, 5 * kMiB + 3);
  const GpuMemory from(*stream_, content.size());
  from.put(content);
  ASSERT_TRUE(producer.send(from.tensor(), "back", {{GetParam().consumer}}));
  const GpuStream other(gpu().devices() - 1);
  const GpuMemory to(other, content.size());
  {
    const auto view = consumer.recv("back");
    ASSERT_TRUE(view);
    for (int round = 0; round < 2; ++round) {
      to.fill(0);
      const auto copying = copy_to_gpu(*view, to.data(), other.raw());
      ASSERT_TRUE(copying) << to_string(copying.error());
      EXPECT_EQ(to.get(), content);
    }
  }
  EXPECT_TRUE(consumer.mark_done("back"));
}

TEST_P(GpuSend, StridedTensorsArePacked) {
  Client producer = client(0);
  constexpr std::uint64_t kRows = 300;
  constexpr std::uint64_t kColumns = 500;
  std::vector<std::byte> content(kRows * kColumns);
  std::vector<std::byte> expected(kRows * kColumns);
  for (std::uint64_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i * 7 + i / 251);
  for (std::uint64_t i = 0; i < content.size(); ++i)
    expected[i / kColumns + i % kColumns * kRows] = content[i];
  const GpuMemory memory(*stream_, content.size());
  memory.put(content);
  Tensor transposed = memory.tensor();
  transposed.shape = {kColumns, kRows};
  transposed.strides = {1, kColumns};
  ASSERT_TRUE(producer.send(transposed, "strided", {{GetParam().consumer}}));
  expect_there(GetParam().consumer, "strided", expected);
}

TEST_P(GpuSend, AProducerThatIsKilledHurtsNobodyElse) {
  Client survivor = client(0);
  const GpuMemory memory(*stream_, kMiB);
  std::uint64_t replaced = 0;
  for (int round = 0; round < 4; ++round) {
    const bool before_its_event = round % 2 == 0;
    perf::Process victim({.argv = {"/proc/self/exe", "--gpu-executor", cluster_->address(0),
                                   std::to_string(GetParam().consumer), before_its_event ? "3000" : "0"},
                          .talk = true});
    const auto said = victim.read_line(seconds(30));
    ASSERT_TRUE(said && *said == "sending") << said.value_or("nothing");
    if (round >= 2) std::this_thread::sleep_for(milliseconds(5));
    victim.kill();
    const std::string id = "after-" + std::to_string(round);
    const auto content = contents(id, 0, kMiB);
    memory.put(content);
    auto sent = survivor.send(memory.tensor(), id, {{GetParam().consumer}});
    // A few in a thousand kills hit the write of the first message: then its neighbours connect again.
    const std::uint64_t replaced_now = cluster_->counter(0, "transport_planes_replaced");
    if (std::exchange(replaced, replaced_now) != replaced_now && sent.code() == Errc::kPeerLost)
      sent = survivor.send(memory.tensor(), id, {{GetParam().consumer}});
    ASSERT_TRUE(sent) << to_string(sent.error());
    expect_there(GetParam().consumer, id, content);
    Client consumer = client(GetParam().consumer);  // it may have been whole before the end
    EXPECT_TRUE(consumer.mark_done("victim"));
    EXPECT_TRUE(cluster_->becomes_empty(0));
  }
}

// --- groups
// -----------------------------------------------------------------------------------------------------------

class GpuGroup : public GpuExecutors {
 protected:
  Client member(Rank rank) const { return client(rank, {.group = {0, 1}, .concurrent_copy = true}); }
};

TEST_F(GpuGroup, TwoMembersCopyTogetherEachFromItsOwnGpuOrFromTheCpu) {
  if (IsSkipped()) return;
  start();
  Client first = member(0);
  Client second = member(1);
  const GpuStream other(gpu().devices() - 1);
  for (const std::uint64_t size : {std::uint64_t{40}, 3 * kMiB + 5, 48 * kMiB + 1}) {
    for (const bool from_cpu : {false, true}) {
      const std::string id = std::to_string(size) + (from_cpu ? "-mixed" : "-gpus");
      const auto content = contents(id, 0, size);
      const GpuMemory one(*stream_, size);
      const GpuMemory two(other, size);
      one.put(content);
      two.put(content);
      const Tensor cpu{content.data(), Dtype::kU8, {size}};
      SendHandle a = first.send_async(one.tensor(), id, {{2}});
      SendHandle b = second.send_async(from_cpu ? cpu : two.tensor(), id, {{2}});
      for (SendHandle* handle : {&a, &b}) {
        EXPECT_TRUE(handle->captured.get());
        const auto sent = handle->delivered.get();
        ASSERT_TRUE(sent) << id << ": " << to_string(sent.error());
      }
      expect_there(2, id, content);
    }
  }
}

// --- who has nothing to do with GPUs
// -----------------------------------------------------------------------------------

TEST_F(GpuExecutors, WhoOnlyUsesTheCpuNeverLoadsCuda) {
  if (IsSkipped()) return;
  start();
  perf::Process process({.argv = {"/proc/self/exe", "--cpu-executor", cluster_->address(0)}, .talk = true});
  EXPECT_EQ(process.read_line(seconds(30)), "without CUDA");
  EXPECT_EQ(process.wait(seconds(10)), (perf::Ending{0, 0}));
  Client consumer = client(1);
  EXPECT_TRUE(consumer.recv("cpu"));
  EXPECT_TRUE(consumer.mark_done("cpu"));
}

int cpu_executor(const std::string& address) {
  auto client = Client::connect({.rank = 0, .address = address, .node = "a"});
  if (!client) return 1;
  const auto content = contents("cpu", 0, 1 << 20);
  if (!client->send(Tensor{content.data(), Dtype::kU8, {content.size()}}, "cpu", {{1}})) return 1;
  const bool loaded = ::dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY) != nullptr;
  std::cout << (loaded ? "CUDA is loaded" : "without CUDA") << std::endl;
  return 0;
}

// The producer that is killed: sends once, of memory that its stream has overwritten that often before.
int gpu_executor(const std::string& address, Rank to, int rounds) {
  if (!own_cuda()) return 1;
  const GpuStream stream(0);
  const GpuMemory memory(stream, std::uint64_t{64} << 20);
  memory.fill(1, rounds);
  auto client = Client::connect({.rank = 0, .address = address, .node = "a"});
  if (!client) return 1;
  const SendHandle handle = client->send_async(memory.tensor(), "victim", {{to}});
  std::cout << "sending" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  return 0;
}

}  // namespace
}  // namespace sidecar::e2e

int main(int argc, char** argv) {
  if (argc == 5 && std::strcmp(argv[1], "--gpu-executor") == 0) {
    return sidecar::e2e::gpu_executor(argv[2], std::stoi(argv[3]), std::stoi(argv[4]));
  }
  if (argc == 3 && std::strcmp(argv[1], "--cpu-executor") == 0) return sidecar::e2e::cpu_executor(argv[2]);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
