#include "core/types.h"

namespace sidecar {

const char* dtype_name(Dtype dtype) {
  constexpr std::array<const char*, kDtypeCount> kNames{
      "bool",    "uint8",     "int8",       "uint16",      "int16",      "uint32",
      "int32",   "uint64",    "int64",      "float16",     "bfloat16",   "float32",
      "float64", "complex64", "complex128", "float8_e4m3", "float8_e5m2"};
  return kNames[static_cast<std::uint8_t>(dtype)];
}

Result<std::uint64_t> tensor_bytes(Dtype dtype, const Shape& shape) {
  std::uint64_t bytes = dtype_bytes(dtype);
  bool empty = false;
  for (const std::uint64_t extent : shape.span()) {
    if (extent == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      return fail(Errc::kInvalidArgument, "shape: the element count overflows");
    }
  }
  return empty ? 0 : bytes;
}

Slice shard_of(std::uint64_t bytes, std::uint32_t shard, std::uint32_t shards) {
  const std::uint64_t units = (bytes + kSlotAlign - 1) / kSlotAlign;
  const std::uint64_t each = (units + shards - 1) / shards * kSlotAlign;
  const std::uint64_t begin = std::min(bytes, shard * each);
  return {begin, std::min(each, bytes - begin)};
}

Status check_meta(const ChunkMeta& meta) {
  if (meta.id.empty()) return fail(Errc::kInvalidArgument, "id: empty (1 to 255 bytes)");
  if (meta.stream) {
    if (meta.num_chunks != 0) return fail(Errc::kInvalidArgument, "num_chunks: given for a stream");
  } else {
    if (meta.num_chunks == 0) return fail(Errc::kInvalidArgument, "num_chunks: 0 without stream");
    if (meta.chunk >= meta.num_chunks) {
      return fail(Errc::kInvalidArgument, "chunk_id: not below num_chunks", kNoRank, meta.chunk,
                  meta.num_chunks);
    }
  }
  if (meta.chunk == ~ChunkIndex{0}) return fail(Errc::kInvalidArgument, "chunk_id: too large");
  if (meta.kind == ChunkKind::kTensor) {
    if (static_cast<std::uint8_t>(meta.dtype) >= kDtypeCount)
      return fail(Errc::kInvalidArgument, "dtype: unknown");
    if (meta.shape.dims > kDimsMax) return fail(Errc::kInvalidArgument, "shape: more than 16 dimensions");
    const auto bytes = tensor_bytes(meta.dtype, meta.shape);
    if (!bytes) return tl::unexpected(bytes.error());
    if (*bytes != meta.bytes) {
      return fail(Errc::kInvalidArgument, "bytes: do not agree with dtype and shape", kNoRank, meta.bytes,
                  *bytes);
    }
  }
  return {};
}

bool Destinations::add_group(std::span<const Rank> members) {
  const std::size_t begin = groups == 0 ? 0 : group_end[groups - 1];
  if (groups == kDestinationsMax || begin + members.size() > kDestinationsMax) return false;
  std::ranges::copy(members, ranks.begin() + static_cast<std::ptrdiff_t>(begin));
  group_end[groups++] = static_cast<std::uint16_t>(begin + members.size());
  return true;
}

Status check_destinations(const Destinations& destinations, Rank self) {
  if (destinations.groups == 0) return fail(Errc::kInvalidArgument, "destinations: none given");
  for (std::size_t g = 0; g < destinations.groups; ++g) {
    if (destinations.group(g).empty()) return fail(Errc::kInvalidArgument, "destinations: an empty group");
    for (const Rank rank : destinations.group(g)) {
      if (rank < 0) return fail(Errc::kInvalidArgument, "destinations: a negative rank", rank);
      if (rank == self) return fail(Errc::kInvalidArgument, "destinations: the sender's own rank", rank);
    }
  }
  // Overlapping groups are fine as long as each has a leader of its own.
  std::array<Rank, kDestinationsMax> leaders;
  for (std::size_t g = 0; g < destinations.groups; ++g) leaders[g] = destinations.leader(g);
  auto* const end = leaders.data() + destinations.groups;
  std::sort(leaders.data(), end);
  const auto* twice = std::adjacent_find(leaders.data(), end);
  if (twice != end) return fail(Errc::kInvalidArgument, "destinations: two groups with one leader", *twice);
  return {};
}

}  // namespace sidecar
