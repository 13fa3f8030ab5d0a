// The .npy file format (versions 1 to 3): a short header, then the elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sidecar/failure.h"

namespace sidecar::npy {

inline constexpr std::string_view kMagic = "\x93NUMPY";
inline constexpr std::size_t kPreambleBytes = 12;        // the longest that comes before the header's text
inline constexpr std::size_t kHeaderBytesMax = 1 << 20;  // longer ones are refused

struct Header {
  Dtype dtype = Dtype::kU8;
  std::vector<std::uint64_t> shape{};  // empty: one element
};

// Whether a file that begins like this is (or claims to be) one. Needs the first 6 bytes.
bool is_npy(std::span<const std::byte> start);

// Where the elements begin, from the first kPreambleBytes of a file (fewer when the file is that short).
Expected<std::size_t> data_offset(std::span<const std::byte> start);

// `head` is the file up to data_offset(). Refused: other byte orders, structured and object elements, and
// Fortran order, whose elements do not lie in the order in which they are sent.
Expected<Header> parse(std::span<const std::byte> head);

// The header as numpy writes it, padded to a multiple of 64 bytes and to at least `pad_to`: a header whose
// shape is only known at the end can be written over an earlier one. bfloat16 and the 8-bit floats, which
// numpy lacks, become opaque elements of the same size (V2, V1), as ml_dtypes writes them.
std::string format(const Header& header, std::size_t pad_to = 0);

}  // namespace sidecar::npy
