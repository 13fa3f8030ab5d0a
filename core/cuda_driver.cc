#include "core/cuda_driver.h"

#include "core/cuda_symbols.h"

#ifndef SIDECAR_CUDA_HEADERS

namespace sidecar {
Result<std::unique_ptr<CudaApi>> load_cuda() {
  return fail(Errc::kUnavailable, "this program was built without CUDA's headers");
}
}  // namespace sidecar

#else

#include <algorithm>
#include <cctype>
#include <cstring>
#include <fstream>
#include <mutex>
#include <vector>

#include "core/check.h"

namespace sidecar {
namespace {

static_assert(sizeof(CUuuid) == sizeof(CudaUuid));
static_assert(sizeof(CUipcMemHandle) == sizeof(CudaIpcHandle));
static_assert(sizeof(CUipcEventHandle) == sizeof(CudaIpcHandle));
static_assert(sizeof(CUdeviceptr) == sizeof(CudaAddress));

CUdeviceptr raw(CudaAddress address) { return static_cast<CUdeviceptr>(address); }
CUevent raw(CudaEvent event) { return reinterpret_cast<CUevent>(event); }
CUstream raw(CudaStream stream) { return reinterpret_cast<CUstream>(stream); }
CudaEvent event_of(CUevent event) { return static_cast<CudaEvent>(reinterpret_cast<std::uintptr_t>(event)); }

Status status_of(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return {};
  const Errc code = result == CUDA_ERROR_OUT_OF_MEMORY    ? Errc::kNoSpace
                    : result == CUDA_ERROR_ALREADY_MAPPED ? Errc::kAlreadyExists
                                                          : Errc::kIo;
  return fail(code, what, kNoRank, static_cast<std::uint64_t>(result));
}

// -1: unknown, as the system itself puts it.
int numa_node_of(std::string pci) {
  std::transform(pci.begin(), pci.end(), pci.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  int node = -1;
  std::ifstream("/sys/bus/pci/devices/" + pci + "/numa_node") >> node;
  return node;
}

class CudaDriver final : public CudaApi {
 public:
  explicit CudaDriver(const CudaSymbols& calls) : cu_(calls) {}
  ~CudaDriver() override {
    for (const Known& known : known_) {
      if (known.context != nullptr) cu_.cuDevicePrimaryCtxRelease(known.number);
    }
  }
  Status find_devices();

  [[nodiscard]] int devices() const override { return static_cast<int>(known_.size()); }
  [[nodiscard]] const CudaDevice& device(int device) const override {
    return known_.at(static_cast<std::size_t>(device)).facts;
  }
  Result<CudaPointer> pointer(const void* pointer) override;

  Result<CudaIpcHandle> export_memory(int device, CudaAddress address) override {
    CudaIpcHandle handle;
    const Status status = on(device, "cuIpcGetMemHandle failed (CUDA error)", [&] {
      return cu_.cuIpcGetMemHandle(reinterpret_cast<CUipcMemHandle*>(handle.data()), raw(address));
    });
    return with(status, handle);
  }
  Result<CudaRange> open_memory(int device, const CudaIpcHandle& handle) override;
  Status close_memory(int device, CudaAddress address) override {
    return on(device, "cuIpcCloseMemHandle failed (CUDA error)",
              [&] { return cu_.cuIpcCloseMemHandle(raw(address)); });
  }

  Result<CudaEvent> create_event(int device, bool shared) override {
    CUevent event = nullptr;
    const unsigned interprocess = shared ? CU_EVENT_INTERPROCESS : CU_EVENT_DEFAULT;
    const unsigned flags = CU_EVENT_DISABLE_TIMING | interprocess;
    const Status status =
        on(device, "cuEventCreate failed (CUDA error)", [&] { return cu_.cuEventCreate(&event, flags); });
    return with(status, event_of(event));
  }
  Result<CudaIpcHandle> export_event(int device, CudaEvent event) override {
    CudaIpcHandle handle;
    const Status status = on(device, "cuIpcGetEventHandle failed (CUDA error)", [&] {
      return cu_.cuIpcGetEventHandle(reinterpret_cast<CUipcEventHandle*>(handle.data()), raw(event));
    });
    return with(status, handle);
  }
  Result<CudaEvent> open_event(int device, const CudaIpcHandle& handle) override {
    CUipcEventHandle theirs;
    std::memcpy(&theirs, handle.data(), sizeof theirs);
    CUevent event = nullptr;
    const Status status = on(device, "the GPU event of another process cannot be opened (CUDA error)",
                             [&] { return cu_.cuIpcOpenEventHandle(&event, theirs); });
    return with(status, event_of(event));
  }
  Status destroy_event(int device, CudaEvent event) override {
    return on(device, "cuEventDestroy failed (CUDA error)", [&] { return cu_.cuEventDestroy(raw(event)); });
  }
  Status record_event(int device, CudaEvent event, CudaStream stream) override {
    return on(device, "cuEventRecord failed (CUDA error)",
              [&] { return cu_.cuEventRecord(raw(event), raw(stream)); });
  }
  Result<bool> event_done(int device, CudaEvent event) override {
    bool done = true;
    const Status status = on(device, "what a GPU event waits for has failed (CUDA error)", [&] {
      const CUresult result = cu_.cuEventQuery(raw(event));
      done = result != CUDA_ERROR_NOT_READY;
      return done ? result : CUDA_SUCCESS;
    });
    return with(status, done);
  }

  Result<CudaStream> create_stream(int device) override {
    CUstream stream = nullptr;
    const Status status = on(device, "cuStreamCreate failed (CUDA error)",
                             [&] { return cu_.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING); });
    return with(status, static_cast<CudaStream>(reinterpret_cast<std::uintptr_t>(stream)));
  }
  Status destroy_stream(int device, CudaStream stream) override {
    return on(device, "cuStreamDestroy failed (CUDA error)",
              [&] { return cu_.cuStreamDestroy(raw(stream)); });
  }
  Status wait_event(int device, CudaStream stream, CudaEvent event) override {
    return on(device, "cuStreamWaitEvent failed (CUDA error)",
              [&] { return cu_.cuStreamWaitEvent(raw(stream), raw(event), 0); });
  }
  Status synchronize(int device, CudaStream stream) override {
    return on(device, "cuStreamSynchronize failed (CUDA error)",
              [&] { return cu_.cuStreamSynchronize(raw(stream)); });
  }
  Status copy_to_host(int device, void* to, CudaAddress from, std::uint64_t bytes,
                      CudaStream stream) override {
    return on(device, "a copy from a GPU cannot be started (CUDA error)",
              [&] { return cu_.cuMemcpyDtoHAsync(to, raw(from), bytes, raw(stream)); });
  }
  Status copy_to_device(int device, CudaAddress to, const void* from, std::uint64_t bytes,
                        CudaStream stream) override {
    return on(device, "a copy to a GPU cannot be started (CUDA error)",
              [&] { return cu_.cuMemcpyHtoDAsync(raw(to), from, bytes, raw(stream)); });
  }

  Status register_host(int device, void* data, std::uint64_t bytes, bool read_only) override {
    const unsigned flags = CU_MEMHOSTREGISTER_PORTABLE | (read_only ? CU_MEMHOSTREGISTER_READ_ONLY : 0u);
    return on(device, "cuMemHostRegister failed (CUDA error)",
              [&] { return cu_.cuMemHostRegister(data, bytes, flags); });
  }
  Status unregister_host(int device, void* data) override {
    return on(device, "cuMemHostUnregister failed (CUDA error)",
              [&] { return cu_.cuMemHostUnregister(data); });
  }
  Result<void*> allocate_host(int device, std::uint64_t bytes) override {
    void* data = nullptr;
    const Status status = on(device, "cuMemHostAlloc failed (CUDA error)",
                             [&] { return cu_.cuMemHostAlloc(&data, bytes, CU_MEMHOSTALLOC_PORTABLE); });
    return with(status, data);
  }
  Status free_host(int device, void* data) override {
    return on(device, "cuMemFreeHost failed (CUDA error)", [&] { return cu_.cuMemFreeHost(data); });
  }

  Result<CudaAddress> allocate(int device, std::uint64_t bytes) override {
    CUdeviceptr address = 0;
    const Status status =
        on(device, "cuMemAlloc failed (CUDA error)", [&] { return cu_.cuMemAlloc(&address, bytes); });
    return with(status, static_cast<CudaAddress>(address));
  }
  Status free(int device, CudaAddress address) override {
    return on(device, "cuMemFree failed (CUDA error)", [&] { return cu_.cuMemFree(raw(address)); });
  }
  Status fill(int device, CudaAddress to, std::uint8_t value, std::uint64_t bytes,
              CudaStream stream) override {
    return on(device, "cuMemsetD8Async failed (CUDA error)",
              [&] { return cu_.cuMemsetD8Async(raw(to), value, bytes, raw(stream)); });
  }

 private:
  struct Known {
    CUdevice number = 0;
    CudaDevice facts;
    CUcontext context = nullptr;  // under the mutex; the primary one, which the runtime library uses too
  };

  template <class T>
  static Result<T> with(const Status& status, const T& value) {
    if (!status) return tl::unexpected(status.error());
    return value;
  }

  Result<CUcontext> context_of(int device);

  // Makes `call` with the device's context current on this thread, and leaves the thread as it was.
  template <class Call>
  Status on(int device, const char* what, Call&& call) {
    const Result<CUcontext> context = context_of(device);
    if (!context) return tl::unexpected(context.error());
    if (auto pushed = status_of(cu_.cuCtxPushCurrent(*context), "cuCtxPushCurrent failed (CUDA error)");
        !pushed) {
      return pushed;
    }
    const CUresult result = call();
    CUcontext popped = nullptr;
    cu_.cuCtxPopCurrent(&popped);
    return status_of(result, what);
  }

  const CudaSymbols cu_;
  std::vector<Known> known_;
  std::mutex mutex_;
};

Status CudaDriver::find_devices() {
  int count = 0;
  if (auto got = status_of(cu_.cuDeviceGetCount(&count), "cuDeviceGetCount failed (CUDA error)"); !got) {
    return got;
  }
  known_.resize(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    Known& known = known_[static_cast<std::size_t>(i)];
    CUuuid uuid{};
    std::array<char, 32> pci{};
    CUresult result = cu_.cuDeviceGet(&known.number, i);
    if (result == CUDA_SUCCESS) result = cu_.cuDeviceGetUuid(&uuid, known.number);
    if (result == CUDA_SUCCESS) {
      result = cu_.cuDeviceGetPCIBusId(pci.data(), static_cast<int>(pci.size()), known.number);
    }
    if (auto got = status_of(result, "a GPU does not say what it is (CUDA error)"); !got) return got;
    std::memcpy(known.facts.uuid.data(), &uuid, sizeof uuid);
    known.facts.pci = pci.data();
    known.facts.numa_node = numa_node_of(known.facts.pci);
  }
  return {};
}

Result<CUcontext> CudaDriver::context_of(int device) {
  if (device < 0 || device >= devices()) {
    return fail(Errc::kNotFound, "no such GPU (number, GPUs)", kNoRank, static_cast<std::uint64_t>(device),
                known_.size());
  }
  Known& known = known_[static_cast<std::size_t>(device)];
  const std::lock_guard lock(mutex_);
  if (known.context == nullptr) {
    const auto made = status_of(cu_.cuDevicePrimaryCtxRetain(&known.context, known.number),
                                "a GPU cannot be used (CUDA error)");
    if (!made) {
      known.context = nullptr;
      return tl::unexpected(made.error());
    }
  }
  return known.context;
}

Result<CudaPointer> CudaDriver::pointer(const void* pointer) {
  unsigned type = 0;
  int ordinal = -1;
  unsigned managed = 0;
  unsigned exportable = 0;
  CUdeviceptr begin = 0;
  std::size_t bytes = 0;
  std::array<CUpointer_attribute, 6> names{
      CU_POINTER_ATTRIBUTE_MEMORY_TYPE,      CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
      CU_POINTER_ATTRIBUTE_IS_MANAGED,       CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  std::array<void*, 6> values{&type, &ordinal, &managed, &exportable, &begin, &bytes};
  // Of memory that CUDA does not know it answers zeros.
  const auto got =
      status_of(cu_.cuPointerGetAttributes(static_cast<unsigned>(names.size()), names.data(), values.data(),
                                           reinterpret_cast<CUdeviceptr>(pointer)),
                "cuPointerGetAttributes failed (CUDA error)");
  if (!got) return tl::unexpected(got.error());
  CudaPointer facts;
  facts.on_device = type == CU_MEMORYTYPE_DEVICE;
  if (!facts.on_device) return facts;
  facts.device = ordinal;
  facts.allocation = {static_cast<CudaAddress>(begin), bytes};
  facts.exportable = exportable != 0 && managed == 0;
  return facts;
}

Result<CudaRange> CudaDriver::open_memory(int device, const CudaIpcHandle& handle) {
  CUipcMemHandle theirs;
  std::memcpy(&theirs, handle.data(), sizeof theirs);
  CUdeviceptr opened = 0;
  // The only flag there is, and required; on the memory's own device it makes no peer access.
  auto status = on(device, "the GPU memory of another process cannot be opened (CUDA error)", [&] {
    return cu_.cuIpcOpenMemHandle(&opened, theirs, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  });
  if (!status) return tl::unexpected(status.error());
  CUdeviceptr begin = 0;
  std::size_t bytes = 0;
  status = on(device, "the size of another process's GPU memory is unknown (CUDA error)",
              [&] { return cu_.cuMemGetAddressRange(&begin, &bytes, opened); });
  if (!status || opened < begin || opened - begin > bytes) {
    static_cast<void>(close_memory(device, static_cast<CudaAddress>(opened)));
    if (!status) return tl::unexpected(status.error());
    return fail(Errc::kIo, "the size of another process's GPU memory makes no sense");
  }
  return CudaRange{static_cast<CudaAddress>(opened), bytes - (opened - begin)};
}

}  // namespace

Result<std::unique_ptr<CudaApi>> load_cuda() {
  // Never closed: the driver has threads of its own.
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return fail(Errc::kUnavailable, "no NVIDIA driver here (libcuda.so.1)");
  CudaSymbols calls;
  if (!calls.load(library)) return fail(Errc::kUnavailable, "the NVIDIA driver is too old");
  const auto refused = [](CUresult result) {
    return fail(Errc::kUnavailable,
                result == CUDA_ERROR_NO_DEVICE ? "the NVIDIA driver sees no GPU (CUDA error)"
                                               : "the NVIDIA driver does not start (CUDA error)",
                kNoRank, static_cast<std::uint64_t>(result));
  };
  if (const CUresult result = calls.cuInit(0); result != CUDA_SUCCESS) return refused(result);
  auto driver = std::make_unique<CudaDriver>(calls);
  if (const Status found = driver->find_devices(); !found) return tl::unexpected(found.error());
  if (driver->devices() == 0) return refused(CUDA_ERROR_NO_DEVICE);
  return std::unique_ptr<CudaApi>(std::move(driver));
}

}  // namespace sidecar

#endif  // SIDECAR_CUDA_HEADERS
