#include <cstring>
#include <type_traits>
#include <variant>

#include "am_protocol/codec.h"
#include "am_protocol/decode_body.h"

namespace sidecar {
namespace {

// More than any message needs, so that a crafted header cannot keep the verifier busy.
constexpr flatbuffers::uoffset_t kDepthMax = 8;
constexpr flatbuffers::uoffset_t kTablesMax = 16;

template <class T>
T& in_place(Message& out) {
  if (T* same = std::get_if<T>(&out)) return *same;
  return renew<T>(out);
}

// Nothing of the header can be told.
Fault illegible(Fault fault, Message& out) {
  out.emplace<Ping>();
  return fault;
}

template <class T>
constexpr bool kCarriesPayload =
    std::is_same_v<T, Send> || std::is_same_v<T, Reply> || std::is_same_v<T, Chunk>;

template <class Core, class Wire>
Fault read_body(const wire::Envelope& in, std::uint64_t payload, Message& out) {
  const Wire* body = in.body_as<Wire>();
  if (body == nullptr) return illegible("body: missing", out);
  const Fault fault = read(*body, payload, in_place<Core>(out));
  if (fault == nullptr && payload != 0 && !kCarriesPayload<Core>) return "payload: this message carries none";
  return fault;
}

Fault read_envelope(const wire::Envelope& in, std::uint64_t payload, Message& out) {
  switch (in.body_type()) {
    case wire::Body::NONE: return illegible("body: missing", out);
    case wire::Body::Hello: return read_body<Hello, wire::Hello>(in, payload, out);
    case wire::Body::HelloAck: return read_body<HelloAck, wire::HelloAck>(in, payload, out);
    case wire::Body::Goodbye: return read_body<Goodbye, wire::Goodbye>(in, payload, out);
    case wire::Body::Ping: return read_body<Ping, wire::Ping>(in, payload, out);
    case wire::Body::Credit: return read_body<Credit, wire::Credit>(in, payload, out);
    case wire::Body::Send: return read_body<Send, wire::Send>(in, payload, out);
    case wire::Body::Recv: return read_body<Recv, wire::Recv>(in, payload, out);
    case wire::Body::Cancel: return read_body<Cancel, wire::Cancel>(in, payload, out);
    case wire::Body::Allocate: return read_body<Allocate, wire::Allocate>(in, payload, out);
    case wire::Body::Release: return read_body<Release, wire::Release>(in, payload, out);
    case wire::Body::MarkDone: return read_body<MarkDone, wire::MarkDone>(in, payload, out);
    case wire::Body::CloseStream: return read_body<CloseStream, wire::CloseStream>(in, payload, out);
    case wire::Body::Reply: return read_body<Reply, wire::Reply>(in, payload, out);
    case wire::Body::Chunk: return read_body<Chunk, wire::Chunk>(in, payload, out);
    case wire::Body::ChunkRef: return read_body<ChunkRef, wire::ChunkRef>(in, payload, out);
    case wire::Body::Unlink: return read_body<Unlink, wire::Unlink>(in, payload, out);
    case wire::Body::StreamEnd: return read_body<StreamEnd, wire::StreamEnd>(in, payload, out);
    case wire::Body::Ack: return read_body<Ack, wire::Ack>(in, payload, out);
    case wire::Body::Refuse: return read_body<Refuse, wire::Refuse>(in, payload, out);
    case wire::Body::Withdraw: return read_body<Withdraw, wire::Withdraw>(in, payload, out);
    case wire::Body::Retract: return read_body<Retract, wire::Retract>(in, payload, out);
    case wire::Body::Filled: return read_body<Filled, wire::Filled>(in, payload, out);
  }
  return illegible("body: unknown message", out);
}

// FlatBuffers reads numbers in place and the transport promises no alignment, hence a copy.
Fault read_header(std::span<const std::byte> header, std::uint64_t payload, Message& out) {
  if (header.size() < 2 * sizeof(flatbuffers::uoffset_t))
    return illegible("header: shorter than 8 bytes", out);
  if (header.size() > kHeaderBytesMax) return illegible("header: longer than 4096 bytes", out);
  alignas(16) std::array<std::uint8_t, kHeaderBytesMax> aligned;
  std::memcpy(aligned.data(), header.data(), header.size());
  if (!wire::EnvelopeBufferHasIdentifier(aligned.data())) return illegible("identifier: not SDC1", out);
  flatbuffers::Verifier verifier(aligned.data(), header.size(), kDepthMax, kTablesMax);
  if (!wire::VerifyEnvelopeBuffer(verifier)) return illegible("header: not a well-formed Envelope", out);
  return read_envelope(*wire::GetEnvelope(aligned.data()), payload, out);
}

}  // namespace

Status decode(std::span<const std::byte> header, std::uint64_t payload_bytes, Message& out) {
  const Fault fault = read_header(header, payload_bytes, out);
  if (fault != nullptr) return fail(Errc::kProtocol, fault);
  return {};
}

}  // namespace sidecar
