// What the test does to the fake, and asks of it. What the program asks is in fake_cuda.cc.
#include <cstring>

#include "tests/core/fake_cuda.h"

namespace sidecar {

CudaIpcHandle FakeCuda::new_handle() {
  CudaIpcHandle handle{};
  const std::uintptr_t value = next_number_++;
  std::memcpy(handle.data(), &value, sizeof value);
  return handle;
}

CudaIpcHandle FakeCuda::foreign_memory(int device, std::vector<std::byte> content) {
  const std::lock_guard lock(mutex_);
  const CudaIpcHandle handle = new_handle();
  memory_[handle] = std::make_unique<Memory>(Memory{device, std::move(content)});
  return handle;
}

CudaIpcHandle FakeCuda::foreign_memory_instead(const CudaIpcHandle& freed, std::vector<std::byte> content) {
  const std::lock_guard lock(mutex_);
  Memory* const before = memory_.at(freed).get();
  const CudaIpcHandle handle = new_handle();
  memory_[handle] = std::make_unique<Memory>(Memory{before->device, std::move(content)});
  memory_[handle]->instead_of = before;
  return handle;
}

CudaIpcHandle FakeCuda::foreign_event(int device) {
  const std::lock_guard lock(mutex_);
  const CudaIpcHandle handle = new_handle();
  foreign_events_[handle] = std::make_shared<ForeignEvent>(ForeignEvent{device});
  return handle;
}

void FakeCuda::finish(const CudaIpcHandle& event) {
  const std::lock_guard lock(mutex_);
  foreign_events_.at(event)->done = true;
}

void FakeCuda::kill_owner(const CudaIpcHandle& handle) {
  const std::lock_guard lock(mutex_);
  if (const auto memory = memory_.find(handle); memory != memory_.end()) memory->second->dead = true;
  if (const auto event = foreign_events_.find(handle); event != foreign_events_.end()) {
    event->second->dead = true;
  }
}

DeviceSource FakeCuda::source(int device, const CudaIpcHandle& memory, std::uint64_t offset) const {
  DeviceSource source;
  source.device = facts_.at(index(device)).uuid;
  source.memory = memory;
  source.offset = offset;
  return source;
}

void FakeCuda::set_automatic(bool automatic) {
  const std::lock_guard lock(mutex_);
  automatic_ = automatic;
}

std::size_t FakeCuda::run(int device, std::size_t count) {
  const std::lock_guard lock(mutex_);
  Gpu& gpu = devices_.at(index(device));
  std::size_t ran = 0;
  for (; ran < count && !gpu.work.empty(); ++ran) do_one(gpu);
  return ran;
}

std::size_t FakeCuda::queued(int device) const {
  const std::lock_guard lock(mutex_);
  return devices_.at(index(device)).work.size();
}

void FakeCuda::fail_call(std::uint64_t n) {
  const std::lock_guard lock(mutex_);
  fail_at_ = n == 0 ? 0 : all_calls_ + n;
  failed_call_.clear();
}

void FakeCuda::fail_always(const std::string& name) {
  const std::lock_guard lock(mutex_);
  fail_always_ = name;
}

std::string FakeCuda::failed_call() const {
  const std::lock_guard lock(mutex_);
  return failed_call_;
}

std::uint64_t FakeCuda::calls() const {
  const std::lock_guard lock(mutex_);
  return all_calls_;
}

std::uint64_t FakeCuda::calls(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(name);
  return found == calls_.end() ? 0 : found->second;
}

FakeCuda::Live FakeCuda::live() const {
  const std::lock_guard lock(mutex_);
  Live live;
  for (const auto& [handle, memory] : memory_) live.memory += memory->open ? 1 : 0;
  for (const Gpu& gpu : devices_) live.streams += gpu.streams.size();
  live.events = events_.size();
  live.registrations = registered_.size();
  live.host = host_.size();
  return live;
}

std::size_t FakeCuda::most_open() const {
  const std::lock_guard lock(mutex_);
  return most_open_;
}

void FakeCuda::set_numa_node(int device, int node) { facts_.at(index(device)).numa_node = node; }

}  // namespace sidecar
