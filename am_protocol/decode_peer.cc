// Between two sidecars, and what both kinds of connection share.
#include "am_protocol/decode_body.h"

namespace sidecar {

// --- both connections ---

Fault read(const wire::Hello& in, std::uint64_t, Hello& out) {
  out.version_min = in.version_min();
  out.version_max = in.version_max();
  out.bulk = in.bulk();
  out.link = in.link();
  out.rank = in.rank();
  out.instance = in.instance();
  out.to_instance = in.to_instance();
  out.pid = in.pid();
  out.open = {in.open_at(), in.open_mark()};
  if (out.version_min == 0 || out.version_min > out.version_max) return "version_min: 0 or above version_max";
  if (!read_enum(in.role(), Role::kPeer, out.role)) return "role: unknown";
  if (out.rank < kNoRank || (out.role == Role::kPeer && out.rank < 0)) return "rank: negative";
  if (out.role == Role::kPeer && out.instance == 0) return "instance: 0";
  if (!read_text(in.node(), out.node)) return "node: longer than 255 bytes";
  if (!read_text(in.ticket(), out.ticket)) return "ticket: longer than 64 bytes";
  return read_arena(in.arena(), out.arena);
}

Fault read(const wire::HelloAck& in, std::uint64_t, HelloAck& out) {
  out.version = in.version();
  out.rank = in.rank();
  out.instance = in.instance();
  out.pid = in.pid();
  out.open = {in.open_at(), in.open_mark()};
  out.mapped = in.mapped();
  if (!read_enum(in.code(), Errc::kInternal, out.code)) return "code: unknown";
  if (!read_text(in.text(), out.text)) return "text: longer than 200 bytes";
  if (out.rank < kNoRank) return "rank: negative";
  if (!read_text(in.node(), out.node)) return "node: longer than 255 bytes";
  return read_arena(in.arena(), out.arena);
}

Fault read(const wire::Goodbye& in, std::uint64_t, Goodbye& out) {
  out.final = in.final();
  return nullptr;
}

Fault read(const wire::Ping& in, std::uint64_t, Ping& out) {
  out.value = in.value();
  out.answer = in.answer();
  return nullptr;
}

Fault read(const wire::Credit& in, std::uint64_t, Credit& out) {
  out.consumed = in.consumed();
  out.resume = in.resume();
  return nullptr;
}

// --- sidecar to sidecar ---

namespace {

Fault check_part(const Chunk& chunk) {
  if (chunk.part_bytes == 0) return chunk.part_begin == 0 ? nullptr : "part_begin: of no part";
  if (chunk.is_inline) return "is_inline: a part has a payload";
  if (chunk.part_begin >= chunk.meta.bytes) return "part_begin: beyond meta.bytes";
  return chunk.part_bytes > chunk.meta.bytes - chunk.part_begin ? "part_bytes: beyond meta.bytes" : nullptr;
}

}  // namespace

Fault read(const wire::Chunk& in, std::uint64_t payload, Chunk& out) {
  out.part_begin = in.part_begin();
  out.part_bytes = in.part_bytes();
  out.is_inline = in.is_inline();
  out.inline_bytes = 0;
  if (const Fault fault = read_transfer(in.sequence(), in.settled(), out.transfer)) return fault;
  if (const Fault fault = read_peer_meta(in.meta(), out.meta)) return fault;
  if (const Fault fault = check_part(out)) return fault;
  if (out.part_bytes != 0) return check_payload(in.inline_data(), out.part_bytes, payload);
  if (!out.is_inline) return check_payload(in.inline_data(), out.meta.bytes, payload);
  return read_inline(in.inline_data(), out.meta.bytes, payload, out.inline_bytes, out.inline_data);
}

Fault read(const wire::ChunkRef& in, std::uint64_t, ChunkRef& out) {
  out.arena = in.arena();
  out.offset = in.offset();
  if (const Fault fault = read_transfer(in.sequence(), in.settled(), out.transfer)) return fault;
  if (const Fault fault = read_peer_meta(in.meta(), out.meta)) return fault;
  if (out.arena == 0) return "arena: 0";
  return overflows(out.offset, out.meta.bytes) ? "offset: offset and bytes overflow" : nullptr;
}

Fault read(const wire::Unlink& in, std::uint64_t, Unlink& out) {
  out.chunk_ref = in.chunk_ref();
  if (const Fault fault = read_transfer(in.sequence(), in.settled(), out.transfer)) return fault;
  return out.chunk_ref == 0 ? "chunk_ref: 0" : nullptr;
}

Fault read(const wire::StreamEnd& in, std::uint64_t, StreamEnd& out) {
  out.num_chunks = in.num_chunks();
  if (const Fault fault = read_transfer(in.sequence(), in.settled(), out.transfer)) return fault;
  if (const Fault fault = read_id(in.id(), out.id)) return fault;
  return out.id.empty() ? "id: empty (1 to 255 bytes)" : nullptr;
}

Fault read(const wire::Ack& in, std::uint64_t, Ack& out) {
  out.sequence = in.sequence();
  out.consumed = in.consumed();
  out.count = in.count();
  if (out.sequence == 0) return "sequence: 0";
  if (!read_enum(in.code(), Errc::kInternal, out.code)) return "code: unknown";
  const std::uint32_t count_max = out.code == Errc::kOk ? kAckRunMax : 1;
  if (out.count == 0 || out.count > count_max) return "count: 0, above 256, or of an error not 1";
  return read_text(in.text(), out.text) ? nullptr : "text: longer than 200 bytes";
}

Fault read(const wire::Refuse& in, std::uint64_t, Refuse& out) {
  out.sequence = in.sequence();
  return out.sequence == 0 ? "sequence: 0" : nullptr;
}

Fault read(const wire::Withdraw& in, std::uint64_t, Withdraw& out) {
  out.sequence = in.sequence();
  return out.sequence == 0 ? "sequence: 0" : nullptr;
}

Fault read(const wire::Retract& in, std::uint64_t, Retract& out) {
  out.chunk = in.chunk();
  out.lost = in.lost();
  if (const Fault fault = read_transfer(in.sequence(), in.settled(), out.transfer)) return fault;
  if (const Fault fault = read_id(in.id(), out.id)) return fault;
  return out.id.empty() ? "id: empty (1 to 255 bytes)" : nullptr;
}

}  // namespace sidecar
