// What a simulated client sends: from its memory, from an allocation, from a GPU; whole or its group's shard.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/sim/client.h"
#include "tests/sim/device.h"

namespace sidecar::sim {

RequestId SimClient::send(const SendSpec& spec) {
  const ChunkName name{spec.id, spec.chunk};
  const RequestId request = open(&name);
  const std::uint64_t salt = spec.salt != 0 ? spec.salt : new_salt(spec);
  Send message;
  message.request = request;
  message.meta.id.assign(spec.id);
  message.meta.chunk = spec.chunk;
  message.meta.num_chunks = spec.stream ? 0 : spec.num_chunks;
  message.meta.stream = spec.stream;
  message.meta.kind = spec.kind;
  message.meta.dtype = spec.dtype;
  message.meta.codec = spec.codec;
  message.meta.bytes = spec.bytes;
  message.meta.unit_bytes = spec.unit_bytes;
  const std::vector<std::uint64_t> shape =
      spec.shape.empty() ? std::vector{spec.bytes / dtype_bytes(spec.dtype)} : spec.shape;
  if (spec.kind == ChunkKind::kTensor) {
    message.meta.shape.dims = static_cast<std::uint8_t>(shape.size());
    std::ranges::copy(shape, message.meta.shape.extent.begin());
  }
  message.destinations = destinations(spec.to);
  message.timeout_ns = spec.timeout;
  message.source = spec.source;
  if (spec.together) {
    message.shards = static_cast<std::uint16_t>(spec_.group.size());
    const auto member = spec_.member == kNoRank ? spec_.rank : spec_.member;
    message.shard = static_cast<std::uint16_t>(std::ranges::find(spec_.group, member) - spec_.group.begin());
  }
  if (spec.source == Source::kNothing) {
    transport().send(link_, message, {}, false, 0);
  } else if (spec.source == Source::kDevice) {
    send_from_gpu(spec, message, salt);
  } else if (spec.source == Source::kSlot) {
    message.slot = spec.slot;
    // The client writes before it sends; after that it may not.
    if (home_ != nullptr && slots_.contains(spec.slot) && spec.bytes <= slots_.at(spec.slot)) {
      fill(home_->bytes.subspan(spec.slot, spec.bytes), name, salt);
    }
    slots_.erase(spec.slot);
    transport().send(link_, message, {}, false, 0);
  } else if (spec.source == Source::kFill) {
    filling_[request] = {name, message, salt, 0, spec.fills};
    transport().send(link_, message, {}, false, 0);
  } else if (spec.kind == ChunkKind::kObject && spec.bytes <= kInlineBytesMax) {
    message.source = Source::kInline;
    message.inline_bytes = static_cast<std::uint32_t>(spec.bytes);
    fill({message.inline_data.data(), spec.bytes}, name, salt);
    transport().send(link_, message, {}, false, 0);
  } else {
    send_payload(spec, message, salt);
  }
  return request;
}

void SimClient::send_payload(const SendSpec& spec, const Send& message, std::uint64_t salt) {
  std::vector<std::byte> bytes(spec.bytes);
  fill(bytes, {spec.id, spec.chunk}, salt);
  if (message.shards > 0) {
    const Slice slice = shard_of(spec.bytes, message.shard, message.shards);
    bytes = {bytes.begin() + static_cast<std::ptrdiff_t>(slice.begin),
             bytes.begin() + static_cast<std::ptrdiff_t>(slice.begin + slice.bytes)};
  }
  if (bytes.empty()) {
    transport().send(link_, message, {}, false, 0);
    return;
  }
  const Token token = ++last_token_;
  Payload& payload = sending_[token];
  payload.bytes = std::move(bytes);
  const std::uint64_t size = payload.bytes.size();
  const bool eager =
      spec.eager && size <= kEagerBytesMax && eager_sent_ + size - eager_consumed_ <= kEagerWindowBytes;
  if (eager) eager_sent_ += size;
  transport().send(link_, message, payload.bytes, !eager, token);
}

void SimClient::on_room(const Reply& reply) {
  ASSERT_EQ(reply.where, Where::kArena);
  if (!filling_.contains(reply.request)) return;  // cancelled
  Filling& filling = filling_.at(reply.request);
  filling.offset = reply.offset;
  if (filling.at_once) fill_room(reply.request);
}

void SimClient::write_room(RequestId request) {
  const Filling& filling = filling_.at(request);
  const Send& message = filling.message;
  std::vector<std::byte> bytes(message.meta.bytes);
  sim::fill(bytes, filling.name, filling.salt);
  const Slice slice =
      message.shards > 0 ? shard_of(bytes.size(), message.shard, message.shards) : Slice{0, bytes.size()};
  ASSERT_NE(home_, nullptr);
  ASSERT_LE(filling.offset + bytes.size(), home_->bytes.size());
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(slice.begin), slice.bytes,
              home_->bytes.begin() + static_cast<std::ptrdiff_t>(filling.offset + slice.begin));
}

void SimClient::fill_room(RequestId request) {
  write_room(request);
  transport().send(link_, Filled{filling_.at(request).offset}, {}, false, 0);
  filling_.erase(request);
}

// Each send from an allocation of its own, which stays: what becomes of it after the send is over would tell
// of copies that come too late, and that is the real device's tests' business.
void SimClient::send_from_gpu(const SendSpec& spec, Send& message, std::uint64_t salt) {
  const std::uint64_t name = world().new_id();
  GpuMemory& memory = world().gpu_memories()[name];
  memory.owner = this;
  memory.bytes.resize(spec.bytes);
  fill(memory.bytes, {spec.id, spec.chunk}, salt);
  message.device =
      device_source(name, message.shards > 0 ? shard_of(spec.bytes, message.shard, message.shards).begin : 0);
  transport().send(link_, message, {}, false, 0);
}

}  // namespace sidecar::sim
