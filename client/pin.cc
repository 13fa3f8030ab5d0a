#include "client/pin.h"

#include <atomic>

#include "core/log.h"

namespace sidecar::client_internal {

void Pin::for_gpus(CudaApi& cuda, int device) {
  std::call_once(once_, [&] {
    Result<CudaRegistration> made = CudaRegistration::make(cuda, device, data_, bytes_, read_only_);
    if (made) {
      registration_ = *std::move(made);
      return;
    }
    static std::atomic<bool> said = false;
    if (!said.exchange(true)) {
      LOG_WARN("a sidecar's arena cannot be pinned for GPUs, so that copies between them are slower: {}",
               to_string(made.error()));
    }
  });
}

}  // namespace sidecar::client_internal
