// Deadlines in a binary heap. A timer is a node inside the object that waits; the heap stores pointers, so
// setting and cancelling are O(log n) and allocate only while the heap grows.
#pragma once

#include <utility>
#include <vector>

#include "core/check.h"
#include "core/types.h"

namespace sidecar {

struct TimerNode {
  TimeNs at = kNever;
  std::uint32_t position = ~0u;  // in the heap, ~0: not set
  std::uint32_t kind = 0;        // the owner's, to tell its timers apart
  void* object = nullptr;        // the owner's
  [[nodiscard]] bool set() const { return position != ~0u; }
  TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;
  ~TimerNode() { CHECK(!set()); }
};

class TimerHeap {
 public:
  ~TimerHeap() { CHECK(heap_.empty()); }

  // kNever cancels.
  void set(TimerNode& node, TimeNs at) {
    cancel(node);
    if (at == kNever) return;
    node.at = at;
    node.position = static_cast<std::uint32_t>(heap_.size());
    heap_.push_back(&node);
    up(node.position);
  }

  void cancel(TimerNode& node) {
    if (!node.set()) return;
    const std::uint32_t hole = std::exchange(node.position, ~0u);
    TimerNode* const last = heap_.back();
    heap_.pop_back();
    if (last == &node) return;
    put(hole, last);
    up(hole);
    down(last->position);
  }

  [[nodiscard]] TimeNs next() const { return heap_.empty() ? kNever : heap_.front()->at; }

  // Takes the earliest timer that is due, or nullptr.
  TimerNode* pop_due(TimeNs now) {
    if (heap_.empty() || heap_.front()->at > now) return nullptr;
    TimerNode* const node = heap_.front();
    cancel(*node);
    return node;
  }

 private:
  void put(std::uint32_t at, TimerNode* node) {
    heap_[at] = node;
    node->position = at;
  }
  void up(std::uint32_t at) {
    while (at > 0) {
      const std::uint32_t parent = (at - 1) / 2;
      if (heap_[parent]->at <= heap_[at]->at) return;
      swap(at, parent);
      at = parent;
    }
  }
  void down(std::uint32_t at) {
    for (;;) {
      std::uint32_t least = at;
      for (std::uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_.size(); ++child) {
        if (heap_[child]->at < heap_[least]->at) least = child;
      }
      if (least == at) return;
      swap(at, least);
      at = least;
    }
  }
  void swap(std::uint32_t a, std::uint32_t b) {
    TimerNode* const node = heap_[a];
    put(a, heap_[b]);
    put(b, node);
  }

  std::vector<TimerNode*> heap_;
};

}  // namespace sidecar
