#include "core/cuda_registration.h"

#include <utility>

#include "core/log.h"

namespace sidecar {

CudaRegistration::CudaRegistration(CudaRegistration&& other) noexcept
    : cuda_(std::exchange(other.cuda_, nullptr)), device_(other.device_), data_(other.data_) {}

CudaRegistration& CudaRegistration::operator=(CudaRegistration&& other) noexcept {
  if (this != &other) {
    reset();
    cuda_ = std::exchange(other.cuda_, nullptr);
    device_ = other.device_;
    data_ = other.data_;
  }
  return *this;
}

Result<CudaRegistration> CudaRegistration::make(CudaApi& cuda, int device, const std::byte* data,
                                                std::uint64_t bytes, bool read_only) {
  void* const address = const_cast<std::byte*>(data);  // the driver's signature; it is not written
  const Status registered = cuda.register_host(device, address, bytes, read_only);
  if (!registered) return tl::unexpected(registered.error());
  CudaRegistration made;
  made.cuda_ = &cuda;
  made.device_ = device;
  made.data_ = address;
  return made;
}

void CudaRegistration::reset() {
  if (cuda_ == nullptr) return;
  const Status gone = std::exchange(cuda_, nullptr)->unregister_host(device_, data_);
  if (!gone) LOG_WARN("memory stays registered with CUDA: {}", to_string(gone.error()));
}

}  // namespace sidecar
