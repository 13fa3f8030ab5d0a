// Mapped memory that becomes pinned for the GPUs when the first copy between it and one is made: such copies
// are faster then, and asynchronous. Who has no GPU pays nothing.
#pragma once

#include <cstdint>
#include <mutex>

#include "core/cuda_registration.h"

namespace sidecar::client_internal {

// A part of what owns the mapping, so that it goes before the mapping does. Thread-safe.
class Pin {
 public:
  Pin(const std::byte* data, std::uint64_t bytes, bool read_only)
      : data_(data), bytes_(bytes), read_only_(read_only) {}
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  // Tries once, which takes milliseconds per GiB. Where it cannot be pinned, copies are only slower: the log
  // says so once. `cuda` outlives this; the same each time.
  void for_gpus(CudaApi& cuda, int device);

 private:
  const std::byte* const data_;
  const std::uint64_t bytes_;
  const bool read_only_;
  std::once_flag once_;
  CudaRegistration registration_;
};

}  // namespace sidecar::client_internal
