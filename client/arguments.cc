#include "client/arguments.h"

#include <algorithm>

#include "sidecar/future.h"

namespace sidecar::client_internal {

Failure failure_of(const Error& error) {
  Failure failure{error.code, error.rank, error.what};
  if (error.a != 0 || error.b != 0) {
    failure.message += " (" + std::to_string(error.a);
    if (error.b != 0) failure.message += ", " + std::to_string(error.b);
    failure.message += ")";
  }
  return failure;
}

Failure failure_of(const Reply& reply) {
  Failure failure{reply.code, reply.rank, std::string(reply.text.view())};
  for (std::size_t i = 0; i < reply.failures; ++i) {
    failure.failed.push_back({reply.failed_rank[i], reply.failed_code[i]});
  }
  return failure;
}

Failure complete(ClientOptions& options) {
  Group& group = options.group;
  std::sort(group.begin(), group.end());
  if (options.rank == kNoRank) options.rank = group.empty() ? 0 : group.front();
  if (options.rank < 0) return {Errc::kInvalidArgument, kNoRank, "rank: negative"};
  if (group.empty()) group = {options.rank};
  if (group.front() < 0) return {Errc::kInvalidArgument, kNoRank, "group: a negative rank"};
  if (group.size() > kDestinationsMax) {
    return {Errc::kInvalidArgument, kNoRank, "group: more than 256 ranks"};
  }
  const auto twice = std::adjacent_find(group.begin(), group.end());
  if (twice != group.end()) return {Errc::kInvalidArgument, *twice, "group: names a rank twice"};
  if (!std::binary_search(group.begin(), group.end(), options.rank)) {
    return {Errc::kInvalidArgument, options.rank, "group: does not contain the rank"};
  }
  return {Errc::kOk, kNoRank, ""};
}

Result<DataId> data_id_of(std::string_view id) {
  if (id.empty()) return fail(Errc::kInvalidArgument, "id: empty (1 to 255 bytes)");
  if (id.size() > kDataIdBytesMax) {
    return fail(Errc::kInvalidArgument, "id: too long (bytes, at most)", kNoRank, id.size(), kDataIdBytesMax);
  }
  return DataId(id);
}

Result<Destinations> destinations_of(const Groups& groups, const Group& own) {
  Destinations destinations;
  for (const Group& group : groups) {
    if (!destinations.add_group(group)) {
      return fail(Errc::kInvalidArgument, "destinations: too many ranks (at most)", kNoRank,
                  kDestinationsMax);
    }
  }
  const Status checked = check_destinations(destinations, kNoRank);
  if (!checked) return tl::unexpected(checked.error());
  for (const Group& group : groups) {
    const auto at = std::find_first_of(group.begin(), group.end(), own.begin(), own.end());
    if (at != group.end()) {
      return fail(Errc::kInvalidArgument, "destinations: a rank of the sender's own group", *at);
    }
  }
  return destinations;
}

Result<Shape> shape_of(const std::vector<std::uint64_t>& extents) {
  if (extents.size() > kDimsMax) {
    return fail(Errc::kInvalidArgument, "shape: more than 16 dimensions", kNoRank, extents.size());
  }
  Shape shape;
  shape.dims = static_cast<std::uint8_t>(extents.size());
  std::copy(extents.begin(), extents.end(), shape.extent.begin());
  return shape;
}

namespace {

Result<ChunkMeta> meta_of(std::string_view id, const Position& position, std::uint64_t unit_bytes) {
  const Result<DataId> data_id = data_id_of(id);
  if (!data_id) return tl::unexpected(data_id.error());
  ChunkMeta meta;
  meta.id = *data_id;
  meta.chunk = position.chunk;
  meta.num_chunks = position.stream ? 0 : position.num_chunks;
  meta.stream = position.stream;
  meta.unit_bytes = unit_bytes;
  return meta;
}

Result<ChunkMeta> checked(const ChunkMeta& meta) {
  const Status status = check_meta(meta);
  if (!status) return tl::unexpected(status.error());
  return meta;
}

}  // namespace

Result<ChunkMeta> tensor_meta(std::string_view id, const Position& position, Dtype dtype,
                              const std::vector<std::uint64_t>& shape, std::uint64_t unit_bytes) {
  Result<ChunkMeta> meta = meta_of(id, position, unit_bytes);
  if (!meta) return meta;
  if (static_cast<std::uint8_t>(dtype) >= kDtypeCount) return fail(Errc::kInvalidArgument, "dtype: unknown");
  const Result<Shape> extents = shape_of(shape);
  if (!extents) return tl::unexpected(extents.error());
  const Result<std::uint64_t> bytes = tensor_bytes(dtype, *extents);
  if (!bytes) return tl::unexpected(bytes.error());
  meta->kind = ChunkKind::kTensor;
  meta->dtype = dtype;
  meta->shape = *extents;
  meta->bytes = *bytes;
  return checked(*meta);
}

Result<ChunkMeta> object_meta(std::string_view id, const Position& position, const Object& object,
                              std::uint64_t unit_bytes) {
  Result<ChunkMeta> meta = meta_of(id, position, unit_bytes);
  if (!meta) return meta;
  meta->kind = ChunkKind::kObject;
  meta->codec = object.codec;
  meta->bytes = object.bytes;
  return checked(*meta);
}

std::uint64_t timeout_ns_of(std::chrono::nanoseconds deadline, std::chrono::nanoseconds fallback) {
  if (deadline.count() < 0) deadline = fallback;
  if (deadline == kForever) return kNever;
  return deadline.count() < 0 ? 0 : static_cast<std::uint64_t>(deadline.count());
}

}  // namespace sidecar::client_internal
