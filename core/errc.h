// The codes of every error, on their own because the client library's public headers show them: standard
// library only.
#pragma once

#include <cstdint>

namespace sidecar {

// Travels on the wire as its number: append only, never renumber.
enum class Errc : std::uint8_t {
  kOk = 0,
  kInvalidArgument = 1,  // the caller's mistake; the text names the field
  kNotFound = 2,
  kAlreadyExists = 3,  // this chunk was sent before; the first data stays
  kAlreadyDone = 4,    // this chunk was marked done
  kNoSpace = 5,        // can never fit, or refused for now (peer to peer)
  kTimeout = 6,
  kCancelled = 7,
  kPeerLost = 8,  // the rank that held or was to receive the data is gone for good
  kProtocol = 9,  // bytes that do not follow the protocol
  kUnauthorized = 10,
  kUnavailable = 11,  // draining, not connected, not registered
  kEndOfStream = 12,  // chunk at or past the end of the datum
  kIo = 13,           // the system or the transport said no
  kInternal = 14,
};

const char* errc_name(Errc code) noexcept;

inline constexpr std::int32_t kNoRank = -1;

}  // namespace sidecar
