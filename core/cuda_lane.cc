#include "core/cuda_lane.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/log.h"

namespace sidecar {
namespace {

constexpr TimeNs kNoTime = 0;  // when a lane stops, nothing is idle for long

}  // namespace

CudaLane::~CudaLane() {
  CHECK(idle());
  for (const CudaEvent event : free_events_) static_cast<void>(cuda_.destroy_event(device_, event));
  if (stream_ != CudaStream::kDefault) static_cast<void>(cuda_.destroy_stream(device_, stream_));
}

CudaCopy* CudaLane::cancel(Token token, TimeNs now, const Error& why) {
  CudaCopy* copy = turns_.front();
  while (copy != nullptr && copy->token != token) copy = CudaCopies::next(copy);
  if (copy == nullptr) return nullptr;
  fail_copy(*copy, why, now);
  return finished(*copy) ? copy : nullptr;
}

CudaCopy* CudaLane::finish_piece(TimeNs now) {
  if (under_way_.empty()) return nullptr;
  const Result<bool> done = cuda_.event_done(device_, under_way_.front().event);
  if (done && !*done) return nullptr;
  const Piece piece = under_way_.front();
  under_way_.pop_front();
  if (done) {
    free_events_.push_back(piece.event);
  } else {
    // Most likely the GPU has failed for this process. Whatever it is: nothing may be written after the
    // error.
    static_cast<void>(cuda_.synchronize(device_, stream_));
    static_cast<void>(cuda_.destroy_event(device_, piece.event));
  }
  CudaCopy& copy = *piece.copy;
  --copy.pieces;
  if (!done) {
    fail_copy(copy, done.error(), now);
  } else if (copy.status) {
    copy.done += piece.bytes;
  }
  if (finished(copy)) leave(copy, now);
  return &copy;
}

CudaCopy* CudaLane::issue_piece(TimeNs now) {
  if (under_way_.size() >= options_.pieces_max) return nullptr;
  for (std::size_t tries = turns_.size(); tries > 0; --tries) {
    CudaCopy& copy = *turns_.pop_front();
    turns_.push_back(&copy);
    if (copy.memory == nullptr) {
      const auto opened = cache_.acquire(device_, copy.source.memory);
      if (!opened) {
        fail_copy(copy, opened.error(), now);
        return &copy;
      }
      if (*opened == nullptr) continue;  // others must finish first
      copy.memory = *opened;
    }
    if (const Status started = start(copy); !started) fail_copy(copy, started.error(), now);
    if (copy.issued == copy.into.size() && turns_.contains(&copy)) turns_.remove(&copy);
    return &copy;
  }
  return nullptr;
}

// Gives the stream the next piece.
Status CudaLane::start(CudaCopy& copy) {
  const CudaRange& range = copy.memory->range;
  if (copy.source.offset > range.bytes || copy.into.size() > range.bytes - copy.source.offset) {
    return fail(Errc::kInvalidArgument, "the tensor does not lie in its GPU allocation (offset, bytes there)",
                kNoRank, copy.source.offset, range.bytes);
  }
  if (stream_ == CudaStream::kDefault) {
    const Result<CudaStream> stream = cuda_.create_stream(device_);
    if (!stream) return tl::unexpected(stream.error());
    stream_ = *stream;
  }
  if (free_events_.empty()) {
    const Result<CudaEvent> event = cuda_.create_event(device_, false);
    if (!event) return tl::unexpected(event.error());
    free_events_.push_back(*event);
  }
  const CudaEvent event = free_events_.back();
  const std::uint64_t bytes = std::min(options_.piece_bytes, copy.into.size() - copy.issued);
  const Status copied =
      cuda_.copy_to_host(device_, copy.into.data() + copy.issued,
                         range.address + (copy.source.offset + copy.issued), bytes, stream_);
  if (!copied) return copied;
  if (const Status recorded = cuda_.record_event(device_, event, stream_); !recorded) {
    // Nobody will tell when this piece is over, so wait for it here: it must not be written to any more.
    static_cast<void>(cuda_.synchronize(device_, stream_));
    return recorded;
  }
  free_events_.pop_back();
  under_way_.push_back({&copy, bytes, event});
  copy.issued += bytes;
  ++copy.pieces;
  return {};
}

void CudaLane::fail_copy(CudaCopy& copy, const Error& why, TimeNs now) {
  if (copy.status) copy.status = tl::unexpected(why);
  if (turns_.contains(&copy)) turns_.remove(&copy);
  if (copy.pieces == 0) leave(copy, now);
}

// The copy is over.
void CudaLane::leave(CudaCopy& copy, TimeNs now) {
  CHECK(!copy.hook.linked() && copy.pieces == 0);
  if (copy.memory == nullptr) return;
  cache_.release(std::exchange(copy.memory, nullptr), now, !copy.status);
}

void CudaLane::stop() {
  constexpr Error kStopped{Errc::kCancelled, kNoRank, "the sidecar ends", 0, 0};
  while (CudaCopy* copy = turns_.front()) fail_copy(*copy, kStopped, kNoTime);
  if (under_way_.empty()) return;
  // Bounded: a stream never waits for anything but its own copies.
  const Status over = cuda_.synchronize(device_, stream_);
  if (!over) LOG_WARN("a GPU's last copies have failed: {}", to_string(over.error()));
  while (!under_way_.empty()) {
    const Piece piece = under_way_.front();
    under_way_.pop_front();
    free_events_.push_back(piece.event);
    if (--piece.copy->pieces == 0) leave(*piece.copy, kNoTime);
  }
}

}  // namespace sidecar
