#include "control/service_support.h"

#include "fmt/format.h"

namespace sidecar {
namespace {

grpc::StatusCode code_of(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument: return grpc::StatusCode::INVALID_ARGUMENT;
    case Errc::kNotFound: return grpc::StatusCode::NOT_FOUND;
    case Errc::kAlreadyExists: return grpc::StatusCode::ALREADY_EXISTS;
    case Errc::kNoSpace: return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Errc::kTimeout: return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Errc::kCancelled: return grpc::StatusCode::CANCELLED;
    case Errc::kUnauthorized: return grpc::StatusCode::PERMISSION_DENIED;
    case Errc::kUnavailable: return grpc::StatusCode::UNAVAILABLE;
    default: return grpc::StatusCode::INTERNAL;
  }
}

}  // namespace

bool Identity::may_share_memory(Rank peer) const {
  return local_peer_ranks.empty() ||
         std::find(local_peer_ranks.begin(), local_peer_ranks.end(), peer) != local_peer_ranks.end();
}

grpc::Status to_grpc(const Error& error) { return {code_of(error.code), to_string(error)}; }

grpc::Status loop_unavailable(bool late) {
  if (late) {
    return {grpc::StatusCode::DEADLINE_EXCEEDED,
            fmt::format("the sidecar's loop did not answer within {} s", kAskLimit.count())};
  }
  return {grpc::StatusCode::UNAVAILABLE, "the sidecar is ending or overloaded"};
}

grpc::Status check_versions(const Identity& identity, const std::string& who, std::uint32_t version_min,
                            std::uint32_t version_max, const std::string& ucx_version) {
  if (version_min > kProtocolVersionMax || version_max < kProtocolVersionMin) {
    return {
        grpc::StatusCode::FAILED_PRECONDITION,
        fmt::format(
            "{} speaks protocol versions {} to {}, rank {} speaks {} to {}: install the same sidecar release",
            who, version_min, version_max, identity.rank, kProtocolVersionMin, kProtocolVersionMax)};
  }
  if (ucx_version != identity.ucx_version) {
    return {
        grpc::StatusCode::FAILED_PRECONDITION,
        fmt::format(
            "{} runs UCX {}, rank {} runs UCX {}, and these do not work together: install the same UCX", who,
            ucx_version.empty() ? "(version not said)" : ucx_version, identity.rank, identity.ucx_version)};
  }
  return grpc::Status::OK;
}

void fill_arena(const ArenaInfo& arena, v1::Arena* out) {
  out->set_instance(arena.instance);
  out->set_nonce(arena.nonce);
  out->set_bytes(arena.bytes);
  out->set_path(std::string(arena.path.view()));
}

}  // namespace sidecar
