#include <variant>

#include "am_protocol/codec.h"
#include "am_protocol/schema_check.h"
#include "core/check.h"

namespace sidecar {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
template <class T>
using Vector = Offset<flatbuffers::Vector<T>>;

// The builder keeps its bookkeeping in the same buffer, hence the room beyond the largest header.
constexpr std::size_t kBuilderBytes = 2 * kHeaderBytesMax;

// Hands out one buffer, once: a builder that wants to grow met a message larger than can be, which is a bug.
class OneBuffer final : public flatbuffers::Allocator {
 public:
  std::uint8_t* allocate(std::size_t size) override {
    CHECK(!taken_ && size <= bytes_.size());
    taken_ = true;
    return bytes_.data();
  }
  void deallocate(std::uint8_t*, std::size_t) override { taken_ = false; }

 private:
  alignas(16) std::array<std::uint8_t, kBuilderBytes> bytes_;
  bool taken_ = false;
};

// --- parts: an empty one is left out ---

template <std::size_t N>
Vector<std::uint8_t> opaque(FlatBufferBuilder& b, const FixedText<N>& text) {
  if (text.empty()) return 0;
  return b.CreateVector(reinterpret_cast<const std::uint8_t*>(text.view().data()), text.size());
}

template <std::size_t N>
Offset<flatbuffers::String> string(FlatBufferBuilder& b, const FixedText<N>& text) {
  if (text.empty()) return 0;
  return b.CreateString(text.view().data(), text.size());
}

template <class T>
Vector<T> numbers(FlatBufferBuilder& b, std::span<const T> values) {
  if (values.empty()) return 0;
  return b.CreateVector(values.data(), values.size());
}

template <class T, std::size_t N>
std::span<const T> first(const std::array<T, N>& values, std::size_t count) {
  CHECK(count <= N);
  return {values.data(), count};
}

Vector<std::uint8_t> inline_bytes(FlatBufferBuilder& b, const std::array<std::byte, kInlineBytesMax>& data,
                                  std::size_t count) {
  const auto bytes = first(data, count);
  return numbers<std::uint8_t>(b, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

template <class Wire, class Core>
Wire to_wire(Core value) {
  return static_cast<Wire>(value);
}

Offset<wire::Meta> build(FlatBufferBuilder& b, const ChunkMeta& m) {
  const auto id = opaque(b, m.id);
  const auto shape = numbers<std::uint64_t>(b, first(m.shape.extent, m.shape.dims));
  wire::MetaBuilder t(b);
  t.add_bytes(m.bytes);
  t.add_unit_bytes(m.unit_bytes);
  t.add_id(id);
  t.add_shape(shape);
  t.add_chunk(m.chunk);
  t.add_num_chunks(m.num_chunks);
  t.add_codec(m.codec);
  t.add_stream(m.stream);
  t.add_kind(to_wire<wire::ChunkKind>(m.kind));
  t.add_dtype(to_wire<wire::Dtype>(m.dtype));
  return t.Finish();
}

Offset<wire::Arena> build(FlatBufferBuilder& b, const ArenaInfo& m) {
  if (m.instance == 0 && m.nonce == 0 && m.bytes == 0 && m.path.empty()) return 0;
  const auto path = string(b, m.path);
  wire::ArenaBuilder t(b);
  t.add_instance(m.instance);
  t.add_nonce(m.nonce);
  t.add_bytes(m.bytes);
  t.add_path(path);
  return t.Finish();
}

template <std::size_t N>
Vector<std::uint8_t> opaque(FlatBufferBuilder& b, const std::array<std::byte, N>& bytes) {
  return b.CreateVector(reinterpret_cast<const std::uint8_t*>(bytes.data()), N);
}

Offset<wire::Device> build(FlatBufferBuilder& b, const DeviceSource& m) {
  const auto device = opaque(b, m.device);
  const auto memory = opaque(b, m.memory);
  const Vector<std::uint8_t> event = m.has_event ? opaque(b, m.event) : 0;
  return wire::CreateDevice(b, device, memory, m.offset, event);
}

struct Groups {
  Vector<std::uint16_t> group_end;
  Vector<std::int32_t> ranks;
};

Groups build(FlatBufferBuilder& b, const Destinations& m) {
  const auto ends = first(m.group_end, m.groups);
  const auto ranks = first(m.ranks, ends.empty() ? 0 : ends.back());
  return {numbers<std::uint16_t>(b, ends), numbers<std::int32_t>(b, ranks)};
}

// --- both connections ---

Offset<wire::Hello> build(FlatBufferBuilder& b, const Hello& m) {
  const auto node = string(b, m.node);
  const auto ticket = opaque(b, m.ticket);
  const auto arena = build(b, m.arena);
  wire::HelloBuilder t(b);
  t.add_link(m.link);
  t.add_instance(m.instance);
  t.add_to_instance(m.to_instance);
  t.add_pid(m.pid);
  t.add_open_at(m.open.at);
  t.add_open_mark(m.open.value);
  t.add_rank(m.rank);
  t.add_node(node);
  t.add_ticket(ticket);
  t.add_arena(arena);
  t.add_version_min(m.version_min);
  t.add_version_max(m.version_max);
  t.add_role(to_wire<wire::Role>(m.role));
  t.add_bulk(m.bulk);
  return t.Finish();
}

Offset<wire::HelloAck> build(FlatBufferBuilder& b, const HelloAck& m) {
  const auto text = string(b, m.text);
  const auto node = string(b, m.node);
  const auto arena = build(b, m.arena);
  wire::HelloAckBuilder t(b);
  t.add_instance(m.instance);
  t.add_pid(m.pid);
  t.add_open_at(m.open.at);
  t.add_open_mark(m.open.value);
  t.add_text(text);
  t.add_rank(m.rank);
  t.add_node(node);
  t.add_arena(arena);
  t.add_version(m.version);
  t.add_code(to_wire<wire::Errc>(m.code));
  t.add_mapped(m.mapped);
  return t.Finish();
}

Offset<wire::Goodbye> build(FlatBufferBuilder& b, const Goodbye& m) {
  return wire::CreateGoodbye(b, m.final);
}
Offset<wire::Ping> build(FlatBufferBuilder& b, const Ping& m) {
  return wire::CreatePing(b, m.value, m.answer);
}
Offset<wire::Credit> build(FlatBufferBuilder& b, const Credit& m) {
  return wire::CreateCredit(b, m.consumed, m.resume);
}

// --- client to sidecar ---

Offset<wire::Send> build(FlatBufferBuilder& b, const Send& m) {
  const auto meta = build(b, m.meta);
  const Groups groups = build(b, m.destinations);
  const auto data = inline_bytes(b, m.inline_data, m.inline_bytes);
  const Offset<wire::Device> device = m.source == Source::kDevice ? build(b, m.device) : 0;
  wire::SendBuilder t(b);
  t.add_request(m.request);
  t.add_slot(m.slot);
  t.add_timeout_ns(m.timeout_ns);
  t.add_meta(meta);
  t.add_group_end(groups.group_end);
  t.add_ranks(groups.ranks);
  t.add_inline_data(data);
  t.add_device(device);
  t.add_shard(m.shard);
  t.add_shards(m.shards);
  t.add_source(to_wire<wire::Source>(m.source));
  return t.Finish();
}

Offset<wire::Recv> build(FlatBufferBuilder& b, const Recv& m) {
  return wire::CreateRecv(b, m.request, opaque(b, m.id), m.chunk, m.timeout_ns, m.by_value);
}
Offset<wire::Cancel> build(FlatBufferBuilder& b, const Cancel& m) { return wire::CreateCancel(b, m.target); }
Offset<wire::Allocate> build(FlatBufferBuilder& b, const Allocate& m) {
  return wire::CreateAllocate(b, m.request, m.bytes, m.unit_bytes, m.timeout_ns);
}

Offset<wire::Release> build(FlatBufferBuilder& b, const Release& m) {
  const auto view = numbers<std::uint64_t>(b, first(m.view, m.views));
  const auto count = numbers<std::uint32_t>(b, first(m.count, m.views));
  const auto slot = numbers<std::uint64_t>(b, first(m.slot, m.slots));
  return wire::CreateRelease(b, view, count, slot);
}

Offset<wire::Filled> build(FlatBufferBuilder& b, const Filled& m) { return wire::CreateFilled(b, m.slot); }

Offset<wire::MarkDone> build(FlatBufferBuilder& b, const MarkDone& m) {
  return wire::CreateMarkDone(b, m.request, opaque(b, m.id), m.chunk);
}

Offset<wire::CloseStream> build(FlatBufferBuilder& b, const CloseStream& m) {
  const auto id = opaque(b, m.id);
  const Groups groups = build(b, m.destinations);
  return wire::CreateCloseStream(b, m.request, id, m.num_chunks, groups.group_end, groups.ranks,
                                 m.timeout_ns);
}

// --- sidecar to client ---

// A Reply without an id has nothing to say about a chunk.
Offset<wire::Reply> build(FlatBufferBuilder& b, const Reply& m) {
  const auto text = string(b, m.text);
  const auto failed_rank = numbers<std::int32_t>(b, first(m.failed_rank, m.failures));
  const auto codes = first(m.failed_code, m.failures);
  const Vector<std::uint8_t> failed_code =
      numbers<std::uint8_t>(b, {reinterpret_cast<const std::uint8_t*>(codes.data()), codes.size()});
  const Offset<wire::Meta> meta = m.meta.id.empty() ? 0 : build(b, m.meta);
  const auto arena = build(b, m.arena);
  const auto data = inline_bytes(b, m.inline_data, m.inline_bytes);
  wire::ReplyBuilder t(b);
  t.add_request(m.request);
  t.add_offset(m.offset);
  t.add_view(m.view);
  t.add_rank(m.rank);
  t.add_text(text);
  t.add_failed_rank(failed_rank);
  t.add_failed_code(failed_code.o);
  t.add_meta(meta);
  t.add_arena(arena);
  t.add_inline_data(data);
  t.add_stage(to_wire<wire::Stage>(m.stage));
  t.add_code(to_wire<wire::Errc>(m.code));
  t.add_where(to_wire<wire::Where>(m.where));
  return t.Finish();
}

// --- sidecar to sidecar ---

Offset<wire::Chunk> build(FlatBufferBuilder& b, const Chunk& m) {
  const auto meta = build(b, m.meta);
  const auto data = inline_bytes(b, m.inline_data, m.is_inline ? m.inline_bytes : 0);
  return wire::CreateChunk(b, m.transfer.sequence, m.transfer.settled, meta, m.is_inline, data, m.part_begin,
                           m.part_bytes);
}

Offset<wire::ChunkRef> build(FlatBufferBuilder& b, const ChunkRef& m) {
  const auto meta = build(b, m.meta);
  return wire::CreateChunkRef(b, m.transfer.sequence, m.transfer.settled, meta, m.arena, m.offset);
}

Offset<wire::Unlink> build(FlatBufferBuilder& b, const Unlink& m) {
  return wire::CreateUnlink(b, m.transfer.sequence, m.transfer.settled, m.chunk_ref);
}
Offset<wire::StreamEnd> build(FlatBufferBuilder& b, const StreamEnd& m) {
  return wire::CreateStreamEnd(b, m.transfer.sequence, m.transfer.settled, opaque(b, m.id), m.num_chunks);
}
Offset<wire::Ack> build(FlatBufferBuilder& b, const Ack& m) {
  return wire::CreateAck(b, m.sequence, to_wire<wire::Errc>(m.code), string(b, m.text), m.consumed, m.count);
}
Offset<wire::Refuse> build(FlatBufferBuilder& b, const Refuse& m) {
  return wire::CreateRefuse(b, m.sequence);
}
Offset<wire::Withdraw> build(FlatBufferBuilder& b, const Withdraw& m) {
  return wire::CreateWithdraw(b, m.sequence);
}

Offset<wire::Retract> build(FlatBufferBuilder& b, const Retract& m) {
  return wire::CreateRetract(b, m.transfer.sequence, m.transfer.settled, opaque(b, m.id), m.chunk, m.lost);
}

template <class Table>
Offset<wire::Envelope> envelope(FlatBufferBuilder& b, Offset<Table> body) {
  return wire::CreateEnvelope(b, wire::BodyTraits<Table>::enum_value, body.Union());
}

}  // namespace

struct Encoder::Memory {
  OneBuffer buffer;  // before the builder, which gives it back when it goes
  FlatBufferBuilder builder{kBuilderBytes, &buffer};
};

// make_unique would zero the buffer.
Encoder::Encoder() : memory_(new Memory) {}
Encoder::~Encoder() = default;

std::size_t Encoder::encode(const Message& message, std::span<std::byte, kHeaderBytesMax> out) {
  FlatBufferBuilder& b = memory_->builder;
  b.Clear();
  const auto root = std::visit([&b](const auto& m) { return envelope(b, build(b, m)); }, message);
  wire::FinishEnvelopeBuffer(b, root);
  const std::size_t size = b.GetSize();
  CHECK(size <= out.size());
  std::memcpy(out.data(), b.GetBufferPointer(), size);
  return size;
}

}  // namespace sidecar
