// What a call brings of a tensor in GPU memory: where the sidecar finds it, or a copy.
#include "client/gpu_parcel.h"

#include "client/gpu_view.h"
#include "client/pack.h"
#include "tests/client/gpu_fixture.h"

namespace sidecar::client_internal {
namespace {

using GpuParcel = GpuFixture;

TEST_F(GpuParcel, NamesTheMemoryTheEventBehindItsContentsAndNothingElse) {
  const auto brought = parcel(tensor(1000, 17), 1000);
  ASSERT_TRUE(brought) << to_string(brought.error());
  EXPECT_EQ(brought->source, Source::kDevice);
  EXPECT_EQ(brought->device.device, cuda.device(1).uuid);
  EXPECT_EQ(brought->device.offset, 17u);
  EXPECT_TRUE(brought->device.has_event);
  EXPECT_TRUE(brought->bytes.empty());
  EXPECT_EQ(cuda.calls("record_event"), 1u);
  EXPECT_EQ(cuda.calls("copy_to_host"), 0u);
}

TEST_F(GpuParcel, AMembersSliceBeginsInTheMiddleOfTheMemory) {
  for (std::uint16_t index = 0; index < 3; ++index) {
    const auto brought = parcel(tensor(kBytes - 100, 100), kBytes - 100, {index, 3, true});
    ASSERT_TRUE(brought);
    EXPECT_EQ(brought->source, Source::kDevice);
    EXPECT_EQ(brought->shard, index);
    EXPECT_EQ(brought->shards, 3);
    EXPECT_EQ(brought->device.offset, 100 + shard_of(kBytes - 100, index, 3).begin);
  }
}

TEST_F(GpuParcel, WhatIsNotReadIsNotLookedAt) {
  EXPECT_EQ(parcel(tensor(), kBytes, {1, 2, false})->source, Source::kNothing);
  EXPECT_EQ(parcel(Tensor{nullptr, Dtype::kU8, {0}, {}, true}, 0)->source, Source::kInline);
  const auto empty_slice = parcel(tensor(10), 10, {1, 2, true});
  ASSERT_TRUE(empty_slice);
  EXPECT_EQ(empty_slice->source, Source::kPayload);
  EXPECT_EQ(empty_slice->shards, 2);
  EXPECT_EQ(loads + cuda.asked, 0);
}

TEST_F(GpuParcel, EventsAreUsedAgainOnceTheCallLetsGoAndNotBefore) {
  CudaIpcHandle first{};
  {
    const auto one = parcel(tensor(), kBytes);
    const auto other = parcel(tensor(), kBytes);
    ASSERT_TRUE(one && other);
    first = one->device.event;
    EXPECT_NE(first, other->device.event);
  }
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(parcel(tensor(), kBytes));
  EXPECT_EQ(cuda.calls("create_event"), 2u);
}

TEST_F(GpuParcel, AnEventThatIsNotDoneIsNotUsedAgainEvenWhenItsCallWasGivenUp) {
  cuda.set_automatic(false);
  CudaIpcHandle given_up{};
  {
    const auto brought = parcel(tensor(), kBytes);
    ASSERT_TRUE(brought);
    given_up = brought->device.event;
  }
  {
    const auto next = parcel(tensor(), kBytes);
    ASSERT_TRUE(next);
    EXPECT_NE(next->device.event, given_up);
    cuda.run(1, 2);
    EXPECT_EQ(parcel(tensor(), kBytes)->device.event, given_up);
  }
  cuda.run(1, 1);
}

TEST_F(GpuParcel, MoreSendsThanThereMayBeEventsAreCopied) {
  std::vector<Expected<Parcel>> under_way;
  for (std::size_t i = 0; i < Gpus::kEventsMax; ++i) {
    under_way.push_back(parcel(tensor(10), 10));
    ASSERT_EQ(under_way.back()->source, Source::kDevice);
  }
  const auto one_more = parcel(tensor(10), 10);
  ASSERT_TRUE(one_more);
  EXPECT_EQ(one_more->source, Source::kPayload);
  EXPECT_EQ(bytes_of(*one_more), std::vector(content.begin(), content.begin() + 10));
  under_way.clear();
  EXPECT_EQ(parcel(tensor(10), 10)->source, Source::kDevice);
}

TEST_F(GpuParcel, CopiesByItselfWhateverKeepsTheSidecarFromIt) {
  const GpuRoute good = route;
  const std::vector<CudaUuid> another{cuda.device(0).uuid};
  const std::vector<std::function<void()>> obstacles{
      [&] { route.same_node = false; }, [&] { route.version = kGroupsVersion - 1; }, [&] { route.gpus = {}; },
      [&] { route.gpus = another; }, [&] { cuda.memory[0].exportable = false; }};
  for (std::size_t i = 0; i < obstacles.size(); ++i) {
    route = good;
    obstacles[i]();
    const auto brought = parcel(tensor(5000, 3), 5000);
    ASSERT_TRUE(brought) << i;
    EXPECT_EQ(brought->source, Source::kPayload) << i;
    EXPECT_EQ(bytes_of(*brought), std::vector(content.begin() + 3, content.begin() + 5003)) << i;
    const auto slice = parcel(tensor(), kBytes, {1, 2, true});
    ASSERT_TRUE(slice) << i;
    EXPECT_EQ(slice->shards, 2) << i;
    EXPECT_EQ(bytes_of(*slice), std::vector(content.begin() + 50'048, content.end())) << i;
  }
  EXPECT_EQ(cuda.calls("export_memory"), 0u);
  EXPECT_EQ(cuda.calls("create_stream"), 2u) << "one, and the caller's";
}

TEST_F(GpuParcel, ItsOwnCopyWaitsForTheCallersStreamAndForNoOther) {
  route.gpus = {};
  ASSERT_TRUE(parcel(tensor(), kBytes));
  EXPECT_EQ(cuda.calls("record_event"), 1u);
  EXPECT_EQ(cuda.calls("wait_event"), 1u);
}

TEST_F(GpuParcel, ItsOwnCopyGoesToAllocatedMemoryWhereItMayWaitForThat) {
  route.gpus = {};
  std::uint64_t asked = 0;
  route.allocate = [&](std::uint64_t bytes) -> Expected<Buffer> {
    asked = bytes;
    auto given = std::make_shared<PrivateContent>(bytes);
    given->data = given->memory.data();
    given->bytes = bytes;
    return Buffer(std::move(given));
  };
  const auto brought = parcel(tensor(), kBytes);
  ASSERT_TRUE(brought);
  EXPECT_EQ(asked, kBytes);
  EXPECT_EQ(bytes_of(*brought), content);
  route.allocate = [](std::uint64_t) -> Expected<Buffer> { return Failure{Errc::kTimeout, kNoRank, "full"}; };
  EXPECT_EQ(parcel(tensor(), kBytes).code(), Errc::kTimeout);
  EXPECT_TRUE(parcel(tensor(), kBytes, {0, 2, true})) << "a slice needs none";
}

TEST_F(GpuParcel, StridesInEveryDirectionArePacked) {
  const std::vector<std::uint64_t> shape{7, 5, 3};
  for (const std::vector<std::int64_t>& strides :
       {std::vector<std::int64_t>{1, 7, 40}, {-100, 9, 1}, {30, -5, -1}, {0, 0, 0}}) {
    Tensor strided = tensor(0, 20'000);
    strided.dtype = Dtype::kF32;
    strided.shape = shape;
    strided.strides = strides;
    const auto brought = parcel(strided, 7 * 5 * 3 * 4);
    ASSERT_TRUE(brought) << to_string(brought.error());
    std::vector<std::byte> expected(std::size_t{7} * 5 * 3 * 4);
    pack(content.data() + 20'000, 4, shape, strides, expected.data());
    EXPECT_EQ(bytes_of(*brought), expected);
  }
}

TEST_F(GpuParcel, RefusesWhatIsNoTensorInGpuMemory) {
  Tensor wrong = tensor();
  wrong.data = content.data();
  EXPECT_EQ(parcel(wrong, kBytes).code(), Errc::kInvalidArgument);
  wrong.data = nullptr;
  EXPECT_EQ(parcel(wrong, kBytes).code(), Errc::kInvalidArgument);
  EXPECT_EQ(parcel(tensor(kBytes, 1), kBytes).code(), Errc::kInvalidArgument) << "longer than its allocation";
  Tensor strided = tensor();
  strided.strides = {1, 1};
  EXPECT_EQ(parcel(strided, kBytes).code(), Errc::kInvalidArgument);
  for (const std::int64_t far : {std::int64_t{2}, std::int64_t{-1}, std::int64_t{1} << 61, INT64_MIN}) {
    strided.strides = {far};
    EXPECT_EQ(parcel(strided, kBytes).code(), Errc::kInvalidArgument) << far;
  }
  route.load = []() -> Result<Gpus*> { return fail(Errc::kUnavailable, "no NVIDIA driver here"); };
  const auto none = parcel(tensor(), kBytes);
  ASSERT_EQ(none.code(), Errc::kUnavailable);
  EXPECT_EQ(none.error().message, "on_gpu: no NVIDIA driver here");
}

TEST_F(GpuParcel, NothingIsLostWhicheverCallFails) {
  for (const bool direct : {true, false}) {
    if (!direct) route.gpus = {};
    for (std::uint64_t n = 1; n < 12; ++n) {
      gpus = std::make_unique<Gpus>(cuda);
      cuda.fail_call(n);
      const auto brought = parcel(tensor(), kBytes);
      cuda.fail_call(0);
      if (brought && brought->source == Source::kPayload) {
        EXPECT_EQ(bytes_of(*brought), content) << n;
      }
      if (brought) continue;
      EXPECT_FALSE(direct) << n << ": it should have been copied instead";
      EXPECT_EQ(brought.code(), Errc::kIo) << n;
    }
  }
}

TEST_F(GpuParcel, AViewGoesToTheGpuItsArenaPinnedOnce) {
  struct Nobody final : Keeper {
    void give_up_view(std::uint64_t, Epoch) override {}
    void give_up_slot(std::uint64_t, Epoch) override {}
  };
  std::vector<std::byte> arena(4096, std::byte{7});
  {
    Pin pin(arena.data(), arena.size(), true);
    auto shared = std::make_shared<SharedContent>();
    shared->keeper = std::make_shared<Nobody>();
    shared->data = arena.data();
    shared->bytes = 1000;
    shared->pin = &pin;
    const View view(shared);
    const auto copy = [&](void* to) { return copy_view(*gpus, view, to, reinterpret_cast<void*>(stream)); };
    ASSERT_TRUE(copy(const_cast<std::byte*>(at())));
    ASSERT_TRUE(copy(const_cast<std::byte*>(at(2000))));
    EXPECT_EQ(std::vector(at(2000), at(3000)), std::vector(1000, std::byte{7}));
    EXPECT_EQ(cuda.calls("register_host"), 1u);
    EXPECT_EQ(copy(arena.data()).code(), Errc::kInvalidArgument);
    EXPECT_EQ(copy(const_cast<std::byte*>(at(kBytes - 999))).code(), Errc::kInvalidArgument);
  }
  EXPECT_EQ(cuda.live().registrations, 0u);
}

}  // namespace
}  // namespace sidecar::client_internal
