#include "am_protocol/decode_parts.h"

namespace sidecar {

Fault read_meta(const wire::Meta* in, ChunkMeta& out) {
  if (in == nullptr) return "meta: missing";
  if (!read_text(in->id(), out.id)) return "id: longer than 255 bytes";
  out.chunk = in->chunk();
  out.num_chunks = in->num_chunks();
  out.stream = in->stream();
  out.codec = in->codec();
  out.bytes = in->bytes();
  out.unit_bytes = in->unit_bytes();
  if (!read_enum(in->kind(), ChunkKind::kObject, out.kind)) return "kind: unknown";
  if (!read_enum(in->dtype(), Dtype::kF8E5M2, out.dtype)) return "dtype: unknown";
  const std::size_t dims = length(in->shape());
  if (dims > kDimsMax) return "shape: more than 16 dimensions";
  out.shape.dims = static_cast<std::uint8_t>(dims);
  copy_numbers(in->shape(), dims, out.shape.extent.data());
  return nullptr;
}

Fault read_peer_meta(const wire::Meta* in, ChunkMeta& out) {
  if (const Fault fault = read_meta(in, out)) return fault;
  const Status checked = check_meta(out);
  return checked ? nullptr : checked.error().what;
}

namespace {

template <std::size_t N>
[[nodiscard]] bool read_exactly(const OpaqueBytes* in, std::array<std::byte, N>& out) {
  if (length(in) != N) return false;
  std::memcpy(out.data(), in->data(), N);
  return true;
}

}  // namespace

Fault read_device(const wire::Device* in, DeviceSource& out) {
  if (in == nullptr) return "device: missing";
  out.offset = in->offset();
  out.has_event = in->event() != nullptr;
  if (!read_exactly(in->device(), out.device)) return "device.device: not 16 bytes";
  if (!read_exactly(in->memory(), out.memory)) return "device.memory: not 64 bytes";
  if (!out.has_event) {
    out.event.fill(std::byte{0});
    return nullptr;
  }
  return read_exactly(in->event(), out.event) ? nullptr : "device.event: not 64 bytes";
}

Fault read_arena(const wire::Arena* in, ArenaInfo& out) {
  if (in == nullptr) {
    out.instance = out.nonce = out.bytes = 0;
    out.path.assign({});
    return nullptr;
  }
  out.instance = in->instance();
  out.nonce = in->nonce();
  out.bytes = in->bytes();
  if (!read_text(in->path(), out.path)) return "arena.path: longer than 255 bytes";
  // It will be handed to open(), which would see a shorter one.
  if (out.path.view().find('\0') != std::string_view::npos) return "arena.path: holds a zero byte";
  return nullptr;
}

Fault read_destinations(const flatbuffers::Vector<std::uint16_t>* group_end,
                        const flatbuffers::Vector<std::int32_t>* ranks, Destinations& out) {
  const std::size_t groups = length(group_end);
  const std::size_t members = length(ranks);
  out.groups = 0;  // until all of it is known to be consistent
  if (groups > kDestinationsMax) return "group_end: more than 256 groups";
  if (members > kDestinationsMax) return "ranks: more than 256";
  std::uint16_t begin = 0;
  for (flatbuffers::uoffset_t g = 0; g < groups; ++g) {
    const std::uint16_t end = group_end->Get(g);
    if (end < begin) return "group_end: decreases";
    out.group_end[g] = begin = end;
  }
  if (begin != members) return "group_end: does not end with the last of ranks";
  copy_numbers(ranks, members, out.ranks.data());
  out.groups = static_cast<std::uint16_t>(groups);
  return nullptr;
}

Fault read_transfer(Sequence sequence, Sequence settled, Transfer& out) {
  out.sequence = sequence;
  out.settled = settled;
  if (sequence == 0) return "sequence: 0";
  return settled > sequence ? "settled: above sequence" : nullptr;
}

Fault read_inline(const OpaqueBytes* in, std::uint64_t meta_bytes, std::uint64_t payload_bytes,
                  std::uint32_t& count, std::array<std::byte, kInlineBytesMax>& out) {
  const std::size_t bytes = length(in);
  if (payload_bytes != 0) return "payload: the bytes are said to be inline";
  if (bytes > kInlineBytesMax) return "inline_data: longer than 1024 bytes";
  if (bytes != meta_bytes) return "inline_data: not as long as meta.bytes says";
  count = static_cast<std::uint32_t>(bytes);
  if (bytes > 0) std::memcpy(out.data(), in->data(), bytes);
  return nullptr;
}

Fault check_payload(const OpaqueBytes* in, std::uint64_t meta_bytes, std::uint64_t payload_bytes) {
  if (length(in) != 0) return "inline_data: the bytes are said to be elsewhere";
  return payload_bytes != meta_bytes ? "payload: not as long as meta.bytes says" : nullptr;
}

Fault check_no_bytes(const OpaqueBytes* in, std::uint64_t payload_bytes) {
  if (length(in) != 0) return "inline_data: the bytes are said to be elsewhere";
  return payload_bytes != 0 ? "payload: this message carries none" : nullptr;
}

}  // namespace sidecar
