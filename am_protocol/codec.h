// Messages to and from the bytes of an active-message header (sidecar_v1.fbs, README.md). The only user of
// FlatBuffers. Loop thread only, like everything that handles messages; two encoders share nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/messages.h"

namespace sidecar {

// Reusable: all memory it ever needs is taken when it is made.
class Encoder {
 public:
  Encoder();
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Returns the header's length. Every message fits; counts beyond a message's own arrays are a bug and
  // abort. The values are not judged: decode() does that at the other end.
  std::size_t encode(const Message& message, std::span<std::byte, kHeaderBytesMax> out);

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// Checks bytes that nobody vouches for and turns them into a message. `header` as it came, at any address;
// `payload_bytes` is what the active message carries besides, 0 if nothing. Never allocates, never aborts;
// fails with kProtocol and a text that begins with the field.
//
// Guaranteed on success: enum values and lengths in range, destinations consistent (but possibly none, empty
// groups or negative ranks), inline bytes and payload as long as meta.bytes says, sequence and settled sane,
// offset + bytes without overflow. Chunk and ChunkRef have passed check_meta(). A client's requests have not:
// its mistakes are answered with kInvalidArgument, by the engine.
//
// On failure `out` holds the message as far as it was read, which includes the request or sequence to be
// answered (request_of, transfer_of), or Ping{} when not even its kind could be told. When `out` already
// holds a message of the kind that comes, it is filled in place, so a caller in a loop keeps one Message.
Status decode(std::span<const std::byte> header, std::uint64_t payload_bytes, Message& out);

}  // namespace sidecar
