// Objects of one type in blocks that grow on demand and are never given back: after warm-up acquire()
// allocates nothing. Addresses are stable. A Handle names an object for as long as that object lives: once
// the cell was released (or released and acquired again) find() returns nullptr, so late completions,
// time-outs and cancels are harmless. Every operation is O(1) except for_each. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/types.h"

namespace sidecar {

template <class T>
class Pool {
 public:
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::uint32_t>::max() - 1;

  // acquire() returns nullptr when `capacity` objects are out: that is back-pressure, not an error.
  explicit Pool(std::size_t capacity = kUnlimited) : capacity_(capacity) { CHECK(capacity <= kUnlimited); }
  ~Pool() { CHECK(live_ == 0); }  // something still points into the pool
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Without arguments the object is default-initialised: large arrays in it are not cleared.
  template <class... Args>
  T* acquire(Args&&... args) {
    if (live_ == capacity_) return nullptr;
    if (free_ == kEnd) grow();
    Cell& cell = cell_at(free_);
    T* object;
    if constexpr (sizeof...(Args) == 0) {
      object = ::new (static_cast<void*>(cell.storage)) T;
    } else {
      object = ::new (static_cast<void*>(cell.storage)) T{std::forward<Args>(args)...};
    }
    free_ = cell.next_free;
    ++cell.generation;
    ++live_;
    return object;
  }

  // Destroys the object. Its handle finds nothing from before the destructor runs.
  void release(T* object) {
    Cell& cell = cell_of(object);
    CHECK(cell.live());  // released twice
    ++cell.generation;
    object->~T();
    cell.next_free = free_;
    free_ = cell.index;
    --live_;
  }

  [[nodiscard]] T* find(Handle handle) {
    if (handle.index >= blocks_.size() * kBlockCells) return nullptr;
    Cell& cell = cell_at(handle.index);
    return cell.live() && cell.generation == handle.generation ? cell.object() : nullptr;
  }

  [[nodiscard]] Handle handle_of(const T* object) const {
    const Cell& cell = cell_of(object);
    CHECK(cell.live());
    return {cell.index, cell.generation};
  }

  // The live object at an index, as an index table keeps it.
  [[nodiscard]] T* at(std::uint32_t index) {
    Cell& cell = cell_at(index);
    CHECK(cell.live());
    return cell.object();
  }

  // Visits every live object; `visit` may release the one it was given. Visits unused cells too: for shutdown
  // and listings, not for the data path.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::size_t index = 0; index < blocks_.size() * kBlockCells; ++index) {
      Cell& cell = cell_at(index);
      if (cell.live()) visit(*cell.object());
    }
  }

  // Allocates ahead, so that the first `count` objects need no more memory.
  void reserve(std::size_t count) {
    while (blocks_.size() * kBlockCells < count) grow();
  }

  [[nodiscard]] std::size_t size() const { return live_; }
  [[nodiscard]] bool empty() const { return live_ == 0; }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }

 private:
  static constexpr std::size_t kBlockCells = 64;
  static constexpr std::uint32_t kEnd = ~0u;

  struct Cell {
    alignas(T) std::byte storage[sizeof(T)];  // first, so that an object's address is its cell's
    std::uint32_t index;
    std::uint32_t generation;  // odd while an object lives here
    std::uint32_t next_free;
    [[nodiscard]] bool live() const { return (generation & 1) != 0; }
    [[nodiscard]] T* object() { return std::launder(reinterpret_cast<T*>(storage)); }
  };

  Cell& cell_at(std::size_t index) { return blocks_[index / kBlockCells][index % kBlockCells]; }

  const Cell& cell_of(const T* object) const {
    const auto* cell = reinterpret_cast<const Cell*>(object);
    CHECK(cell->index < blocks_.size() * kBlockCells);
    CHECK(cell == &blocks_[cell->index / kBlockCells][cell->index % kBlockCells]);  // not one of ours
    return *cell;
  }
  Cell& cell_of(T* object) { return const_cast<Cell&>(std::as_const(*this).cell_of(object)); }

  void grow() {
    const std::size_t first = blocks_.size() * kBlockCells;
    CHECK(first + kBlockCells <= kUnlimited);
    blocks_.push_back(std::make_unique_for_overwrite<Cell[]>(kBlockCells));
    // Backwards, so that cells are handed out in the order of their addresses.
    for (std::size_t i = kBlockCells; i-- > 0;) {
      Cell& cell = blocks_.back()[i];
      cell.index = static_cast<std::uint32_t>(first + i);
      cell.generation = 0;
      cell.next_free = free_;
      free_ = cell.index;
    }
  }

  std::vector<std::unique_ptr<Cell[]>> blocks_;
  std::uint32_t free_ = kEnd;  // last released, first reused: warm in the cache
  std::size_t live_ = 0;
  std::size_t capacity_;
};

}  // namespace sidecar
