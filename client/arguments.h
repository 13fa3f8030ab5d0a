// From the public types to the domain's, with every check that needs no knowledge of what the sidecar holds.
// The sidecar checks as well: these only report mistakes early and without a round trip.
#pragma once

#include <chrono>
#include <string_view>

#include "core/messages.h"
#include "sidecar/data.h"
#include "sidecar/failure.h"
#include "sidecar/options.h"

namespace sidecar::client_internal {

Failure failure_of(const Error& error);
// What the sidecar answered; not for kOk.
Failure failure_of(const Reply& reply);

// Fills in rank and group as options.h says, and sorts the group. Not kOk: they contradict each other.
Failure complete(ClientOptions& options);

Result<DataId> data_id_of(std::string_view id);
// own: the ranks of the caller's group, none of which may be among the destinations.
Result<Destinations> destinations_of(const Groups& groups, const Group& own);
Result<Shape> shape_of(const std::vector<std::uint64_t>& extents);

// How the chunk sits in its datum.
struct Position {
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 1;
  bool stream = false;
};
Result<ChunkMeta> tensor_meta(std::string_view id, const Position& position, Dtype dtype,
                              const std::vector<std::uint64_t>& shape, std::uint64_t unit_bytes);
Result<ChunkMeta> object_meta(std::string_view id, const Position& position, const Object& object,
                              std::uint64_t unit_bytes);

// Nanoseconds for the wire: kForever becomes kNever, a negative one (kDefaultDeadline) the fallback.
std::uint64_t timeout_ns_of(std::chrono::nanoseconds deadline, std::chrono::nanoseconds fallback);

}  // namespace sidecar::client_internal
