#include "control/engine_backend.h"

#include <algorithm>

namespace sidecar {

Result<Ticket> EngineBackend::register_client(InstanceId client, Rank rank, std::uint64_t send_unit_bytes,
                                              std::uint64_t receive_unit_bytes) {
  const Status registered = engine_.register_client({client, send_unit_bytes, receive_unit_bytes});
  if (!registered) return tl::unexpected(registered.error());
  return tickets_.issue_client(client, rank);
}

Status EngineBackend::unregister_client(InstanceId client, const Ticket& ticket) {
  if (!tickets_.knows(client)) return {};
  if (!tickets_.owns(client, ticket)) {
    return fail(Errc::kUnauthorized, "the ticket is not this client's", identity_.rank);
  }
  tickets_.revoke_client(client);
  engine_.unregister_client(client);
  return {};
}

Result<Ticket> EngineBackend::admit_peer(Rank from, InstanceId instance) {
  if (!identity_.may_share_memory(from)) host_.forbid_sharing(from, instance);
  return tickets_.issue_peer(instance, from, Loop::now_ns());
}

}  // namespace sidecar
