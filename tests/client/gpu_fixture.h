// GPUs of the test's own process, which are the fake's: memory, streams, and what a connection can do.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "client/gpu_parcel.h"
#include "tests/core/fake_cuda.h"

namespace sidecar::client_internal {

// The fake, which also knows what the test's pointers point to.
class OwnCuda final : public FakeCuda {
 public:
  Result<CudaPointer> pointer(const void* pointer) override {
    ++asked;
    const auto at = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(pointer));
    for (const CudaPointer& known : memory) {
      const auto begin = static_cast<std::uint64_t>(known.allocation.address);
      if (at >= begin && at < begin + known.allocation.bytes) return known;
    }
    return CudaPointer{};
  }

  std::vector<CudaPointer> memory;
  int asked = 0;
};

// A connection that lent nothing.
struct NoKeeper final : Keeper {
  void give_up_view(std::uint64_t, Epoch) override { ADD_FAILURE() << "no view was given"; }
  void give_up_slot(std::uint64_t, Epoch) override { ADD_FAILURE() << "no slot was given"; }
};

class GpuFixture : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 100'000;

  GpuFixture() {
    for (std::size_t i = 0; i < kBytes; ++i) content.push_back(static_cast<std::byte>(i * 31 + i / 251));
    const auto opened = cuda.open_memory(1, cuda.foreign_memory(1, content));
    const auto made = cuda.create_stream(1);
    EXPECT_TRUE(opened && made);
    address = opened->address;
    stream = *made;
    cuda.memory.push_back({true, 1, *opened, true});
    gpus = std::make_unique<Gpus>(cuda);
    sidecars = {cuda.device(0).uuid, cuda.device(1).uuid};
    route.gpus = sidecars;
    route.same_node = true;
    route.version = kProtocolVersionMax;
    route.own = &connection;
    route.load = [this]() -> Result<Gpus*> {
      ++loads;
      return gpus.get();
    };
  }
  ~GpuFixture() override {
    gpus.reset();
    EXPECT_TRUE(cuda.close_memory(1, address));
    EXPECT_TRUE(cuda.destroy_stream(1, stream));
  }

  [[nodiscard]] const std::byte* at(std::uint64_t offset = 0) const {
    return reinterpret_cast<const std::byte*>(static_cast<std::uint64_t>(address)) + offset;
  }
  [[nodiscard]] Tensor tensor(std::uint64_t bytes = kBytes, std::uint64_t offset = 0) const {
    return {at(offset), Dtype::kU8, {bytes}, {}, true, reinterpret_cast<void*>(stream)};
  }
  Expected<Parcel> parcel(const Tensor& of, std::uint64_t bytes, const Place& place = {}) {
    return gpu_parcel_of(of, bytes, place, route);
  }
  // What it brings, when it brings bytes.
  static std::vector<std::byte> bytes_of(const Parcel& brought) {
    return {brought.bytes.begin(), brought.bytes.end()};
  }

  OwnCuda cuda;
  std::vector<std::byte> content;
  CudaAddress address{};
  CudaStream stream{};
  std::unique_ptr<Gpus> gpus;
  std::vector<CudaUuid> sidecars;
  NoKeeper connection;
  GpuRoute route;
  int loads = 0;
};

}  // namespace sidecar::client_internal
