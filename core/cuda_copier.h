// Copies other processes' GPU memory into the arena. No kernel, no peer access, no default stream: the GPU's
// copy engines only, on the device that the memory lies on.
//
// A thread of its own talks to the driver, since opening another process's memory takes milliseconds and
// nothing on the loop may block. The loop hands copies over through a bounded queue; what became of them
// comes back through the mailbox, which holds at most one message of ours at a time however many copies there
// are. The thread asks for finished pieces and for producers' events rather than being called back: a
// callback does not come when a GPU has failed, and a stream that waits for the event of a process that died
// would be stuck for everybody. It asks the more seldom the longer nothing happens, and sleeps when there is
// nothing to ask for.
//
// Threads: construction, destruction and all functions on the loop's thread.
#pragma once

#include <memory>

#include "core/cuda_api.h"
#include "core/mailbox.h"
#include "core/ports.h"

namespace sidecar {

struct CudaCopierOptions {
  std::uint64_t piece_bytes = 16 << 20;  // a report after each piece
  std::uint32_t pieces_max = 4;          // under way at a time on each GPU
  std::size_t open_max = 64;             // other processes' allocations held open at a time,
  TimeNs idle_close = 2 * kSecond;       // each for at most this long after its last use
  std::size_t copies_max = 65536;        // given and not yet reported; more fail with kUnavailable
  TimeNs event_timeout = 600 * kSecond;  // a producer's event that has not come by then fails its copy
};

class CudaCopier final : public Device {
 public:
  // Both outlive it. Starts the thread; uses a GPU only when there is something to copy from it.
  CudaCopier(CudaApi& cuda, Mailbox& mailbox, const CudaCopierOptions& options = {});
  // Waits until nothing is written any more; copies that have not begun do not begin, and nothing is
  // reported any more.
  ~CudaCopier() override;
  CudaCopier(const CudaCopier&) = delete;
  CudaCopier& operator=(const CudaCopier&) = delete;

  // Before the first copy().
  void set_events(DeviceEvents& events);

  // Errors, all reported by on_copied: kNotFound (no such GPU here), kInvalidArgument (outside of its
  // allocation), kTimeout (its event never came), kCancelled, kUnavailable (too many), kNoSpace and kIo
  // (CUDA's error number).
  void copy(const DeviceSource& source, Bytes into, Token token) override;
  void cancel(Token token) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
