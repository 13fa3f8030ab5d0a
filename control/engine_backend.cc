#include "control/engine_backend.h"

#include <algorithm>

namespace sidecar {

Result<Ticket> EngineBackend::register_client(const ClientRegistration& client) {
  const Status registered = engine_.register_client(client);
  if (!registered) return tl::unexpected(registered.error());
  return tickets_.issue_client(client.instance, client.rank);
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
