// One message on its way out. Its address is UCX's user_data, and its header bytes must not move until UCX
// has completed the send (1.13 keeps a pointer to them). Pooled: nothing is allocated in steady state.
#pragma once

#include <ucp/api/ucp.h>

#include <array>

#include "core/list.h"
#include "core/ports.h"

namespace sidecar {

class Plane;
class UcxTransportImpl;

// Most headers are short; the rare long one gets a buffer of its own, so that thousands of queued sends stay
// small.
inline constexpr std::size_t kShortHeaderBytes = 512;
struct LongHeader {
  std::array<std::byte, kHeaderBytesMax> bytes;
};

struct SendOp {
  UcxTransportImpl* owner;
  Plane* plane;  // on which it was issued; null: not yet
  Token token;
  Handle link;         // whose `sends` it is in; invalid: in none, or an orphan
  ListHook under_way;  // until UCX has completed it
  TimeNs abandon_at;   // orphans
  ucs_status_t status;
  SendOp* next;  // completion queue
  std::uint32_t header_bytes;
  LongHeader* long_header;  // null: short_header
  std::array<std::byte, kShortHeaderBytes> short_header;
};

// First in, first out, through T::next. UCX's callbacks only append here; a later step takes what has come.
template <class T>
class CompletionQueue {
 public:
  [[nodiscard]] bool empty() const { return head_ == nullptr; }
  void push(T* item) {
    item->next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = item;
    tail_ = item;
  }
  // Everything, as a chain through `next`.
  T* take() {
    T* const chain = head_;
    head_ = tail_ = nullptr;
    return chain;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
};

}  // namespace sidecar
