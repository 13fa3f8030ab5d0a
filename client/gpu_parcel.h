// What a call of Client::send brings to the sidecar when the tensor lies in GPU memory: where the sidecar
// finds it, or else the bytes, copied here.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "client/gpus.h"
#include "client/parcel.h"

namespace sidecar::client_internal {

// What the caller's connection can do.
struct GpuRoute {
  std::span<const CudaUuid> gpus;      // that the sidecar copies from
  std::shared_ptr<const void> keep{};  // of `gpus`
  bool same_node = false;              // as the sidecar
  std::uint16_t version = 0;           // of the protocol
  // Memory to copy into; waits for it. Empty: from here nothing may wait, and private memory serves.
  std::function<Expected<Buffer>(std::uint64_t bytes)> allocate{};
  const Keeper* own = nullptr;  // the connection that those buffers are of
  std::function<Result<Gpus*>()> load = &Gpus::of_process;
};

// As parcel_of(). When the sidecar cannot copy by itself, waits for `tensor.stream` and copies: the first
// time in this process, the log says why. kUnavailable: there is no CUDA; kInvalidArgument: not GPU memory,
// or too little; what allocate and CUDA say. Any thread.
Expected<Parcel> gpu_parcel_of(const Tensor& tensor, std::uint64_t bytes, const Place& place,
                               const GpuRoute& route);

}  // namespace sidecar::client_internal
