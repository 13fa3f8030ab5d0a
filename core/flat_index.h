// An open-addressing table from a 64-bit hash to a 32-bit value (an index into a pool or ring that holds the
// key). The owner compares keys, so nothing is stored twice, and no lookup or insertion allocates until the
// table must grow.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "core/check.h"

namespace sidecar {

class FlatIndex {
 public:
  static constexpr std::uint32_t kNone = ~0u;

  FlatIndex() = default;
  // Room for `count` values without growing; the memory is not touched before it is used.
  explicit FlatIndex(std::size_t count) {
    std::size_t cells = 64;
    while (cells * 7 < count * 10) cells *= 2;
    resize(cells);
  }

  // The first value under this hash for which equal(value) holds, or kNone.
  template <class Equal>
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, Equal&& equal) const {
    const std::size_t at = locate(hash, equal);
    return at == kNowhere ? kNone : cells_[at].value_plus_1 - 1;
  }

  void insert(std::uint64_t hash, std::uint32_t value) {
    if (size_ * 10 >= count_ * 7) grow();
    place(hash, value);
    ++size_;
  }

  template <class Equal>
  bool erase(std::uint64_t hash, Equal&& equal) {
    std::size_t hole = locate(hash, equal);
    if (hole == kNowhere) return false;
    // Backward shift: later cells of the same run move up, so no grave markers pile up.
    for (std::size_t next = (hole + 1) & mask(); cells_[next].value_plus_1 != 0; next = (next + 1) & mask()) {
      const std::size_t home = cells_[next].hash & mask();
      if (((next - home) & mask()) >= ((next - hole) & mask())) {
        cells_[hole] = cells_[next];
        hole = next;
      }
    }
    cells_[hole] = Cell{};
    --size_;
    return true;
  }

  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Cell {  // all zero: empty, so that fresh pages need no initialisation
    std::uint32_t hash = 0;
    std::uint32_t value_plus_1 = 0;
  };
  struct Free {
    void operator()(void* cells) const { std::free(cells); }
  };
  static constexpr std::size_t kNowhere = ~std::size_t{0};

  [[nodiscard]] std::size_t mask() const { return count_ - 1; }

  template <class Equal>
  [[nodiscard]] std::size_t locate(std::uint64_t hash, Equal&& equal) const {
    if (size_ == 0) return kNowhere;
    const auto short_hash = static_cast<std::uint32_t>(hash);
    for (std::size_t at = short_hash & mask(); cells_[at].value_plus_1 != 0; at = (at + 1) & mask()) {
      if (cells_[at].hash == short_hash && equal(cells_[at].value_plus_1 - 1)) return at;
    }
    return kNowhere;
  }

  void place(std::uint64_t hash, std::uint32_t value) {
    const auto short_hash = static_cast<std::uint32_t>(hash);
    std::size_t at = short_hash & mask();
    while (cells_[at].value_plus_1 != 0) at = (at + 1) & mask();
    cells_[at] = Cell{short_hash, value + 1};
  }

  void resize(std::size_t count) {
    CHECK(count <= (std::size_t{1} << 32));
    auto* const fresh = static_cast<Cell*>(std::calloc(count, sizeof(Cell)));
    CHECK(fresh != nullptr);
    cells_.reset(fresh);
    count_ = count;
  }

  void grow() {
    const std::size_t old_count = count_;
    const std::unique_ptr<Cell[], Free> old = std::move(cells_);
    resize(old_count == 0 ? 64 : old_count * 2);
    for (std::size_t i = 0; i < old_count; ++i) {
      if (old[i].value_plus_1 != 0) place(old[i].hash, old[i].value_plus_1 - 1);
    }
  }

  std::unique_ptr<Cell[], Free> cells_;
  std::size_t count_ = 0;  // of cells, a power of two
  std::size_t size_ = 0;   // of values
};

}  // namespace sidecar
