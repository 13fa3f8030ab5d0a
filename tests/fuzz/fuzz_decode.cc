// Any bytes as a header: decode() must not misbehave, must not care where they lie, and what it accepts must
// survive being encoded and decoded again. The first eight bytes of an input are the payload's length.
#include <cstring>

#include "am_protocol/codec.h"
#include "core/check.h"
#include "tests/am_protocol/describe.h"

using namespace sidecar;

namespace {

void check_survives(const Message& message, std::uint64_t payload_bytes) {
  static Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  const std::size_t size = encoder.encode(message, header);
  static Message again;
  CHECK(decode(std::span(header).first(size), payload_bytes, again));
  CHECK(describe(again) == describe(message));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint64_t payload_bytes = 0;
  if (size < sizeof(payload_bytes)) return 0;
  std::memcpy(&payload_bytes, data, sizeof(payload_bytes));
  data += sizeof(payload_bytes);
  size = std::min(size - sizeof(payload_bytes), kHeaderBytesMax + 8);

  alignas(16) static std::array<std::byte, kHeaderBytesMax + 16> place;
  static Message message;  // keeps what the last input left in it
  std::memcpy(place.data(), data, size);
  const Status first = decode({place.data(), size}, payload_bytes, message);
  for (std::size_t offset = 1; offset < 8; ++offset) {
    std::memcpy(place.data() + offset, data, size);
    const Status status = decode({place.data() + offset, size}, payload_bytes, message);
    CHECK(status.has_value() == first.has_value());
    CHECK(status || (status.error().what == first.error().what && *status.error().what != '\0'));
  }
  if (first) check_survives(message, payload_bytes);
  return 0;
}
