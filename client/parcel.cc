#include "client/parcel.h"

#include <algorithm>
#include <utility>

#include "client/pack.h"
#include "core/check.h"
#include "core/log.h"

namespace sidecar::client_internal {
namespace {

ConstBytes bytes_at(const void* data, std::uint64_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

// Another member copies for this one.
bool sends_nothing(const Place& place) { return place.index != 0; }

// All of the tensor in C order: the caller's memory, or a packed copy.
Result<Parcel> whole(const Tensor& tensor, std::uint64_t bytes) {
  if (tensor.data == nullptr) return fail(Errc::kInvalidArgument, "data: null");
  if (tensor.strides.empty()) return Parcel{.bytes = bytes_at(tensor.data, bytes)};
  if (tensor.strides.size() != tensor.shape.size()) {
    return fail(Errc::kInvalidArgument, "strides: not as many as dimensions", kNoRank, tensor.strides.size(),
                tensor.shape.size());
  }
  if (is_contiguous(tensor.shape, tensor.strides)) return Parcel{.bytes = bytes_at(tensor.data, bytes)};
  LOG_WARN_LIMITED("a tensor that is not contiguous is copied before it is sent ({} bytes)", bytes);
  auto packed = std::make_shared<PrivateBytes>(bytes);
  pack(static_cast<const std::byte*>(tensor.data), dtype_bytes(tensor.dtype), tensor.shape, tensor.strides,
       packed->data());
  const ConstBytes at{packed->data(), bytes};
  return Parcel{.bytes = at, .owner = std::move(packed)};
}

}  // namespace

Place place_of(Rank rank, const Group& group, bool concurrent_copy) {
  const auto at = std::lower_bound(group.begin(), group.end(), rank);
  CHECK(at != group.end() && *at == rank);
  return {static_cast<std::uint16_t>(at - group.begin()), static_cast<std::uint16_t>(group.size()),
          concurrent_copy};
}

Share share_of(std::uint64_t bytes, const Place& place) {
  if (place.concurrent && place.members > 1 && bytes > 0) {
    return {.slice = shard_of(bytes, place.index, place.members), .sliced = true};
  }
  return {.slice = {0, bytes}, .nothing = sends_nothing(place)};
}

void mark(Parcel& parcel, const Share& share, const Place& place) {
  if (!share.sliced) return;
  parcel.shard = place.index;
  parcel.shards = place.members;
}

Result<Parcel> parcel_of(const Tensor& tensor, std::uint64_t bytes, const Place& place) {
  const Share share = share_of(bytes, place);
  if (share.nothing) return Parcel{.source = Source::kNothing};
  if (bytes == 0) return Parcel{.source = Source::kInline};
  const Slice& slice = share.slice;
  Result<Parcel> parcel = slice.bytes == 0 ? Parcel{} : whole(tensor, bytes);
  if (!parcel) return parcel;
  if (slice.bytes > 0) parcel->bytes = parcel->bytes.subspan(slice.begin, slice.bytes);
  mark(*parcel, share, place);
  return parcel;
}

Result<Parcel> parcel_of(const Object& object, const Place& place) {
  if (sends_nothing(place)) return Parcel{.source = Source::kNothing};
  if (object.data == nullptr && object.bytes > 0) return fail(Errc::kInvalidArgument, "data: null");
  return Parcel{.source = object.bytes <= kInlineBytesMax ? Source::kInline : Source::kPayload,
                .bytes = bytes_at(object.data, object.bytes)};
}

Parcel parcel_of(Buffer&& buffer, const Keeper& own, const Place& place) {
  const std::shared_ptr<Buffer::Content> content = std::exchange(buffer, Buffer()).content();
  if (sends_nothing(place)) return {.source = Source::kNothing};
  auto* const in_arena = dynamic_cast<SlotContent*>(content.get());
  if (in_arena != nullptr && in_arena->keeper.get() == &own) {
    in_arena->granted = false;  // the sidecar's from now on
    return {.source = Source::kSlot, .slot = in_arena->slot, .epoch = in_arena->epoch};
  }
  if (content->bytes == 0) return {.source = Source::kInline};
  // Private memory, or another client's.
  return {.bytes = {content->data, content->bytes}, .owner = content};
}

ConstBytes load(Parcel parcel, Send& send, Op& op) {
  send.source = parcel.source;
  send.shard = parcel.shard;
  send.shards = parcel.shards;
  op.payload_owner = std::move(parcel.owner);
  if (parcel.source == Source::kPayload) return parcel.bytes;
  if (parcel.source == Source::kInline) {
    send.inline_bytes = static_cast<std::uint32_t>(parcel.bytes.size());
    std::copy(parcel.bytes.begin(), parcel.bytes.end(), send.inline_data.begin());
  } else if (parcel.source == Source::kSlot) {
    send.slot = op.slot = parcel.slot;
    op.slot_epoch = parcel.epoch;
    op.has_slot = true;
  } else if (parcel.source == Source::kDevice) {
    send.device = parcel.device;
    op.read_by_sidecar = true;
  }
  return {};
}

}  // namespace sidecar::client_internal
