#include "tests/core/fake_cuda.h"

#include <algorithm>
#include <cstring>

namespace sidecar {
namespace {

constexpr std::uint64_t kInjected = 999;  // CUDA's CUDA_ERROR_UNKNOWN
constexpr std::uint64_t kInvalidValue = 1;
constexpr std::uint64_t kInvalidHandle = 400;
constexpr std::uint64_t kAlreadyMapped = 208;

std::byte* bytes_of(CudaAddress address) { return reinterpret_cast<std::byte*>(address); }
CudaAddress address_of(const std::byte* data) {
  return static_cast<CudaAddress>(reinterpret_cast<std::uint64_t>(data));
}
std::uintptr_t number(CudaEvent event) { return static_cast<std::uintptr_t>(event); }
std::uintptr_t number(CudaStream stream) { return static_cast<std::uintptr_t>(stream); }

tl::unexpected<Error> no(std::uint64_t code) { return fail(Errc::kIo, "the fake says no", kNoRank, code); }

}  // namespace

FakeCuda::FakeCuda(int devices) : devices_(index(devices)), facts_(index(devices)) {
  for (int i = 0; i < devices; ++i) {
    facts_[index(i)].uuid.fill(static_cast<std::byte>(0x40 + i));
    facts_[index(i)].pci = "0000:0" + std::to_string(i) + ":00.0";
  }
}

FakeCuda::~FakeCuda() { EXPECT_EQ(live(), Live{}) << "something was not given back"; }

// --- the machinery; all with the mutex held
// ------------------------------------------------------------------------------

Status FakeCuda::enter(const char* name) {
  ++calls_[name];
  ++all_calls_;
  if (all_calls_ != fail_at_ && fail_always_ != name) return {};
  failed_call_ = name;
  return no(kInjected);
}

bool FakeCuda::check_stream(int device, CudaStream stream) {
  EXPECT_NE(stream, CudaStream::kDefault) << "the default stream is not ours to use";
  const bool known = devices_.at(index(device)).streams.contains(number(stream));
  EXPECT_TRUE(known) << "a stream that was destroyed, or of another GPU";
  return known;
}

void FakeCuda::add(int device, CudaStream stream, const Work& work) {
  Gpu& gpu = devices_.at(index(device));
  gpu.work.emplace_back(number(stream), work);
  while (automatic_ && !gpu.work.empty()) do_one(gpu);
}

void FakeCuda::do_one(Gpu& gpu) {
  const auto [stream, work] = gpu.work.front();
  gpu.work.pop_front();
  bool& failed = gpu.streams.at(stream);
  switch (work.what) {
    case Work::What::kCopy:
      if (work.memory != nullptr && work.memory->dead) failed = true;
      EXPECT_TRUE(work.memory == nullptr || work.memory->open) << "closed while a copy was under way";
      if (!failed) std::memcpy(work.to, work.from, work.bytes);
      return;
    case Work::What::kFill: std::memset(work.to, work.value, work.bytes); return;
    case Work::What::kRecord: {
      const auto event = events_.find(number(work.event));
      if (event == events_.end()) return;
      event->second.done = true;
      // Kinder than a GPU, which would not recover: so that one test can see what comes after.
      event->second.failed = std::exchange(failed, false);
      return;
    }
  }
}

FakeCuda::Memory* FakeCuda::memory_at(int device, CudaAddress address, std::uint64_t bytes) {
  for (const auto& [handle, memory] : memory_) {
    const std::byte* const begin = memory->content.data();
    const std::byte* const at = bytes_of(address);
    const bool inside = at >= begin && at + bytes <= begin + memory->content.size();
    if (memory->open && memory->device == device && inside) return memory.get();
  }
  return nullptr;
}

// --- CudaApi
// -------------------------------------------------------------------------------------------------------------

Result<CudaPointer> FakeCuda::pointer(const void* /*pointer*/) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("pointer"); !status) return tl::unexpected(status.error());
  return CudaPointer{};
}

Result<CudaIpcHandle> FakeCuda::export_memory(int /*device*/, CudaAddress /*address*/) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("export_memory"); !status) return tl::unexpected(status.error());
  return new_handle();
}

Result<CudaRange> FakeCuda::open_memory(int device, const CudaIpcHandle& handle) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("open_memory"); !status) return tl::unexpected(status.error());
  const auto memory = memory_.find(handle);
  if (memory == memory_.end() || memory->second->dead || memory->second->device != device) {
    return no(kInvalidHandle);
  }
  EXPECT_FALSE(memory->second->open) << "opened twice";
  const Memory* const before = memory->second->instead_of;
  if (memory->second->open || (before != nullptr && before->open)) {
    return fail(Errc::kAlreadyExists, "the fake says no", kNoRank, kAlreadyMapped);
  }
  memory->second->open = true;
  std::size_t open = 0;
  for (const auto& [key, other] : memory_) open += other->open ? 1 : 0;
  most_open_ = std::max(most_open_, open);
  return CudaRange{address_of(memory->second->content.data()), memory->second->content.size()};
}

Status FakeCuda::close_memory(int device, CudaAddress address) {
  const std::lock_guard lock(mutex_);
  Memory* const memory = memory_at(device, address, 0);
  EXPECT_NE(memory, nullptr) << "closed twice";
  // Also when it is to fail: a handle that a driver does not close is not the caller's fault.
  if (memory != nullptr) memory->open = false;
  return enter("close_memory");
}

Result<CudaEvent> FakeCuda::create_event(int device, bool /*shared*/) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("create_event"); !status) return tl::unexpected(status.error());
  events_[next_number_] = Event{device, nullptr};
  return static_cast<CudaEvent>(next_number_++);
}

Result<CudaIpcHandle> FakeCuda::export_event(int /*device*/, CudaEvent /*event*/) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("export_event"); !status) return tl::unexpected(status.error());
  return new_handle();
}

Result<CudaEvent> FakeCuda::open_event(int device, const CudaIpcHandle& handle) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("open_event"); !status) return tl::unexpected(status.error());
  const auto event = foreign_events_.find(handle);
  if (event == foreign_events_.end() || event->second->dead) return no(kInvalidHandle);
  events_[next_number_] = Event{device, event->second};
  return static_cast<CudaEvent>(next_number_++);
}

Status FakeCuda::destroy_event(int /*device*/, CudaEvent event) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(events_.erase(number(event)), 1u) << "destroyed twice";
  return enter("destroy_event");
}

Status FakeCuda::record_event(int device, CudaEvent event, CudaStream stream) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("record_event"); !status) return status;
  if (!check_stream(device, stream)) return no(kInvalidHandle);
  events_.at(number(event)).done = false;
  Work work;
  work.what = Work::What::kRecord;
  work.event = event;
  add(device, stream, work);
  return {};
}

Result<bool> FakeCuda::event_done(int /*device*/, CudaEvent event) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("event_done"); !status) return tl::unexpected(status.error());
  const auto found = events_.find(number(event));
  EXPECT_NE(found, events_.end()) << "asked after its end";
  if (found == events_.end()) return no(kInvalidHandle);
  if (const auto& foreign = found->second.foreign) {
    if (foreign->dead) return no(kInjected);
    return foreign->done;
  }
  if (found->second.done && found->second.failed) return no(kInjected);
  return found->second.done;
}

Result<CudaStream> FakeCuda::create_stream(int device) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("create_stream"); !status) return tl::unexpected(status.error());
  devices_.at(index(device)).streams[next_number_] = false;
  return static_cast<CudaStream>(next_number_++);
}

Status FakeCuda::destroy_stream(int device, CudaStream stream) {
  const std::lock_guard lock(mutex_);
  if (!check_stream(device, stream)) return no(kInvalidHandle);
  Gpu& gpu = devices_.at(index(device));
  EXPECT_TRUE(gpu.work.empty()) << "destroyed with work in it";
  gpu.streams.erase(number(stream));
  return enter("destroy_stream");
}

Status FakeCuda::wait_event(int device, CudaStream stream, CudaEvent event) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(events_.at(number(event)).foreign, nullptr) << "a stream must not wait for another process";
  check_stream(device, stream);
  return enter("wait_event");
}

Status FakeCuda::synchronize(int device, CudaStream stream) {
  const std::lock_guard lock(mutex_);
  check_stream(device, stream);
  Gpu& gpu = devices_.at(index(device));
  while (!gpu.work.empty()) do_one(gpu);
  gpu.streams.at(number(stream)) = false;
  return enter("synchronize");
}

Status FakeCuda::copy_to_host(int device, void* to, CudaAddress from, std::uint64_t bytes,
                              CudaStream stream) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("copy_to_host"); !status) return status;
  if (!check_stream(device, stream)) return no(kInvalidHandle);
  Work work;
  work.memory = memory_at(device, from, bytes);
  EXPECT_NE(work.memory, nullptr) << "outside of what is open";
  if (work.memory == nullptr) return no(kInvalidValue);
  work.to = static_cast<std::byte*>(to);
  work.from = bytes_of(from);
  work.bytes = bytes;
  add(device, stream, work);
  return {};
}

Status FakeCuda::copy_to_device(int device, CudaAddress to, const void* from, std::uint64_t bytes,
                                CudaStream stream) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("copy_to_device"); !status) return status;
  if (!check_stream(device, stream)) return no(kInvalidHandle);
  Work work;
  work.to = bytes_of(to);
  work.from = static_cast<const std::byte*>(from);
  work.bytes = bytes;
  add(device, stream, work);
  return {};
}

Status FakeCuda::register_host(int /*device*/, void* data, std::uint64_t bytes, bool /*read_only*/) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("register_host"); !status) return status;
  EXPECT_TRUE(registered_.emplace(data, bytes).second) << "registered twice";
  return {};
}

Status FakeCuda::unregister_host(int /*device*/, void* data) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(registered_.erase(data), 1u) << "not registered";
  return enter("unregister_host");
}

Result<void*> FakeCuda::allocate_host(int /*device*/, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (auto status = enter("allocate_host"); !status) return tl::unexpected(status.error());
  auto memory = std::make_unique<std::byte[]>(bytes);
  void* const data = memory.get();
  host_[data] = std::move(memory);
  return data;
}

Status FakeCuda::free_host(int /*device*/, void* data) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(host_.erase(data), 1u) << "freed twice";
  return enter("free_host");
}

Result<CudaAddress> FakeCuda::allocate(int /*device*/, std::uint64_t /*bytes*/) {
  return fail(Errc::kInternal, "the fake's GPU memory comes from foreign_memory()");
}
Status FakeCuda::free(int /*device*/, CudaAddress /*address*/) { return {}; }
Status FakeCuda::fill(int /*device*/, CudaAddress /*to*/, std::uint8_t /*value*/, std::uint64_t /*bytes*/,
                      CudaStream /*stream*/) {
  return {};
}

}  // namespace sidecar
