// Memory that was pinned for the GPUs, for as long as this lives. For an arena of our own, or for a client's
// mapping of somebody else's: copies between it and a GPU are then asynchronous and fast.
#pragma once

#include "core/cuda_api.h"

namespace sidecar {

class CudaRegistration {
 public:
  CudaRegistration() = default;  // of nothing
  ~CudaRegistration() { reset(); }
  CudaRegistration(CudaRegistration&& other) noexcept;
  CudaRegistration& operator=(CudaRegistration&& other) noexcept;

  // `data` must stay mapped until this is gone, and no copy may use it then. `device`: on whose behalf; all
  // may use it. `read_only`: the mapping cannot be written. Takes milliseconds per GiB. An error (limits on
  // locked memory, a mapping that the driver cannot pin) leaves the memory as it was: usable, only slower.
  static Result<CudaRegistration> make(CudaApi& cuda, int device, const std::byte* data, std::uint64_t bytes,
                                       bool read_only);

  [[nodiscard]] bool valid() const { return cuda_ != nullptr; }
  void reset();

 private:
  CudaApi* cuda_ = nullptr;
  int device_ = 0;
  void* data_ = nullptr;
};

}  // namespace sidecar
