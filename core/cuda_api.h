// All that the rest of the program knows of CUDA: few calls, pure virtual, so that tests can be a GPU.
// load_cuda() (core/cuda_driver.h) makes the real one.
//
// Every call names its device (0 to devices() - 1) and leaves the calling thread's current device alone.
// Threads: any, at once. Copies and events are asynchronous; other calls may block for milliseconds, so they
// are not for the loop's thread.
// Errors: kNoSpace when there is no memory; kIo if nothing else is said, with CUDA's error number as first
// figure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "core/messages.h"
#include "core/result.h"

namespace sidecar {

using CudaUuid = std::array<std::byte, 16>;
using CudaIpcHandle = std::array<std::byte, DeviceSource::kHandleBytes>;

// A device address. Streams and events are the driver's own (CUstream, CUevent), and so the runtime library's
// as well.
enum class CudaAddress : std::uint64_t {};
enum class CudaStream : std::uintptr_t { kDefault = 0 };
enum class CudaEvent : std::uintptr_t { kNone = 0 };

inline CudaAddress operator+(CudaAddress address, std::uint64_t bytes) {
  return static_cast<CudaAddress>(static_cast<std::uint64_t>(address) + bytes);
}

struct CudaDevice {
  CudaUuid uuid{};
  std::string pci;     // bus id, "0000:17:00.0"
  int numa_node = -1;  // -1: the system does not say
};

struct CudaRange {
  CudaAddress address{};
  std::uint64_t bytes = 0;
};

// What a pointer points to.
struct CudaPointer {
  bool on_device = false;   // GPU memory; false: the CPU's, or not CUDA's at all
  int device = -1;          // on_device: whose,
  CudaRange allocation;     // the allocation that it lies in,
  bool exportable = false;  // and whether export_memory() works: not for managed, pooled or VMM memory
};

class CudaApi {
 public:
  virtual ~CudaApi() = default;

  [[nodiscard]] virtual int devices() const = 0;
  [[nodiscard]] virtual const CudaDevice& device(int device) const = 0;

  // --- memory of other processes
  // -------------------------------------------------------------------------------------------
  virtual Result<CudaPointer> pointer(const void* pointer) = 0;
  // `address`: where an allocation begins (CudaPointer::allocation).
  virtual Result<CudaIpcHandle> export_memory(int device, CudaAddress address) = 0;
  // The whole allocation. Not for handles made by this process; once for each handle, close before the next.
  // kAlreadyExists: something is open that lay at the same address of the other process and is gone there.
  virtual Result<CudaRange> open_memory(int device, const CudaIpcHandle& handle) = 0;
  virtual Status close_memory(int device, CudaAddress address) = 0;

  // --- events
  // --------------------------------------------------------------------------------------------------------------
  // `shared`: export_event() works. Without timing.
  virtual Result<CudaEvent> create_event(int device, bool shared) = 0;
  virtual Result<CudaIpcHandle> export_event(int device, CudaEvent event) = 0;
  virtual Result<CudaEvent> open_event(int device, const CudaIpcHandle& handle) = 0;
  // Created or opened.
  virtual Status destroy_event(int device, CudaEvent event) = 0;
  virtual Status record_event(int device, CudaEvent event, CudaStream stream) = 0;
  // Whether all is done that was in its stream before the last record_event(). Never waits.
  virtual Result<bool> event_done(int device, CudaEvent event) = 0;

  // --- streams and copies
  // --------------------------------------------------------------------------------------------------
  // One that never waits for the default stream, nor it for this one.
  virtual Result<CudaStream> create_stream(int device) = 0;
  virtual Status destroy_stream(int device, CudaStream stream) = 0;
  virtual Status wait_event(int device, CudaStream stream, CudaEvent event) = 0;
  // Waits for all that is in the stream.
  virtual Status synchronize(int device, CudaStream stream) = 0;
  // Asynchronous when the CPU's side is registered or from allocate_host().
  virtual Status copy_to_host(int device, void* to, CudaAddress from, std::uint64_t bytes,
                              CudaStream stream) = 0;
  virtual Status copy_to_device(int device, CudaAddress to, const void* from, std::uint64_t bytes,
                                CudaStream stream) = 0;

  // --- the CPU's memory
  // ----------------------------------------------------------------------------------------------------
  // Pins it, for all devices. `read_only`: the mapping cannot be written.
  virtual Status register_host(int device, void* data, std::uint64_t bytes, bool read_only) = 0;
  virtual Status unregister_host(int device, void* data) = 0;
  // Pinned, for all devices; private to this process. What cudaHostAlloc gives.
  virtual Result<void*> allocate_host(int device, std::uint64_t bytes) = 0;
  virtual Status free_host(int device, void* data) = 0;

  // --- GPU memory of our own: a sidecar has none, producers in tests and demonstrations do
  // ---------------------------------
  virtual Result<CudaAddress> allocate(int device, std::uint64_t bytes) = 0;
  virtual Status free(int device, CudaAddress address) = 0;
  virtual Status fill(int device, CudaAddress to, std::uint8_t value, std::uint64_t bytes,
                      CudaStream stream) = 0;
};

// The device of that UUID; none: not a GPU of this host, or hidden from this process.
inline std::optional<int> find_device(const CudaApi& cuda, const CudaUuid& uuid) {
  for (int device = 0; device < cuda.devices(); ++device) {
    if (cuda.device(device).uuid == uuid) return device;
  }
  return std::nullopt;
}

}  // namespace sidecar
