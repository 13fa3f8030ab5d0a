// Headers with something wrong in them, for tests of decode().
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "am_protocol/codec.h"
#include "am_protocol/sidecar_v1_generated.h"
#include "core/check.h"
#include "tests/am_protocol/samples.h"

namespace sidecar {

using Bytes8 = std::vector<std::uint8_t>;

inline const Sample& sample(const std::string& name) {
  static const std::vector<Sample> kAll = samples();
  const auto at = std::ranges::find(kAll, name, &Sample::name);
  CHECK(at != kAll.end());
  return *at;
}

inline std::vector<std::byte> encoded(const Message& message) {
  static Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  const std::size_t size = encoder.encode(message, header);
  return {header.begin(), header.begin() + static_cast<std::ptrdiff_t>(size)};
}

inline std::string refusal(std::span<const std::byte> header, std::uint64_t payload_bytes, Message& out) {
  const Status status = decode(header, payload_bytes, out);
  if (status) return "accepted";
  EXPECT_EQ(status.error().code, Errc::kProtocol);
  return status.error().what;
}

inline std::string refusal(std::span<const std::byte> header, std::uint64_t payload_bytes = 0) {
  Message out;
  return refusal(header, payload_bytes, out);
}

inline std::string refusal(const Message& message, std::uint64_t payload_bytes = 0) {
  return refusal(encoded(message), payload_bytes);
}

// A header that our encoder would not make: `body` adds the table with FlatBuffers alone.
template <class Table>
flatbuffers::Offset<wire::Envelope> envelope(flatbuffers::FlatBufferBuilder& b,
                                             flatbuffers::Offset<Table> table) {
  return wire::CreateEnvelope(b, wire::BodyTraits<Table>::enum_value, table.Union());
}

template <class Body>
std::vector<std::byte> crafted(Body body) {
  flatbuffers::FlatBufferBuilder b;
  wire::FinishEnvelopeBuffer(b, envelope(b, body(b)));
  const auto* bytes = reinterpret_cast<const std::byte*>(b.GetBufferPointer());
  return {bytes, bytes + b.GetSize()};
}

template <class T>
T get(const std::string& name) {
  return std::get<T>(sample(name).message);
}

}  // namespace sidecar
