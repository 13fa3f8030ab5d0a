// The streams and events of the driver of plain memory: a thread for each stream does its work in order.
#pragma once

#if __has_include(<cuda.h>)  // not on every machine

#include <cuda.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

// In memory that other processes may map.
struct Progress {
  std::atomic<std::uint64_t> recorded{0};
  std::atomic<std::uint64_t> done{0};
};

struct CUevent_st {
  Progress* progress = nullptr;
  int fd = -1;  // shared or opened; -1: only ours
};

struct Operation {
  enum class What : std::uint8_t { kCopy, kFill, kRecord, kWait, kStop } what = What::kStop;
  void* to = nullptr;
  const void* from = nullptr;
  std::size_t bytes = 0;
  unsigned char value = 0;
  Progress* progress = nullptr;
  std::uint64_t number = 0;
};

struct CUstream_st {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Operation> queue;
  bool busy = false;
  std::thread thread;
};

inline void work_through(CUstream stream) {
  std::unique_lock lock(stream->mutex);
  for (;;) {
    stream->changed.wait(lock, [&] { return !stream->queue.empty(); });
    const Operation now = stream->queue.front();
    stream->queue.pop_front();
    if (now.what == Operation::What::kStop) return;
    // A fill that the next one covers is not worth doing, only worth its time.
    const bool covered = !stream->queue.empty() && stream->queue.front().what == Operation::What::kFill &&
                         now.what == Operation::What::kFill && stream->queue.front().to == now.to;
    stream->busy = true;
    lock.unlock();
    if (covered) {
      usleep(200);
    } else if (now.what == Operation::What::kFill) {
      std::memset(now.to, now.value, now.bytes);
    } else if (now.what == Operation::What::kCopy) {
      std::memcpy(now.to, now.from, now.bytes);
    } else if (now.what == Operation::What::kWait) {
      while (now.progress->done < now.number) usleep(50);
    } else {
      now.progress->done = now.number;
    }
    lock.lock();
    stream->busy = false;
    stream->changed.notify_all();
  }
}

#endif
