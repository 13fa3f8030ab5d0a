// The real driver and a real GPU: what the fakes only claim. Skipped where there is none. The same tests also
// run with a driver of plain memory (stub_driver.cc), which shows that our side of it is right.
#include "core/cuda_driver.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/arena.h"
#include "core/arena_map.h"
#include "core/cuda_copier.h"
#include "core/cuda_registration.h"
#include "core/mailbox.h"
#include "perf/folder.h"
#include "tests/gpu/producer.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;

// Less where it is only the stub (tests/gpu/stub_driver.cc).
std::uint64_t bytes_max() {
  const char* const text = std::getenv("SIDECAR_GPU_TEST_BYTES_MAX");
  return text == nullptr ? kGiB : std::strtoull(text, nullptr, 10);
}

// One for all tests: a process starts CUDA once.
const Result<std::unique_ptr<CudaApi>>& cuda() {
  static const auto* const loaded = new Result<std::unique_ptr<CudaApi>>(load_cuda());
  return *loaded;
}

class Reports final : public DeviceEvents {
 public:
  void on_copied(Token token, std::uint64_t bytes, const Status& status) override {
    EXPECT_GE(bytes, counts[token]);
    ++reports[token];
    counts[token] = bytes;
    if (!status) errors.emplace(token, status.error());
  }
  std::map<Token, std::uint64_t> counts;
  std::map<Token, std::uint64_t> reports;
  std::map<Token, Error> errors;
};

class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda()) GTEST_SKIP() << "no GPU: " << to_string(cuda().error());
    start({});
  }
  void start(const CudaCopierOptions& options) {
    copier_ = std::make_unique<CudaCopier>(gpu(), mailbox_, options);
    copier_->set_events(reports_);
  }
  static CudaApi& gpu() { return **cuda(); }

  Result<std::unique_ptr<Arena>> arena(ArenaKind kind, std::uint64_t bytes) {
    ArenaOptions options;
    options.kind = kind;
    options.bytes = bytes;
    options.directory = folder_.path();
    options.instance = 77;
    options.cuda = &gpu();
    options.device = 0;
    return Arena::create(options);
  }
  [[nodiscard]] bool over(Token token, std::uint64_t bytes) {
    return reports_.errors.contains(token) || reports_.counts[token] == bytes;
  }
  Status copy_all(const DeviceSource& source, Bytes into) {
    const Token token = ++token_;
    copier_->copy(source, into, token);
    if (!loop_.run_until([&] { return over(token, into.size()); }, 60 * kSecond)) {
      return fail(Errc::kTimeout, "no report came");
    }
    if (reports_.errors.contains(token)) return tl::unexpected(reports_.errors.at(token));
    return {};
  }

  perf::Folder folder_{"/dev/shm/gpu-test."};
  TestLoop loop_;
  Mailbox mailbox_{loop_.get()};
  Reports reports_;
  std::unique_ptr<CudaCopier> copier_;
  Token token_ = 0;
};

class GpuArenaTest : public GpuTest, public ::testing::WithParamInterface<ArenaKind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, GpuArenaTest, ::testing::Values(ArenaKind::kShared, ArenaKind::kCuda),
                         [](const auto& kind) { return std::string(arena_kind_name(kind.param)); });

TEST_P(GpuArenaTest, IsPinnedAndBringsEveryByteOfAnotherProcessFromOneToAGibibyte) {
  const auto memory = arena(GetParam(), bytes_max() + kMiB);
  ASSERT_TRUE(memory) << to_string(memory.error());
  EXPECT_TRUE((*memory)->pinned()) << (*memory)->description();
  std::printf("%s\n", (*memory)->description().c_str());
  GpuProducer producer;
  for (const std::uint64_t bytes : {std::uint64_t{1}, std::uint64_t{7}, std::uint64_t{4096}, kMiB + 3,
                                    16 * kMiB, 16 * kMiB + 1, 200 * kMiB + 5, kGiB}) {
    if (bytes > bytes_max()) continue;
    const auto source = producer.make(0, bytes, bytes);
    ASSERT_TRUE(source) << bytes;
    const Bytes into = (*memory)->span().subspan(64, bytes);
    const TimeNs begin = Loop::now_ns();
    const Status status = copy_all(*source, into);
    const double seconds = static_cast<double>(Loop::now_ns() - begin) * 1e-9;
    ASSERT_TRUE(status) << bytes << ": " << to_string(status.error());
    EXPECT_TRUE(std::ranges::equal(into, gpu_pattern(bytes, bytes))) << bytes;
    EXPECT_LE(reports_.reports[token_], (bytes + 16 * kMiB - 1) / (16 * kMiB));
    std::printf("%11lu bytes in %9.1f us, %6.2f GB/s\n", static_cast<unsigned long>(bytes), seconds * 1e6,
                static_cast<double>(bytes) * 1e-9 / seconds);
  }
}

TEST_P(GpuArenaTest, NeverCopiesBeforeTheProducersEvent) {
  constexpr std::uint64_t kBytes = 256 * kMiB;
  const auto memory = arena(GetParam(), kBytes);
  ASSERT_TRUE(memory);
  GpuProducer producer;
  for (const unsigned value : {0x11u, 0xA5u}) {
    const auto source = producer.slow(0, kBytes, 1500, value);
    ASSERT_TRUE(source);
    const Status status = copy_all(*source, (*memory)->span());
    ASSERT_TRUE(status) << to_string(status.error());
    EXPECT_TRUE(std::ranges::all_of((*memory)->span(),
                                    [value](std::byte b) { return std::to_integer<unsigned>(b) == value; }));
  }
}

TEST_F(GpuTest, ASlowProducerHoldsUpNobodyElse) {
  const auto memory = arena(ArenaKind::kCuda, 2 * kMiB);
  ASSERT_TRUE(memory);
  GpuProducer slow;
  GpuProducer quick;
  const auto content = quick.make(0, kMiB, 3);
  const auto late = slow.slow(0, 256 * kMiB, 2000, 1);
  ASSERT_TRUE(content && late);
  copier_->copy(*late, (*memory)->span().first(kMiB), 1000);
  ASSERT_TRUE(copy_all(*content, (*memory)->span().last(kMiB)));
  EXPECT_FALSE(over(1000, kMiB)) << "the GPU was quicker than this test thinks possible";
  EXPECT_TRUE(std::ranges::equal((*memory)->span().last(kMiB), gpu_pattern(kMiB, 3)));
  EXPECT_TRUE(loop_.run_until([&] { return over(1000, kMiB); }, 60 * kSecond));
  EXPECT_TRUE(reports_.errors.empty());
}

TEST_F(GpuTest, TheSameMemoryAgainAndAgainAndMoreMemoryThanMayBeOpen) {
  start({.open_max = 3});
  const auto arena_of = arena(ArenaKind::kCuda, 64 * kMiB);
  ASSERT_TRUE(arena_of);
  GpuProducer producer;
  std::vector<DeviceSource> sources;
  for (std::uint64_t i = 0; i < 8; ++i) {
    const auto source = producer.make(0, 4 * kMiB, i);
    ASSERT_TRUE(source);
    sources.push_back(*source);
  }
  for (std::size_t round = 0; round < 100; ++round) {
    const std::size_t which = round < 50 ? 0 : round % sources.size();
    DeviceSource source = sources[which];
    source.offset = round * 1000;
    const Bytes into = (*arena_of)->span().first(100'000);
    const Status status = copy_all(source, into);
    ASSERT_TRUE(status) << round << ": " << to_string(status.error());
    const auto content = gpu_pattern(4 * kMiB, which);
    ASSERT_TRUE(std::equal(into.begin(), into.end(), content.begin() + static_cast<long>(source.offset)));
  }
}

TEST_F(GpuTest, TwoShardsOfOneTensorComeTogether) {
  const auto memory = arena(ArenaKind::kShared, 64 * kMiB);
  ASSERT_TRUE(memory);
  GpuProducer producer;
  auto source = producer.make(0, 64 * kMiB, 9);
  ASSERT_TRUE(source);
  copier_->copy(*source, (*memory)->span().first(40 * kMiB), 1);
  source->offset = 40 * kMiB;
  copier_->copy(*source, (*memory)->span().last(24 * kMiB), 2);
  ASSERT_TRUE(loop_.run_until([&] { return over(1, 40 * kMiB) && over(2, 24 * kMiB); }, 60 * kSecond));
  EXPECT_TRUE(reports_.errors.empty());
  EXPECT_TRUE(std::ranges::equal((*memory)->span(), gpu_pattern(64 * kMiB, 9)));
}

TEST_F(GpuTest, NeverReadsOutsideOfAnAllocation) {
  const auto memory = arena(ArenaKind::kCuda, kMiB);
  ASSERT_TRUE(memory);
  GpuProducer producer;
  auto source = producer.make(0, 4 * kMiB, 1);
  ASSERT_TRUE(source);
  source->offset = 4 * kMiB - 10;
  EXPECT_FALSE(copy_all(*source, (*memory)->span()));
  source->offset = ~std::uint64_t{0} - 5;
  EXPECT_FALSE(copy_all(*source, (*memory)->span()));
  source->offset = 3 * kMiB;
  EXPECT_TRUE(copy_all(*source, (*memory)->span())) << "the GPU still works for us";
}

TEST_F(GpuTest, AHandleThatIsNoneIsOneErrorAndTheGpuStillWorks) {
  const auto memory = arena(ArenaKind::kCuda, kMiB);
  ASSERT_TRUE(memory);
  DeviceSource junk;
  junk.device = gpu().device(0).uuid;
  junk.memory.fill(std::byte{0x5A});
  EXPECT_FALSE(copy_all(junk, (*memory)->span()));
  junk.event.fill(std::byte{0x5A});
  junk.has_event = true;
  EXPECT_FALSE(copy_all(junk, (*memory)->span()));
  GpuProducer producer;
  const auto source = producer.make(0, kMiB, 1);
  ASSERT_TRUE(source);
  EXPECT_TRUE(copy_all(*source, (*memory)->span()));
}

TEST_F(GpuTest, AProducerThatIsKilledEndsItsCopiesAndNobodyElses) {
  const auto memory = arena(ArenaKind::kShared, 256 * kMiB);
  ASSERT_TRUE(memory);
  GpuProducer survivor;
  const auto content = survivor.make(0, kMiB, 4);
  ASSERT_TRUE(content);
  for (int round = 0; round < 3; ++round) {
    GpuProducer victim;
    const auto under_way = victim.make(0, 200 * kMiB, 5);
    const auto before_its_event = victim.slow(0, 256 * kMiB, 2000, 1);
    ASSERT_TRUE(before_its_event && under_way);
    const Token first = ++token_;
    copier_->copy(*before_its_event, (*memory)->span().first(kMiB), first);
    const Token second = ++token_;
    copier_->copy(*under_way, (*memory)->span().last(200 * kMiB), second);
    if (round > 0)
      loop_.run_until([&] { return round == 2 && reports_.counts[second] > 0; }, 5 * kMillisecond);
    victim.kill();
    copier_->cancel(first);
    EXPECT_TRUE(loop_.run_until([&] { return over(first, kMiB) && over(second, 200 * kMiB); }, 60 * kSecond));
    const Status status = copy_all(*content, (*memory)->span().first(kMiB));
    ASSERT_TRUE(status) << to_string(status.error());
    EXPECT_TRUE(std::ranges::equal((*memory)->span().first(kMiB), gpu_pattern(kMiB, 4)));
  }
}

TEST_F(GpuTest, ItsEndUnderACopyIsClean) {
  const auto memory = arena(ArenaKind::kCuda, 200 * kMiB);
  ASSERT_TRUE(memory);
  GpuProducer producer;
  const auto source = producer.make(0, 200 * kMiB, 5);
  ASSERT_TRUE(source);
  copier_->copy(*source, (*memory)->span(), 1);
  loop_.run_until([&] { return reports_.counts[1] > 0; }, kSecond);
  copier_.reset();
}

TEST_F(GpuTest, AClientsReadOnlyMappingOfAnArenaFeedsAGpu) {
  const auto memory = arena(ArenaKind::kShared, 32 * kMiB);
  ASSERT_TRUE(memory);
  const auto content = gpu_pattern(32 * kMiB, 6);
  std::ranges::copy(content, (*memory)->data());
  const auto map = ArenaMap::open((*memory)->path(), (*memory)->instance(), (*memory)->nonce());
  ASSERT_TRUE(map);
  const auto registration = CudaRegistration::make(gpu(), 0, map->data(), map->bytes(), true);
  if (!registration)
    GTEST_SKIP() << "cannot register read-only mappings here: " << to_string(registration.error());
  const auto stream = gpu().create_stream(0);
  const auto device = gpu().allocate(0, 32 * kMiB);
  ASSERT_TRUE(stream && device);
  ASSERT_TRUE(gpu().copy_to_device(0, *device, map->data(), 32 * kMiB, *stream));
  ASSERT_TRUE(gpu().synchronize(0, *stream));
  std::vector<std::byte> back(32 * kMiB);
  ASSERT_TRUE(gpu().copy_to_host(0, back.data(), *device, back.size(), *stream));
  ASSERT_TRUE(gpu().synchronize(0, *stream));
  EXPECT_EQ(back, content);
  EXPECT_TRUE(gpu().free(0, *device));
  EXPECT_TRUE(gpu().destroy_stream(0, *stream));
}

TEST_F(GpuTest, KnowsWhatAPointerPointsTo) {
  std::vector<std::byte> host(100);
  const auto plain = gpu().pointer(host.data());
  ASSERT_TRUE(plain) << to_string(plain.error());
  EXPECT_FALSE(plain->on_device);
  const auto address = gpu().allocate(0, 3 * kMiB);
  ASSERT_TRUE(address);
  const auto inside = static_cast<std::uint64_t>(*address + 1000);
  const auto device = gpu().pointer(reinterpret_cast<const void*>(inside));
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->on_device && device->exportable);
  EXPECT_EQ(device->device, 0);
  EXPECT_EQ(device->allocation.address, *address);
  EXPECT_GE(device->allocation.bytes, 3 * kMiB);
  EXPECT_TRUE(gpu().free(0, *address));
  const auto pinned = gpu().allocate_host(0, kMiB);
  ASSERT_TRUE(pinned);
  EXPECT_FALSE(gpu().pointer(*pinned)->on_device);
  EXPECT_TRUE(gpu().free_host(0, *pinned));
}

TEST_F(GpuTest, EachGpuHasAnIdentityOfItsOwn) {
  for (int device = 0; device < gpu().devices(); ++device) {
    EXPECT_EQ(find_device(gpu(), gpu().device(device).uuid), device);
    EXPECT_FALSE(gpu().device(device).pci.empty());
  }
  EXPECT_EQ(find_device(gpu(), CudaUuid{}), std::nullopt);
}

}  // namespace
}  // namespace sidecar

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--gpu-producer") == 0) return sidecar::gpu_producer();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
