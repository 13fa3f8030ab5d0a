// The GPUs of this process as a client needs them: handles by which a sidecar finds memory and knows when its
// contents are there, and copies of our own for when it cannot. No kernel, no peer access, and nothing of
// ours in the default stream; in the caller's streams only events.
//
// Threads: any, at once. Calls take microseconds where nothing else is said, the first one for a GPU more.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "core/cuda_api.h"

namespace sidecar::client_internal {

class Gpus {
 public:
  // Interprocess events of each GPU that may be in use at a time: a driver does not have many.
  static constexpr std::size_t kEventsMax = 256;

  // Those of the machine's CUDA. The first call loads it (some 100 ms), all others are told the same; never
  // taken down, since sends and mappings may end later than any static object. kUnavailable: why there is
  // none.
  static Result<Gpus*> of_process();

  // `cuda` outlives this, and so does no lease and no copy.
  explicit Gpus(CudaApi& cuda);
  ~Gpus();
  Gpus(const Gpus&) = delete;
  Gpus& operator=(const Gpus&) = delete;

  [[nodiscard]] CudaApi& cuda() { return cuda_; }
  [[nodiscard]] const CudaUuid& uuid(int device) const { return cuda_.device(device).uuid; }

  // kInvalidArgument: `data` is no GPU memory, or its allocation ends before `bytes` do. Where an allocation
  // ends is known only of memory that can be exported.
  Result<CudaPointer> find(const void* data, std::uint64_t bytes);

  struct Exported {
    DeviceSource source;
    std::shared_ptr<const void> event;  // held until the sidecar has copied
  };
  // For a sidecar, which may copy `from` once all is done that is in `stream` now. `at`: what find() says of
  // it, exportable. kNoSpace: kEventsMax are in use.
  Result<Exported> export_bytes(const CudaPointer& at, const void* from, CudaStream stream);

  // The same for ourselves: waits for that and for the copy.
  Status copy_to_host(int device, void* to, const void* from, std::uint64_t bytes, CudaStream after);

 private:
  struct SharedEvent {
    CudaEvent event{};
    CudaIpcHandle handle{};
  };
  struct Lane {  // for one copy of our own at a time
    CudaStream stream = CudaStream::kDefault;
    CudaEvent event = CudaEvent::kNone;
  };
  struct PerGpu {
    std::vector<SharedEvent> idle_events;
    std::size_t events = 0;
    std::vector<Lane> idle_lanes;
  };

  Result<SharedEvent> take_event(int device);
  Result<SharedEvent> make_event(int device);
  void give_back(int device, const SharedEvent& event);
  Result<Lane> take_lane(int device);
  void give_back(int device, const Lane& lane);
  void destroy(int device, const Lane& lane);
  PerGpu& gpu(int device) { return gpus_.at(static_cast<std::size_t>(device)); }

  CudaApi& cuda_;
  std::mutex mutex_;
  std::vector<PerGpu> gpus_;  // under mutex_
};

inline CudaAddress address_of(const void* device_memory) {
  return static_cast<CudaAddress>(reinterpret_cast<std::uintptr_t>(device_memory));
}
inline CudaStream stream_of(void* stream) {
  return static_cast<CudaStream>(reinterpret_cast<std::uintptr_t>(stream));
}

}  // namespace sidecar::client_internal
