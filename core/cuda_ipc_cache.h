// Other processes' GPU memory, opened here. Opening takes long and a driver may refuse to do it twice, while
// executors send from the same few allocations again and again: so what was opened stays open for a while.
//
// Bounded: the least recently used goes first, one in use never. What nobody used for `idle` is closed as
// well, because an allocation that is open here is not given back to the GPU when its owner frees it or dies.
//
// One thread only.
#pragma once

#include <memory>
#include <vector>

#include "core/cuda_api.h"
#include "core/list.h"
#include "core/types.h"

namespace sidecar {

class CudaIpcCache {
 public:
  struct Entry {
    int device = 0;
    CudaIpcHandle handle{};
    CudaRange range;
    std::uint32_t users = 0;
    bool doomed = false;  // closed when its last user goes
    TimeNs idle_since = 0;
    ListHook hook;  // in idle_, when nobody uses it
  };

  // At most `entries` are open, at least one.
  CudaIpcCache(CudaApi& cuda, std::size_t entries, TimeNs idle);
  // Closes everything; nothing may be in use.
  ~CudaIpcCache();
  CudaIpcCache(const CudaIpcCache&) = delete;
  CudaIpcCache& operator=(const CudaIpcCache&) = delete;

  // The entry is the caller's to use until release(). Null: those in use leave no room, or one of them lies
  // where this is to lie; one must be released first.
  Result<Entry*> acquire(int device, const CudaIpcHandle& handle);
  // `failed`: a copy from it did. It is then not used again, since its owner is likely gone.
  void release(Entry* entry, TimeNs now, bool failed);

  void close_idle(TimeNs now);
  // When close_idle() has something to do; kNever: nothing is idle.
  [[nodiscard]] TimeNs next_idle() const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  void close(Entry* entry);
  Result<CudaRange> open(int device, const CudaIpcHandle& handle);

  CudaApi& cuda_;
  const std::size_t capacity_;
  const TimeNs idle_ns_;
  // Few enough for a search to cost less than a look-up in a table.
  std::vector<std::unique_ptr<Entry>> entries_;
  List<Entry, &Entry::hook> idle_;  // the least recently used first
};

}  // namespace sidecar
