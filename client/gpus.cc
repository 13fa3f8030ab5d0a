#include "client/gpus.h"

#include "core/check.h"
#include "core/cuda_driver.h"
#include "core/log.h"

namespace sidecar::client_internal {

Result<Gpus*> Gpus::of_process() {
  static const Result<Gpus*> loaded = []() -> Result<Gpus*> {
    Result<std::unique_ptr<CudaApi>> cuda = load_cuda();
    if (!cuda) return tl::unexpected(cuda.error());
    return new Gpus(*cuda->release());
  }();
  return loaded;
}

Gpus::Gpus(CudaApi& cuda) : cuda_(cuda), gpus_(static_cast<std::size_t>(cuda.devices())) {}

Gpus::~Gpus() {
  for (int device = 0; device < cuda_.devices(); ++device) {
    PerGpu& mine = gpu(device);
    CHECK(mine.idle_events.size() == mine.events);
    for (const SharedEvent& shared : mine.idle_events) {
      static_cast<void>(cuda_.destroy_event(device, shared.event));
    }
    for (const Lane& lane : mine.idle_lanes) destroy(device, lane);
  }
}

Result<CudaPointer> Gpus::find(const void* data, std::uint64_t bytes) {
  Result<CudaPointer> at = cuda_.pointer(data);
  if (!at) return at;
  if (!at->on_device) return fail(Errc::kInvalidArgument, "not GPU memory");
  const auto begin = static_cast<std::uint64_t>(at->allocation.address);
  const auto offset = static_cast<std::uint64_t>(address_of(data)) - begin;
  if (at->exportable && (offset > at->allocation.bytes || bytes > at->allocation.bytes - offset)) {
    return fail(Errc::kInvalidArgument, "the GPU allocation ends before the tensor does (bytes left, needed)",
                kNoRank, at->allocation.bytes - offset, bytes);
  }
  return at;
}

// --- for a sidecar
// ----------------------------------------------------------------------------------------------------

Result<Gpus::Exported> Gpus::export_bytes(const CudaPointer& at, const void* from, CudaStream stream) {
  const Result<CudaIpcHandle> memory = cuda_.export_memory(at.device, at.allocation.address);
  if (!memory) return tl::unexpected(memory.error());
  const Result<SharedEvent> taken = take_event(at.device);
  if (!taken) return tl::unexpected(taken.error());
  Exported out;
  out.event = std::shared_ptr<const void>(
      this, [this, device = at.device, event = *taken](const void*) { give_back(device, event); });
  const Status recorded = cuda_.record_event(at.device, taken->event, stream);
  if (!recorded) return tl::unexpected(recorded.error());
  out.source.device = uuid(at.device);
  out.source.memory = *memory;
  out.source.offset =
      static_cast<std::uint64_t>(address_of(from)) - static_cast<std::uint64_t>(at.allocation.address);
  out.source.event = taken->handle;
  out.source.has_event = true;
  return out;
}

Result<Gpus::SharedEvent> Gpus::take_event(int device) {
  {
    const std::lock_guard lock(mutex_);
    PerGpu& mine = gpu(device);
    // One whose call was given up may not be done: recorded anew, it would tell a sidecar that has not heard
    // of that yet that the old contents are there.
    for (auto idle = mine.idle_events.rbegin(); idle != mine.idle_events.rend(); ++idle) {
      const Result<bool> done = cuda_.event_done(device, idle->event);
      if (!done || !*done) continue;
      const SharedEvent event = *idle;
      *idle = mine.idle_events.back();
      mine.idle_events.pop_back();
      return event;
    }
    if (mine.events >= kEventsMax) {
      return fail(Errc::kNoSpace, "too many sends from this GPU are under way", kNoRank, kEventsMax);
    }
    ++mine.events;
  }
  Result<SharedEvent> made = make_event(device);
  if (!made) {
    const std::lock_guard lock(mutex_);
    --gpu(device).events;
  }
  return made;
}

Result<Gpus::SharedEvent> Gpus::make_event(int device) {
  const Result<CudaEvent> event = cuda_.create_event(device, true);
  if (!event) return tl::unexpected(event.error());
  const Result<CudaIpcHandle> handle = cuda_.export_event(device, *event);
  if (handle) return SharedEvent{*event, *handle};
  static_cast<void>(cuda_.destroy_event(device, *event));
  return tl::unexpected(handle.error());
}

void Gpus::give_back(int device, const SharedEvent& event) {
  const std::lock_guard lock(mutex_);
  gpu(device).idle_events.push_back(event);
}

// --- copies of our own
// ------------------------------------------------------------------------------------------------

Status Gpus::copy_to_host(int device, void* to, const void* from, std::uint64_t bytes, CudaStream after) {
  const Result<Lane> lane = take_lane(device);
  if (!lane) return tl::unexpected(lane.error());
  Status status = cuda_.record_event(device, lane->event, after);
  if (status) status = cuda_.wait_event(device, lane->stream, lane->event);
  if (status) status = cuda_.copy_to_host(device, to, address_of(from), bytes, lane->stream);
  // In any case: nothing of ours may write to `to` after this.
  const Status over = cuda_.synchronize(device, lane->stream);
  if (status) status = over;
  if (status) {
    give_back(device, *lane);
  } else {
    destroy(device, *lane);  // it may be broken for good
  }
  return status;
}

Result<Gpus::Lane> Gpus::take_lane(int device) {
  {
    const std::lock_guard lock(mutex_);
    std::vector<Lane>& idle = gpu(device).idle_lanes;
    if (!idle.empty()) {
      const Lane lane = idle.back();
      idle.pop_back();
      return lane;
    }
  }
  Lane lane;
  const Result<CudaStream> stream = cuda_.create_stream(device);
  if (!stream) return tl::unexpected(stream.error());
  lane.stream = *stream;
  const Result<CudaEvent> event = cuda_.create_event(device, false);
  if (!event) {
    static_cast<void>(cuda_.destroy_stream(device, lane.stream));
    return tl::unexpected(event.error());
  }
  lane.event = *event;
  return lane;
}

void Gpus::give_back(int device, const Lane& lane) {
  const std::lock_guard lock(mutex_);
  gpu(device).idle_lanes.push_back(lane);
}

void Gpus::destroy(int device, const Lane& lane) {
  const Status event = cuda_.destroy_event(device, lane.event);
  const Status stream = cuda_.destroy_stream(device, lane.stream);
  if (!event || !stream) LOG_DEBUG("GPU {}: a stream of ours could not be taken down", device);
}

}  // namespace sidecar::client_internal
