// What a process leaves behind that is killed while it writes into another's queue in shared memory: a place
// that is taken and never filled. UCX's writer adds one to the queue's head, then fills the place (1.13.1,
// uct/sm/mm/base/mm_ep.c); so do we, but for the filling.
#pragma once

#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <atomic>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

namespace sidecar {

// How UCX's queue begins (uct_mm_fifo_ctl_t in mm_iface.h): the bit on top of `head` says that the reader
// sleeps.
struct UcxFifo {
  std::uint64_t head;
  socklen_t signal_address_bytes;
  sockaddr_un signal_address;
  [[nodiscard]] bool plausible() const {
    return signal_address.sun_family == AF_UNIX && signal_address_bytes > sizeof(sa_family_t) &&
           signal_address_bytes <= sizeof(sockaddr_un) && (head & ~(1ull << 63)) < (1ull << 40);
  }
};

// Makes a hole in every SysV queue that the process has made; the number of them.
inline int make_holes_in_queues_of(pid_t process) {
  int holes = 0;
  std::ifstream segments("/proc/sysvipc/shm");
  segments.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  long key = 0, id = 0, mode = 0, bytes = 0, creator = 0;
  while (segments >> key >> id >> mode >> bytes >> creator) {
    segments.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    if (creator != process) continue;
    void* const at = shmat(static_cast<int>(id), nullptr, 0);
    if (at == reinterpret_cast<void*>(-1)) continue;
    auto* const fifo = static_cast<UcxFifo*>(at);
    if (fifo->plausible()) {
      std::atomic_ref(fifo->head).fetch_add(1);
      ++holes;
    }
    shmdt(at);
  }
  return holes;
}

}  // namespace sidecar
