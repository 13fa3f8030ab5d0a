// Operating errors are values. Error is small and allocation-free: a code, the rank it concerns, and static
// text.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

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

// `what` is static text (never freed); `rank` the rank it concerns or kNoRank; `a` and `b` two figures the
// text speaks of (sizes, an errno), 0 when it speaks of none.
struct [[nodiscard]] Error {
  Errc code = Errc::kInternal;
  std::int32_t rank = kNoRank;
  const char* what = "";
  std::uint64_t a = 0;
  std::uint64_t b = 0;
};

// "InvalidArgument: chunk_id is not below num_chunks (7, 5), rank 3": for logs, replies and exceptions.
std::string to_string(const Error& error);

template <class T>
using Result = tl::expected<T, Error>;
using Status = tl::expected<void, Error>;

inline tl::unexpected<Error> fail(Errc code, const char* what, std::int32_t rank = kNoRank,
                                  std::uint64_t a = 0, std::uint64_t b = 0) {
  return tl::unexpected<Error>(Error{code, rank, what, a, b});
}

}  // namespace sidecar
