// The driver's functions that we call, by their own names. For core/cuda_driver.cc only; empty in a build
// without CUDA's headers.
#pragma once

#ifdef SIDECAR_CUDA_HEADERS

#include <cuda.h>
#include <dlfcn.h>

namespace sidecar {

// <cuda.h> gives some of these names a version (cuMemFree is cuMemFree_v2). The members of the struct and the
// names that are looked up go through its macros as well, so they are the versions that the header describes.
#define SIDECAR_CUDA_CALLS(X)  \
  X(cuInit)                    \
  X(cuDeviceGet)               \
  X(cuDeviceGetCount)          \
  X(cuDeviceGetUuid)           \
  X(cuDeviceGetPCIBusId)       \
  X(cuDevicePrimaryCtxRetain)  \
  X(cuDevicePrimaryCtxRelease) \
  X(cuCtxPushCurrent)          \
  X(cuCtxPopCurrent)           \
  X(cuPointerGetAttributes)    \
  X(cuMemGetAddressRange)      \
  X(cuIpcGetMemHandle)         \
  X(cuIpcOpenMemHandle)        \
  X(cuIpcCloseMemHandle)       \
  X(cuIpcGetEventHandle)       \
  X(cuIpcOpenEventHandle)      \
  X(cuEventCreate)             \
  X(cuEventDestroy)            \
  X(cuEventRecord)             \
  X(cuEventQuery)              \
  X(cuStreamCreate)            \
  X(cuStreamDestroy)           \
  X(cuStreamWaitEvent)         \
  X(cuStreamSynchronize)       \
  X(cuMemcpyDtoHAsync)         \
  X(cuMemcpyHtoDAsync)         \
  X(cuMemHostRegister)         \
  X(cuMemHostUnregister)       \
  X(cuMemHostAlloc)            \
  X(cuMemFreeHost)             \
  X(cuMemAlloc)                \
  X(cuMemFree)                 \
  X(cuMemsetD8Async)

#define SIDECAR_CUDA_TEXT_OF(name) #name
#define SIDECAR_CUDA_TEXT(name) SIDECAR_CUDA_TEXT_OF(name)

struct CudaSymbols {
#define X(name) decltype(&::name) name = nullptr;
  SIDECAR_CUDA_CALLS(X)
#undef X

  // False: the library lacks one of them.
  bool load(void* library) {
#define X(name)                                                                     \
  name = reinterpret_cast<decltype(name)>(dlsym(library, SIDECAR_CUDA_TEXT(name))); \
  if (name == nullptr) return false;
    SIDECAR_CUDA_CALLS(X)
#undef X
    return true;
  }
};

}  // namespace sidecar

#endif  // SIDECAR_CUDA_HEADERS
