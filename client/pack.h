// Strided tensors made contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sidecar::client_internal {

// Whether elements lie in C order without gaps. Strides in elements; dimensions of extent 1 do not matter.
bool is_contiguous(std::span<const std::uint64_t> shape, std::span<const std::int64_t> strides);

// Copies the elements of `from` (the address of element 0, 0, …) into `into` in C order. Strides may be
// negative or zero. `into` has room for all elements, whose number does not overflow.
void pack(const std::byte* from, std::size_t element_bytes, std::span<const std::uint64_t> shape,
          std::span<const std::int64_t> strides, std::byte* into);

}  // namespace sidecar::client_internal
