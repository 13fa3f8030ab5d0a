// A libcuda.so.1 without a GPU: what core/cuda_driver.cc calls, over plain memory and a thread for each
// stream, so that the tests of this folder run on every machine and through every line of the real adapter.
// Stricter than the real one: without a context it does nothing, nothing is opened twice or read over its
// end.
//
// GPU memory and shared events are memfds; another process opens them through /proc, which ends with their
// owner, as the real handles do.
#include <cuda.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/gpu/stub_stream.h"

struct CUctx_st {
  int device = 0;
};

namespace {

constexpr int kDevices = 2;
constexpr std::uint64_t kMagic = 0x5349444543415253;

struct Handle {
  std::uint64_t magic;
  std::int64_t pid;
  std::int32_t fd;
  std::int32_t device;
  std::uint64_t bytes;
  std::uint64_t serial;  // memory that was freed and allocated again is not the same
};
static_assert(sizeof(Handle) <= sizeof(CUipcMemHandle));

struct Allocation {
  std::size_t bytes = 0;
  int fd = -1;
  int device = 0;
  std::uint64_t serial = 0;
  Handle opened{};  // magic 0: our own
};

CUctx_st contexts[kDevices];
std::atomic<int> retained[kDevices];
thread_local std::vector<CUcontext> current;
std::mutex mutex;
std::map<CUdeviceptr, Allocation> allocations;
std::map<void*, std::size_t> host;
std::map<void*, std::size_t> registered;

template <class T, class Value>
CUresult give(T* to, Value value) {
  *to = value;
  return CUDA_SUCCESS;
}

bool no_context() { return current.empty() || retained[current.back()->device] == 0; }

std::map<CUdeviceptr, Allocation>::iterator find(CUdeviceptr address) {
  auto next = allocations.upper_bound(address);
  if (next == allocations.begin()) return allocations.end();
  --next;
  return address < next->first + next->second.bytes ? next : allocations.end();
}

bool lies_in_one(CUdeviceptr address, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  const auto found = find(address);
  return found != allocations.end() && bytes <= found->first + found->second.bytes - address;
}

void* map_memory(int fd, std::size_t bytes) {
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return data == MAP_FAILED ? nullptr : data;
}

int open_handle(const Handle& handle) {
  if (handle.magic != kMagic) return -1;
  const std::string path = "/proc/" + std::to_string(handle.pid) + "/fd/" + std::to_string(handle.fd);
  return open(path.c_str(), O_RDWR | O_CLOEXEC);
}

CUresult add(CUstream stream, const Operation& operation) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  if (stream == nullptr) return CUDA_ERROR_NOT_SUPPORTED;  // nobody here may work in the default stream
  const std::lock_guard lock(stream->mutex);
  stream->queue.push_back(operation);
  stream->changed.notify_all();
  return CUDA_SUCCESS;
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

CUresult add_copy(void* to, const void* from, std::size_t bytes, CUstream stream) {
  Operation operation;
  operation.what = Operation::What::kCopy;
  operation.to = to;
  operation.from = from;
  operation.bytes = bytes;
  return add(stream, operation);
}

}  // namespace

extern "C" {

CUresult cuInit(unsigned) {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible != nullptr && *visible == '\0' ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
}
CUresult cuDeviceGetCount(int* count) { return give(count, kDevices); }
CUresult cuDeviceGet(CUdevice* device, int ordinal) { return give(device, ordinal); }
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  std::memset(uuid, 0xC0 + device, sizeof *uuid);
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  std::snprintf(text, static_cast<std::size_t>(length), "FFFF:0%d:00.0", device);
  return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  ++retained[device];
  contexts[device].device = device;
  return give(context, &contexts[device]);
}
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  --retained[device];
  return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext context) {
  current.push_back(context);
  return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext* context) {
  if (current.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = current.back();
  current.pop_back();
  return CUDA_SUCCESS;
}

CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* names, void** values,
                                CUdeviceptr address) {
  const std::lock_guard lock(mutex);
  const auto found = find(address);
  const bool known = found != allocations.end();
  const auto set = [](void* to, auto value) { std::memcpy(to, &value, sizeof value); };
  for (unsigned i = 0; i < count; ++i) {
    switch (names[i]) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        set(values[i], known ? unsigned{CU_MEMORYTYPE_DEVICE} : 0u);
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: set(values[i], known ? found->second.device : -2); break;
      case CU_POINTER_ATTRIBUTE_IS_MANAGED: set(values[i], 0u); break;
      case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: set(values[i], known ? 1u : 0u); break;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: set(values[i], known ? found->first : 0); break;
      case CU_POINTER_ATTRIBUTE_RANGE_SIZE: set(values[i], known ? found->second.bytes : 0); break;
      default: return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}
CUresult cuMemGetAddressRange(CUdeviceptr* begin, std::size_t* bytes, CUdeviceptr address) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(mutex);
  const auto found = find(address);
  if (found == allocations.end()) return CUDA_ERROR_NOT_FOUND;
  *begin = found->first;
  *bytes = found->second.bytes;
  return CUDA_SUCCESS;
}
CUresult cuMemAlloc(CUdeviceptr* address, std::size_t bytes) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  const int fd = memfd_create("stub-gpu", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  void* const data = map_memory(fd, bytes);
  if (data == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  *address = reinterpret_cast<CUdeviceptr>(data);
  const std::lock_guard lock(mutex);
  static std::uint64_t serial = 0;
  allocations[*address] = Allocation{bytes, fd, current.back()->device, ++serial};
  return CUDA_SUCCESS;
}
CUresult cuMemFree(CUdeviceptr address) {
  const std::lock_guard lock(mutex);
  const auto found = allocations.find(address);
  if (found == allocations.end()) return CUDA_ERROR_INVALID_VALUE;
  munmap(pointer(address), found->second.bytes);
  close(found->second.fd);
  allocations.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr address) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(mutex);
  const auto found = find(address);
  if (found == allocations.end()) return CUDA_ERROR_INVALID_VALUE;
  const Handle handle{
      kMagic, getpid(), found->second.fd, found->second.device, found->second.bytes, found->second.serial};
  std::memset(out, 0, sizeof *out);
  std::memcpy(out, &handle, sizeof handle);
  return CUDA_SUCCESS;
}
CUresult cuIpcOpenMemHandle(CUdeviceptr* address, CUipcMemHandle in, unsigned flags) {
  if (no_context() || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS) return CUDA_ERROR_INVALID_CONTEXT;
  Handle handle;
  std::memcpy(&handle, &in, sizeof handle);
  const std::lock_guard lock(mutex);
  for (const auto& [begin, known] : allocations) {
    if (std::memcmp(&known.opened, &handle, sizeof handle) == 0) return CUDA_ERROR_ALREADY_MAPPED;
  }
  if (handle.pid == getpid() || handle.device != current.back()->device) return CUDA_ERROR_INVALID_CONTEXT;
  const int fd = open_handle(handle);
  void* const data = fd < 0 ? nullptr : map_memory(fd, handle.bytes);
  if (data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *address = reinterpret_cast<CUdeviceptr>(data);
  allocations[*address] = Allocation{handle.bytes, fd, handle.device, handle.serial, handle};
  return CUDA_SUCCESS;
}
CUresult cuIpcCloseMemHandle(CUdeviceptr address) { return cuMemFree(address); }

CUresult cuEventCreate(CUevent* event, unsigned flags) {
  if (no_context() || (flags & CU_EVENT_DISABLE_TIMING) == 0) return CUDA_ERROR_INVALID_CONTEXT;
  auto* const made = new CUevent_st;
  if ((flags & CU_EVENT_INTERPROCESS) != 0) {
    made->fd = memfd_create("stub-event", MFD_CLOEXEC);
    if (made->fd < 0 || ftruncate(made->fd, 4096) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
    made->progress = new (map_memory(made->fd, 4096)) Progress;
  } else {
    made->progress = new Progress;
  }
  return give(event, made);
}
CUresult cuIpcGetEventHandle(CUipcEventHandle* out, CUevent event) {
  if (event->fd < 0) return CUDA_ERROR_INVALID_HANDLE;
  const Handle handle{kMagic, getpid(), event->fd, 0, 4096, 0};
  std::memset(out, 0, sizeof *out);
  std::memcpy(out, &handle, sizeof handle);
  return CUDA_SUCCESS;
}
CUresult cuIpcOpenEventHandle(CUevent* event, CUipcEventHandle in) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  Handle handle;
  std::memcpy(&handle, &in, sizeof handle);
  const int fd = open_handle(handle);
  void* const data = fd < 0 ? nullptr : map_memory(fd, 4096);
  if (data == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return give(event, new CUevent_st{static_cast<Progress*>(data), fd});
}
CUresult cuEventDestroy(CUevent event) {
  if (event->fd >= 0) {
    munmap(event->progress, 4096);
    close(event->fd);
  } else {
    delete event->progress;
  }
  delete event;
  return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
  Operation operation;
  operation.what = Operation::What::kRecord;
  operation.progress = event->progress;
  operation.number = ++event->progress->recorded;
  if (stream == nullptr && !no_context()) {  // the default stream: nothing else can be in it here
    event->progress->done = operation.number;
    return CUDA_SUCCESS;
  }
  return add(stream, operation);
}
CUresult cuEventQuery(CUevent event) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  return event->progress->done >= event->progress->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
  if (no_context() || flags != CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_CONTEXT;
  auto* const made = new CUstream_st;
  made->thread = std::thread(work_through, made);
  return give(stream, made);
}
CUresult cuStreamDestroy(CUstream stream) {
  if (const CUresult added = add(stream, Operation{}); added != CUDA_SUCCESS) return added;
  stream->thread.join();
  delete stream;
  return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream stream) {
  std::unique_lock lock(stream->mutex);
  stream->changed.wait(lock, [&] { return stream->queue.empty() && !stream->busy; });
  return CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  if (event->fd >= 0) return CUDA_ERROR_NOT_SUPPORTED;  // no stream may wait for another process
  Operation operation;
  operation.what = Operation::What::kWait;
  operation.progress = event->progress;
  operation.number = event->progress->recorded;
  return add(stream, operation);
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  return lies_in_one(from, bytes) ? add_copy(to, pointer(from), bytes, stream) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, std::size_t bytes, CUstream stream) {
  return lies_in_one(to, bytes) ? add_copy(pointer(to), from, bytes, stream) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t bytes, CUstream stream) {
  if (!lies_in_one(to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  Operation operation;
  operation.what = Operation::What::kFill;
  operation.to = pointer(to);
  operation.value = value;
  operation.bytes = bytes;
  return add(stream, operation);
}

CUresult cuMemHostRegister(void* data, std::size_t bytes, unsigned flags) {
  if (no_context() || (flags & CU_MEMHOSTREGISTER_PORTABLE) == 0) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(mutex);
  return registered.emplace(data, bytes).second ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}
CUresult cuMemHostUnregister(void* data) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(mutex);
  return registered.erase(data) == 1 ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}
CUresult cuMemHostAlloc(void** data, std::size_t bytes, unsigned flags) {
  if (no_context() || flags != CU_MEMHOSTALLOC_PORTABLE) return CUDA_ERROR_INVALID_CONTEXT;
  void* const made = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  const std::lock_guard lock(mutex);
  host[made] = bytes;
  return give(data, made);
}
CUresult cuMemFreeHost(void* data) {
  if (no_context()) return CUDA_ERROR_INVALID_CONTEXT;
  const std::lock_guard lock(mutex);
  const auto found = host.find(data);
  if (found == host.end()) return CUDA_ERROR_INVALID_VALUE;
  munmap(data, found->second);
  host.erase(found);
  return CUDA_SUCCESS;
}

}  // extern "C"
