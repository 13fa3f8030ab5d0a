// Calls that are over, on their way to an event loop of Python's: their numbers, and a descriptor that the
// loop watches.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/fd.h"

namespace sidecar::python {

class Completions {
 public:
  Completions();

  // Readable while there is something to take.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // Any thread; takes no GIL.
  void push(std::uint64_t token);
  std::vector<std::uint64_t> take();

 private:
  const Fd fd_;
  std::mutex mutex_;
  std::vector<std::uint64_t> tokens_;
};

}  // namespace sidecar::python
