// One GPU's copies into our memory: one stream of its own, a few pieces in it at a time.
//
// Several copies take turns, piece by piece, so that a small one does not wait for a large one to end. A copy
// enters only when what it waits for is done: the stream never waits for another process, which may be dead,
// and would then be stuck together with everybody else's copies.
//
// One thread only.
#pragma once

#include <deque>
#include <vector>

#include "core/cuda_ipc_cache.h"
#include "core/ports.h"

namespace sidecar {

// One copy from its beginning to its last report.
struct CudaCopy {
  // From copy() on, and constant.
  DeviceSource source;
  Bytes into;
  Token token = 0;

  // The copier's thread.
  int device = -1;
  CudaEvent event = CudaEvent::kNone;     // opened, while it waits for it,
  TimeNs waits_since = 0;                 // and since when
  CudaIpcCache::Entry* memory = nullptr;  // while pieces are under way or to come
  std::uint64_t issued = 0;               // bytes given to the GPU,
  std::uint64_t done = 0;                 // and copied
  std::uint32_t pieces = 0;               // under way
  Status status;                          // the first failure: no more pieces after it
  ListHook hook;                          // in one of the thread's lists

  // Under the copier's mutex: what is to be reported next.
  std::uint64_t told = 0;
  Status told_status;
  bool told_last = false;
  ListHook report;  // in the list of reports, when there is something to tell
};
using CudaCopies = List<CudaCopy, &CudaCopy::hook>;

struct CudaLaneOptions {
  std::uint64_t piece_bytes = 0;
  std::uint32_t pieces_max = 0;  // in the stream at a time
};

class CudaLane {
 public:
  CudaLane(CudaApi& cuda, CudaIpcCache& cache, int device, const CudaLaneOptions& options)
      : cuda_(cuda), cache_(cache), device_(device), options_(options) {}
  // Nothing may be under way.
  ~CudaLane();
  CudaLane(const CudaLane&) = delete;
  CudaLane& operator=(const CudaLane&) = delete;

  // What a copy's event stands for is done: from now on it takes its turns.
  void add(CudaCopy* copy) { turns_.push_back(copy); }
  // Has that copy begin no more pieces, if it has any left. The copy when it is finished() by that; null: it
  // is not here, or comes to its end in a later step.
  CudaCopy* cancel(Token token, TimeNs now, const Error& why);

  // Gives the GPU more, and looks at what it has done. `moved` is called for each copy that got on; one that
  // is finished() is then in no list of the lane. True: something happened.
  template <class Moved>
  bool step(TimeNs now, Moved&& moved) {
    bool any = false;
    while (CudaCopy* copy = finish_piece(now)) {
      any = true;
      moved(copy);
    }
    while (CudaCopy* copy = issue_piece(now)) {
      any = true;
      if (finished(*copy)) moved(copy);
    }
    return any;
  }
  static bool finished(const CudaCopy& copy) {
    return copy.pieces == 0 && (!copy.status || copy.done == copy.into.size());
  }

  [[nodiscard]] bool idle() const { return turns_.empty() && under_way_.empty(); }
  // Begins nothing any more, and waits until nothing is written any more; the copies that took turns are left
  // in no list.
  void stop();

 private:
  struct Piece {
    CudaCopy* copy = nullptr;
    std::uint64_t bytes = 0;
    CudaEvent event = CudaEvent::kNone;
  };

  CudaCopy* finish_piece(TimeNs now);
  CudaCopy* issue_piece(TimeNs now);
  Status start(CudaCopy& copy);
  void fail_copy(CudaCopy& copy, const Error& why, TimeNs now);
  void leave(CudaCopy& copy, TimeNs now);

  CudaApi& cuda_;
  CudaIpcCache& cache_;
  const int device_;
  const CudaLaneOptions options_;
  CudaStream stream_ = CudaStream::kDefault;  // until first use
  CudaCopies turns_;                          // have more to copy
  std::deque<Piece> under_way_;               // in the order of the stream
  std::vector<CudaEvent> free_events_;
};

}  // namespace sidecar
