// Arenas and mappings with a GPU, and the two kinds that need one.
#include <gmock/gmock.h>

#include "core/arena.h"
#include "core/cuda_driver.h"
#include "core/cuda_registration.h"
#include "tests/core/arena_fixture.h"
#include "tests/core/fake_cuda.h"

namespace sidecar {
namespace {

using testing::HasSubstr;
using testing::Not;

class CudaArenaTest : public ArenaTest {
 protected:
  [[nodiscard]] ArenaOptions with_gpu(ArenaKind kind) {
    ArenaOptions result = options();
    result.kind = kind;
    result.cuda = &cuda_;
    return result;
  }
  FakeCuda cuda_;
};

TEST_F(CudaArenaTest, AutoIsSharedAndRegisteredForAsLongAsItLives) {
  auto arena = Arena::create(with_gpu(ArenaKind::kAuto));
  ASSERT_TRUE(arena) << to_string(arena.error());
  EXPECT_EQ((*arena)->kind(), ArenaKind::kShared);
  EXPECT_FALSE((*arena)->path().empty());
  EXPECT_TRUE((*arena)->pinned());
  EXPECT_EQ(cuda_.live().registrations, 1u);
  EXPECT_THAT((*arena)->description(), HasSubstr("registered with CUDA on behalf of GPU 0"));
  arena->reset();
  EXPECT_EQ(cuda_.live(), FakeCuda::Live{});
}

TEST_F(CudaArenaTest, AutoWithoutAGpuIsSharedAndSaysNothingOfIt) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  EXPECT_FALSE((*arena)->pinned());
  EXPECT_THAT((*arena)->description(), Not(HasSubstr("CUDA")));
}

TEST_F(CudaArenaTest, ARegistrationThatFailsIsOnlyReported) {
  cuda_.fail_always("register_host");
  const auto arena = Arena::create(with_gpu(ArenaKind::kShared));
  ASSERT_TRUE(arena);
  EXPECT_FALSE((*arena)->pinned());
  EXPECT_THAT((*arena)->description(), HasSubstr("not registered with CUDA"));
  EXPECT_THAT((*arena)->description(), HasSubstr("999"));
  (*arena)->data()[0] = std::byte{1};
}

TEST_F(CudaArenaTest, OfKindCudaIsPrivateAndComesFromCuda) {
  ArenaOptions wanted = with_gpu(ArenaKind::kCuda);
  wanted.directory = "/nowhere";  // it needs none
  wanted.device = 1;
  auto arena = Arena::create(wanted);
  ASSERT_TRUE(arena) << to_string(arena.error());
  EXPECT_EQ((*arena)->kind(), ArenaKind::kCuda);
  EXPECT_TRUE((*arena)->path().empty());
  EXPECT_TRUE((*arena)->pinned());
  EXPECT_EQ((*arena)->bytes(), 4 * kMiB);
  EXPECT_EQ(cuda_.live().host, 1u);
  EXPECT_EQ(cuda_.live().registrations, 0u);
  EXPECT_THAT((*arena)->description(), HasSubstr("on behalf of GPU 1"));
  EXPECT_EQ(files(), 0u);
  std::memset((*arena)->data(), 1, (*arena)->bytes());
  arena->reset();
  EXPECT_EQ(cuda_.live(), FakeCuda::Live{});
}

TEST_F(CudaArenaTest, OfKindCudaIsAnErrorWithoutAGpuOrWithoutMemory) {
  ArenaOptions wanted = with_gpu(ArenaKind::kCuda);
  wanted.cuda = nullptr;
  EXPECT_EQ(Arena::create(wanted).error().code, Errc::kUnavailable);
  cuda_.fail_always("allocate_host");
  const auto arena = Arena::create(with_gpu(ArenaKind::kCuda));
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().a, 999u);
}

TEST_F(CudaArenaTest, OfKindHostIsLeftAloneByAGpu) {
  const auto arena = Arena::create(with_gpu(ArenaKind::kHost));
  ASSERT_TRUE(arena);
  EXPECT_FALSE((*arena)->pinned());
  EXPECT_EQ(cuda_.calls(), 0u);
}

TEST_F(CudaArenaTest, LiesNearItsGpuUnlessAnotherNodeIsNamed) {
  cuda_.set_numa_node(1, 900);  // there is no such node, so it is named in the description
  ArenaOptions wanted = with_gpu(ArenaKind::kShared);
  wanted.device = 1;
  EXPECT_THAT((*Arena::create(wanted))->description(), HasSubstr("NUMA node 900"));
  wanted.numa_node = 901;
  EXPECT_THAT((*Arena::create(wanted))->description(), HasSubstr("NUMA node 901"));
  wanted.numa_node = -1;
  wanted.device = -1;
  EXPECT_THAT((*Arena::create(wanted))->description(), HasSubstr("any NUMA node"));
  wanted.device = 2;
  EXPECT_EQ(Arena::create(wanted).error().code, Errc::kInvalidArgument);
}

TEST_F(CudaArenaTest, AMappingStaysRegisteredForAsLongAsItsOwnerSays) {
  std::vector<std::byte> memory(4096);
  {
    auto first = CudaRegistration::make(cuda_, 0, memory.data(), memory.size(), true);
    ASSERT_TRUE(first);
    CudaRegistration moved = *std::move(first);
    EXPECT_TRUE(moved.valid());
    EXPECT_EQ(cuda_.live().registrations, 1u);
    CudaRegistration nothing;
    EXPECT_FALSE(nothing.valid());
    nothing = std::move(moved);
    EXPECT_TRUE(nothing.valid());
  }
  EXPECT_EQ(cuda_.live().registrations, 0u);
  cuda_.fail_always("register_host");
  EXPECT_FALSE(CudaRegistration::make(cuda_, 0, memory.data(), memory.size(), true));
}

TEST(CudaDriver, SaysWhatIsMissingWhereThereIsNoGpu) {
  const auto cuda = load_cuda();
  if (cuda) {
    EXPECT_GT((*cuda)->devices(), 0);
    return;
  }
  EXPECT_EQ(cuda.error().code, Errc::kUnavailable);
  EXPECT_STRNE(cuda.error().what, "");
}

}  // namespace
}  // namespace sidecar
