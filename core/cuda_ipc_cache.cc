#include "core/cuda_ipc_cache.h"

#include <algorithm>

#include "core/check.h"
#include "core/log.h"

namespace sidecar {

CudaIpcCache::CudaIpcCache(CudaApi& cuda, std::size_t entries, TimeNs idle)
    : cuda_(cuda), capacity_(entries), idle_ns_(idle) {
  CHECK(entries > 0);
}

CudaIpcCache::~CudaIpcCache() {
  while (Entry* entry = idle_.front()) close(entry);
  CHECK(entries_.empty());
}

Result<CudaIpcCache::Entry*> CudaIpcCache::acquire(int device, const CudaIpcHandle& handle) {
  const auto known = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry->device == device && entry->handle == handle;
  });
  if (known != entries_.end()) {
    Entry* const entry = known->get();
    if (entry->doomed) return nullptr;  // to be opened anew, but not while it is still open
    if (entry->users++ == 0) idle_.remove(entry);
    return entry;
  }
  if (entries_.size() == capacity_) {
    if (idle_.empty()) return nullptr;
    close(idle_.front());
  }
  const Result<CudaRange> opened = open(device, handle);
  if (!opened) {
    const bool wait = opened.error().code == Errc::kAlreadyExists && !entries_.empty();
    if (wait) return nullptr;
    return tl::unexpected(opened.error());
  }
  auto entry = std::make_unique<Entry>();
  entry->device = device;
  entry->handle = handle;
  entry->range = *opened;
  entry->users = 1;
  entries_.push_back(std::move(entry));
  return entries_.back().get();
}

// An executor that frees memory and allocates again gets the same address often, and the old allocation may
// still be open here: it is in the way, and its owner needs it no more.
Result<CudaRange> CudaIpcCache::open(int device, const CudaIpcHandle& handle) {
  auto opened = cuda_.open_memory(device, handle);
  const bool in_the_way =
      !opened && (opened.error().code == Errc::kAlreadyExists || opened.error().code == Errc::kNoSpace);
  if (!in_the_way || idle_.empty()) return opened;
  while (Entry* entry = idle_.front()) close(entry);
  return cuda_.open_memory(device, handle);
}

void CudaIpcCache::release(Entry* entry, TimeNs now, bool failed) {
  CHECK(entry->users > 0);
  entry->doomed = entry->doomed || failed;
  if (--entry->users > 0) return;
  entry->idle_since = now;
  idle_.push_back(entry);
  if (entry->doomed) close(entry);
}

void CudaIpcCache::close_idle(TimeNs now) {
  while (next_idle() <= now) close(idle_.front());
}

TimeNs CudaIpcCache::next_idle() const {
  return idle_.empty() || idle_ns_ == kNever ? kNever : idle_.front()->idle_since + idle_ns_;
}

void CudaIpcCache::close(Entry* entry) {
  idle_.remove(entry);
  const Status closed = cuda_.close_memory(entry->device, entry->range.address);
  if (!closed) LOG_WARN_LIMITED("another process's GPU memory stays open: {}", to_string(closed.error()));
  std::erase_if(entries_, [entry](const auto& other) { return other.get() == entry; });
}

}  // namespace sidecar
