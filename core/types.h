// The domain's nouns as types. Plain values, no allocation, cheap to copy.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>

#include "core/dtype.h"
#include "core/limits.h"
#include "core/result.h"

namespace sidecar {

using Rank = std::int32_t;         // names a sidecar, >= 0
using InstanceId = std::uint64_t;  // random per process start, never 0: a restarted rank is a new instance
using ChunkIndex = std::uint32_t;  // 0 .. num_chunks-1
using RequestId = std::uint64_t;   // chosen by a client, unique on its connection
using Sequence = std::uint64_t;    // one transfer from one sidecar instance to one peer, from 1, no gaps
using TimeNs = std::uint64_t;      // monotonic
using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

inline constexpr TimeNs kNever = ~TimeNs{0};
inline constexpr TimeNs kMillisecond = 1'000'000;
inline constexpr TimeNs kSecond = 1'000'000'000;

// Text of bounded length, stored in place.
template <std::size_t N>
class FixedText {
  static_assert(N <= 255);

 public:
  FixedText() = default;
  // Keeps the first N bytes; callers that must not lose bytes check the length before.
  explicit FixedText(std::string_view text) { assign(text); }
  void assign(std::string_view text) {
    size_ = static_cast<std::uint8_t>(std::min(text.size(), N));
    if (size_ > 0) std::memcpy(bytes_.data(), text.data(), size_);
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.data(), size_}; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  FixedText(const FixedText& other) { assign(other.view()); }
  FixedText& operator=(const FixedText& other) {
    if (this != &other) assign(other.view());
    return *this;
  }
  friend bool operator==(const FixedText& a, const FixedText& b) { return a.view() == b.view(); }

 private:
  std::uint8_t size_ = 0;
  std::array<char, N> bytes_;  // only the first size_ bytes are defined
};

using DataId = FixedText<kDataIdBytesMax>;  // 1 to 255 bytes, any bytes
using Name = FixedText<kNameBytesMax>;      // node names, arena paths
using Text = FixedText<kTextBytesMax>;      // error text on the wire

struct Shape {
  std::uint8_t dims = 0;  // 0: a scalar, one element
  std::array<std::uint64_t, kDimsMax> extent{};
  [[nodiscard]] std::span<const std::uint64_t> span() const { return {extent.data(), dims}; }
  friend bool operator==(const Shape& a, const Shape& b) {
    return a.dims == b.dims && std::equal(a.extent.begin(), a.extent.begin() + a.dims, b.extent.begin());
  }
};

enum class ChunkKind : std::uint8_t { kTensor = 0, kObject = 1 };

// What a chunk is, apart from its bytes and from where it goes.
struct ChunkMeta {
  DataId id;
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 0;  // 0 in a stream: told by CloseStream
  bool stream = false;
  ChunkKind kind = ChunkKind::kTensor;
  Dtype dtype = Dtype::kU8;
  std::uint32_t codec = 0;  // objects: what the bytes are; the service never looks
  Shape shape;              // tensors
  std::uint64_t bytes = 0;  // of the chunk
  std::uint64_t unit_bytes =
      0;  // the producer's hint (bytes of one unit), serves as hint where none is registered
};

// Element count times dtype size, or kInvalidArgument when the product overflows.
Result<std::uint64_t> tensor_bytes(Dtype dtype, const Shape& shape);

// Part of a chunk's bytes.
struct Slice {
  std::uint64_t begin = 0;
  std::uint64_t bytes = 0;
};

// What member `shard` of `shards` copies of a chunk: equal slices, cut at multiples of 64 bytes. The last
// ones of a small chunk are empty.
Slice shard_of(std::uint64_t bytes, std::uint32_t shard, std::uint32_t shards);

// Everything in `meta` that can be checked without knowing who holds what; the text names the field.
Status check_meta(const ChunkMeta& meta);

// The groups of a broadcast, flattened: group g is ranks[group_end[g-1] .. group_end[g]).
struct Destinations {
  std::uint16_t groups = 0;
  std::array<std::uint16_t, kDestinationsMax> group_end{};
  std::array<Rank, kDestinationsMax> ranks{};
  [[nodiscard]] std::span<const Rank> group(std::size_t g) const {
    const std::size_t begin = g == 0 ? 0 : group_end[g - 1];
    return {ranks.data() + begin, group_end[g] - begin};
  }
  // The smallest rank: it holds the group's data.
  [[nodiscard]] Rank leader(std::size_t g) const { return *std::ranges::min_element(group(g)); }
  // False when there is no room left.
  bool add_group(std::span<const Rank> members);
};

// Refused: no group, an empty group, a negative rank, `self` among the ranks, two groups with one leader.
Status check_destinations(const Destinations& destinations, Rank self);

// Names an entry of a Pool for as long as that entry lives; a stale handle finds nothing.
struct Handle {
  std::uint32_t index = ~0u;
  std::uint32_t generation = 0;
  [[nodiscard]] bool valid() const { return index != ~0u; }
  [[nodiscard]] std::uint64_t pack() const { return (std::uint64_t{generation} << 32) | index; }
  static Handle unpack(std::uint64_t v) {
    return {static_cast<std::uint32_t>(v), static_cast<std::uint32_t>(v >> 32)};
  }
  friend bool operator==(const Handle&, const Handle&) = default;
};

}  // namespace sidecar
