// Between a client and its sidecar.
#include "am_protocol/decode_body.h"

namespace sidecar {
namespace {

Fault read_failures(const wire::Reply& in, Reply& out) {
  const std::size_t failures = length(in.failed_rank());
  out.failures = 0;
  if (failures > kDestinationsMax) return "failed_rank: more than 256";
  if (length(in.failed_code()) != failures) return "failed_code: not as many as failed_rank";
  copy_numbers(in.failed_rank(), failures, out.failed_rank.data());
  copy_numbers(in.failed_code(), failures, out.failed_code.data());
  for (std::size_t i = 0; i < failures; ++i) {
    if (out.failed_code[i] > Errc::kInternal) return "failed_code: unknown";
  }
  out.failures = static_cast<std::uint16_t>(failures);
  return nullptr;
}

// What the client will build a view on: the id, and as many bytes as dtype and shape say.
Fault read_reply_meta(const wire::Meta* in, ChunkMeta& out) {
  if (in == nullptr) {
    out = ChunkMeta{};
    return nullptr;
  }
  if (const Fault fault = read_meta(in, out)) return fault;
  if (out.id.empty()) return "id: empty (1 to 255 bytes)";
  if (out.kind == ChunkKind::kObject) return nullptr;
  const Result<std::uint64_t> bytes = tensor_bytes(out.dtype, out.shape);
  if (!bytes) return bytes.error().what;
  return *bytes != out.bytes ? "bytes: do not agree with dtype and shape" : nullptr;
}

Fault check_view(const Reply& reply) {
  if (overflows(reply.offset, reply.meta.bytes)) return "offset: offset and bytes overflow";
  if (reply.arena.bytes != 0 && reply.offset + reply.meta.bytes > reply.arena.bytes) {
    return "offset: offset and bytes reach beyond the arena";
  }
  return nullptr;
}

// Whether the call may bring a shard at all.
Fault check_shard(const Send& send) {
  if (send.shards == 0) return send.shard == 0 ? nullptr : "shard: of no shards";
  if (send.shards > kDestinationsMax) return "shards: more than 256";
  if (send.shard >= send.shards) return "shard: not below shards";
  if (send.source != Source::kPayload && send.source != Source::kDevice && send.source != Source::kFill) {
    return "shards: only of a payload, of GPU memory, or of what is filled in";
  }
  if (send.meta.kind != ChunkKind::kTensor) return "shards: only of a tensor";
  return send.meta.bytes == 0 ? "shards: of no bytes" : nullptr;
}

Fault read_source(const wire::Send& in, std::uint64_t payload, Send& out) {
  switch (out.source) {
    case Source::kInline:
      return read_inline(in.inline_data(), out.meta.bytes, payload, out.inline_bytes, out.inline_data);
    case Source::kPayload: {
      const std::uint64_t bytes =
          out.shards == 0 ? out.meta.bytes : shard_of(out.meta.bytes, out.shard, out.shards).bytes;
      return check_payload(in.inline_data(), bytes, payload);
    }
    case Source::kNothing:
      if (out.slot != 0) return "slot: nothing is sent";
      return check_no_bytes(in.inline_data(), payload);
    case Source::kFill:
    case Source::kSlot:
    case Source::kDevice: return check_no_bytes(in.inline_data(), payload);
  }
  return nullptr;
}

}  // namespace

// --- client to sidecar ---

Fault read(const wire::Send& in, std::uint64_t payload, Send& out) {
  out.request = in.request();
  out.slot = in.slot();
  out.timeout_ns = in.timeout_ns();
  out.inline_bytes = 0;
  out.shard = in.shard();
  out.shards = in.shards();
  out.device = DeviceSource{};
  if (const Fault fault = read_meta(in.meta(), out.meta)) return fault;
  if (const Fault fault = read_destinations(in.group_end(), in.ranks(), out.destinations)) return fault;
  if (!read_enum(in.source(), Source::kFill, out.source)) return "source: unknown";
  if (const Fault fault = check_shard(out)) return fault;
  if (out.source == Source::kDevice) {
    if (const Fault fault = read_device(in.device(), out.device)) return fault;
  } else if (in.device() != nullptr) {
    return "device: the bytes are said to be elsewhere";
  }
  return read_source(in, payload, out);
}

Fault read(const wire::Recv& in, std::uint64_t, Recv& out) {
  out.request = in.request();
  out.chunk = in.chunk();
  out.timeout_ns = in.timeout_ns();
  out.by_value = in.by_value();
  return read_id(in.id(), out.id);
}

Fault read(const wire::Cancel& in, std::uint64_t, Cancel& out) {
  out.target = in.target();
  return nullptr;
}

Fault read(const wire::Allocate& in, std::uint64_t, Allocate& out) {
  out.request = in.request();
  out.bytes = in.bytes();
  out.unit_bytes = in.unit_bytes();
  out.timeout_ns = in.timeout_ns();
  return nullptr;
}

Fault read(const wire::Release& in, std::uint64_t, Release& out) {
  const std::size_t views = length(in.view());
  const std::size_t slots = length(in.slot());
  out.views = out.slots = 0;
  if (views > kReleasesMax) return "view: more than 128";
  if (length(in.count()) != views) return "count: not as many as view";
  if (slots > kReleasesMax) return "slot: more than 128";
  out.views = static_cast<std::uint16_t>(views);
  out.slots = static_cast<std::uint16_t>(slots);
  copy_numbers(in.view(), views, out.view.data());
  copy_numbers(in.count(), views, out.count.data());
  copy_numbers(in.slot(), slots, out.slot.data());
  return nullptr;
}

Fault read(const wire::Filled& in, std::uint64_t, Filled& out) {
  out.slot = in.slot();
  return nullptr;
}

Fault read(const wire::MarkDone& in, std::uint64_t, MarkDone& out) {
  out.request = in.request();
  out.chunk = in.chunk();
  return read_id(in.id(), out.id);
}

Fault read(const wire::CloseStream& in, std::uint64_t, CloseStream& out) {
  out.request = in.request();
  out.num_chunks = in.num_chunks();
  out.timeout_ns = in.timeout_ns();
  if (const Fault fault = read_id(in.id(), out.id)) return fault;
  return read_destinations(in.group_end(), in.ranks(), out.destinations);
}

// --- sidecar to client ---

Fault read(const wire::Reply& in, std::uint64_t payload, Reply& out) {
  out.request = in.request();
  out.rank = in.rank();
  out.offset = in.offset();
  out.view = in.view();
  out.inline_bytes = 0;
  if (!read_enum(in.stage(), Stage::kRoom, out.stage)) return "stage: unknown";
  if (!read_enum(in.code(), Errc::kInternal, out.code)) return "code: unknown";
  if (!read_text(in.text(), out.text)) return "text: longer than 200 bytes";
  if (const Fault fault = read_failures(in, out)) return fault;
  if (!read_enum(in.where(), Where::kPayload, out.where)) return "where: unknown";
  if (const Fault fault = read_reply_meta(in.meta(), out.meta)) return fault;
  if (const Fault fault = read_arena(in.arena(), out.arena)) return fault;
  switch (out.where) {
    case Where::kNothing: return check_no_bytes(in.inline_data(), payload);
    case Where::kArena:
      if (const Fault fault = check_view(out)) return fault;
      return check_no_bytes(in.inline_data(), payload);
    case Where::kInline:
      if (in.meta() == nullptr) return "meta: missing";
      return read_inline(in.inline_data(), out.meta.bytes, payload, out.inline_bytes, out.inline_data);
    case Where::kPayload:
      if (in.meta() == nullptr) return "meta: missing";
      return check_payload(in.inline_data(), out.meta.bytes, payload);
  }
  return nullptr;
}

}  // namespace sidecar
