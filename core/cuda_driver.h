// The machine's own CUDA, through its driver.
//
// The driver API of libcuda.so.1, found when the program runs: whoever has an NVIDIA driver has it, of
// whatever version, and nothing else needs to be installed. Its handles are the runtime library's handles,
// cuMemHostAlloc(PORTABLE) is cudaHostAlloc and cuMemHostRegister is cudaHostRegister.
#pragma once

#include <memory>

#include "core/cuda_api.h"

namespace sidecar {

// kUnavailable with the reason: built without CUDA's headers, no driver, one that is too old, no GPU. Takes
// some 100 ms where there is a GPU. A device's memory is used only once something was asked of that device.
Result<std::unique_ptr<CudaApi>> load_cuda();

}  // namespace sidecar
