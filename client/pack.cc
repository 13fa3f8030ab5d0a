#include "client/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"
#include "core/limits.h"

namespace sidecar::client_internal {
namespace {

// One row of `count` elements, `step` bytes apart.
template <std::size_t kBytes>
void copy_row(const std::byte* from, std::ptrdiff_t step, std::uint64_t count, std::byte* into) {
  for (std::uint64_t i = 0; i < count; ++i, from += step, into += kBytes) std::memcpy(into, from, kBytes);
}

using RowCopy = void (*)(const std::byte*, std::ptrdiff_t, std::uint64_t, std::byte*);

RowCopy row_copy(std::size_t element_bytes) {
  switch (element_bytes) {
    case 1: return copy_row<1>;
    case 2: return copy_row<2>;
    case 4: return copy_row<4>;
    case 8: return copy_row<8>;
    case 16: return copy_row<16>;
  }
  CHECK(false);  // no dtype has such a size
  return nullptr;
}

}  // namespace

bool is_contiguous(std::span<const std::uint64_t> shape, std::span<const std::int64_t> strides) {
  std::uint64_t expected = 1;
  bool contiguous = true;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (shape[d] == 0) return true;
    if (shape[d] != 1 && strides[d] != static_cast<std::int64_t>(expected)) contiguous = false;
    expected *= shape[d];
  }
  return contiguous;
}

void pack(const std::byte* from, std::size_t element_bytes, std::span<const std::uint64_t> shape,
          std::span<const std::int64_t> strides, std::byte* into) {
  CHECK(shape.size() == strides.size() && shape.size() <= kDimsMax);
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) return;
  // Trailing dimensions that are contiguous are moved as one run.
  std::size_t dims = shape.size();
  std::uint64_t run = 1;
  while (dims > 0 && (shape[dims - 1] == 1 || strides[dims - 1] == static_cast<std::int64_t>(run))) {
    run *= shape[--dims];
  }
  const std::size_t run_bytes = run * element_bytes;
  // Without such a run the last dimension is the row; with one, each run is a row of its own.
  std::uint64_t row_count = 1;
  std::ptrdiff_t row_step = 0;
  if (run == 1 && dims > 0) {
    --dims;
    row_count = shape[dims];
    row_step = static_cast<std::ptrdiff_t>(strides[dims]) * static_cast<std::ptrdiff_t>(element_bytes);
  }
  const RowCopy copy = row_copy(element_bytes);
  std::array<std::uint64_t, kDimsMax> at{};
  for (;;) {
    if (run > 1) {
      std::memcpy(into, from, run_bytes);
      into += run_bytes;
    } else {
      copy(from, row_step, row_count, into);
      into += row_count * element_bytes;
    }
    std::size_t d = dims;
    for (; d > 0; --d) {  // the next row, like an odometer
      const std::ptrdiff_t step =
          static_cast<std::ptrdiff_t>(strides[d - 1]) * static_cast<std::ptrdiff_t>(element_bytes);
      from += step;
      if (++at[d - 1] < shape[d - 1]) break;
      from -= step * static_cast<std::ptrdiff_t>(shape[d - 1]);
      at[d - 1] = 0;
    }
    if (d == 0) return;
  }
}

}  // namespace sidecar::client_internal
