#include "core/result.h"

namespace sidecar {

const char* errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::kOk: return "Ok";
    case Errc::kInvalidArgument: return "InvalidArgument";
    case Errc::kNotFound: return "NotFound";
    case Errc::kAlreadyExists: return "AlreadyExists";
    case Errc::kAlreadyDone: return "AlreadyDone";
    case Errc::kNoSpace: return "NoSpace";
    case Errc::kTimeout: return "Timeout";
    case Errc::kCancelled: return "Cancelled";
    case Errc::kPeerLost: return "PeerLost";
    case Errc::kProtocol: return "Protocol";
    case Errc::kUnauthorized: return "Unauthorized";
    case Errc::kUnavailable: return "Unavailable";
    case Errc::kEndOfStream: return "EndOfStream";
    case Errc::kIo: return "Io";
    case Errc::kInternal: return "Internal";
  }
  return "Unknown";
}

std::string to_string(const Error& error) {
  std::string text = errc_name(error.code);
  if (*error.what != '\0') text.append(": ").append(error.what);
  if (error.a != 0 || error.b != 0) {
    text.append(" (").append(std::to_string(error.a));
    if (error.b != 0) text.append(", ").append(std::to_string(error.b));
    text.append(")");
  }
  if (error.rank != kNoRank) text.append(", rank ").append(std::to_string(error.rank));
  return text;
}

}  // namespace sidecar
