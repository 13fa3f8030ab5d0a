// GPU memory to send from, and what a program that only copies it would do: one stream, pinned memory,
// nothing else. Failures end the program (give_up).
#pragma once

#include "core/cuda_api.h"
#include "sidecar/data.h"

namespace sidecar::perf {

class GpuCopy {
 public:
  // On the first GPU.
  GpuCopy(CudaApi& cuda, std::uint64_t bytes);
  ~GpuCopy();
  GpuCopy(const GpuCopy&) = delete;
  GpuCopy& operator=(const GpuCopy&) = delete;

  // Of one copy.
  double seconds();
  // The same memory, as a client sends it.
  [[nodiscard]] Tensor tensor() const;

 private:
  CudaApi& cuda_;
  const std::uint64_t bytes_;
  CudaAddress from_{};
  void* to_ = nullptr;
  CudaStream stream_{};
};

}  // namespace sidecar::perf
