// What one call of Client::send brings to the sidecar, worked out before it starts: all of the chunk, a slice
// of it, or nothing, depending on the caller's place in its group. No I/O; any thread. Tensors in GPU memory:
// client/gpu_parcel.h.
#pragma once

#include <cstdint>
#include <memory>

#include "client/op.h"
#include "core/messages.h"
#include "sidecar/data.h"

namespace sidecar::client_internal {

// A client among the members of its group.
struct Place {
  std::uint16_t index = 0;  // of its rank among the sorted ranks
  std::uint16_t members = 1;
  bool concurrent = false;  // ClientOptions::concurrent_copy
};
// `group` is sorted and contains `rank`.
Place place_of(Rank rank, const Group& group, bool concurrent_copy);

// What the call of a member at that place brings of a tensor.
struct Share {
  Slice slice{};
  bool sliced = false;
  bool nothing = false;  // another member's call brings all of it
};
Share share_of(std::uint64_t bytes, const Place& place);

struct Parcel {
  Source source = Source::kPayload;
  std::uint16_t shard = 0;
  std::uint16_t shards = 0;
  ConstBytes bytes{};                   // inline or payload
  std::shared_ptr<const void> owner{};  // of `bytes`, when they are not the caller's
  std::uint64_t slot = 0;               // kSlot
  Epoch epoch = 0;                      // and of which connection
  DeviceSource device{};                // kDevice
};

// Says in the parcel which slice it is.
void mark(Parcel& parcel, const Share& share, const Place& place);

// Fail with kInvalidArgument naming the field. Memory that this call does not read is not looked at.
// `bytes`: of the whole tensor, as dtype and shape say.
Result<Parcel> parcel_of(const Tensor& tensor, std::uint64_t bytes, const Place& place);
Result<Parcel> parcel_of(const Object& object, const Place& place);
// Takes a valid buffer. One of the first member goes whole; another member's is given back at once. `own`:
// the client that sends it.
Parcel parcel_of(Buffer&& buffer, const Keeper& own, const Place& place);

// Puts it into the message and the call. Returns the payload, which the call keeps alive if it is not the
// caller's.
ConstBytes load(Parcel parcel, Send& send, Op& op);

}  // namespace sidecar::client_internal
