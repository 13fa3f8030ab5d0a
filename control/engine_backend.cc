#include "control/engine_backend.h"

#include <algorithm>

#include "core/log.h"

namespace sidecar {

Result<Ticket> EngineBackend::register_client(const ClientRegistration& client, const Ticket& shown) {
  const bool registered_now = tickets_.knows(client.instance) && engine_.knows_client(client.instance);
  if (registered_now && !tickets_.owns(client.instance, shown)) {
    return fail(Errc::kUnauthorized,
                "this client is registered: show its ticket, or register as another instance", client.rank);
  }
  if (tickets_.full())
    tickets_.revoke_unless([this](InstanceId known) { return engine_.knows_client(known); });
  if (const Status room = tickets_.room_for(client.instance); !room) return tl::unexpected(room.error());
  const Status registered = engine_.register_client(client);
  if (!registered) return tl::unexpected(registered.error());
  if (client.leased)
    leases_.grant(client.instance, Loop::now_ns());
  else
    leases_.end(client.instance);
  return tickets_.issue_client(client.instance, client.rank);
}

Status EngineBackend::renew_client(InstanceId client, const Ticket& ticket,
                                   const std::vector<InstanceId>& let_go) {
  if (tickets_.knows(client) && !tickets_.owns(client, ticket))
    return fail(Errc::kUnauthorized, "the ticket is not this client's", identity_.rank);
  // One whose connection has ended is not registered any more, whatever its lease says.
  const bool registered = tickets_.knows(client) && engine_.knows_client(client);
  if (registered && leases_.renew(client, Loop::now_ns())) {
    for (const InstanceId before : let_go) engine_.let_go(client, before);
    return {};
  }
  tickets_.revoke_client(client);
  leases_.end(client);
  return fail(Errc::kNotFound, "the client is not registered here: register again", identity_.rank);
}

void EngineBackend::end_leases(TimeNs now) {
  for (const InstanceId client : leases_.take_ended(now)) {
    tickets_.revoke_client(client);
    if (!engine_.knows_client(client)) continue;
    LOG_WARN("client {:016x} did not renew its lease of {} ms: its registration ends", client,
             leases_.length() / kMillisecond);
    engine_.end_client(client, "its lease has ended");
  }
}

Status EngineBackend::unregister_client(InstanceId client, const Ticket& ticket) {
  if (!tickets_.knows(client)) return {};
  if (!tickets_.owns(client, ticket)) {
    return fail(Errc::kUnauthorized, "the ticket is not this client's", identity_.rank);
  }
  tickets_.revoke_client(client);
  leases_.end(client);
  engine_.unregister_client(client);
  return {};
}

Result<Ticket> EngineBackend::admit_peer(Rank from, InstanceId instance) {
  if (!identity_.may_share_memory(from)) host_.forbid_sharing(from, instance);
  return tickets_.issue_peer(instance, from, Loop::now_ns());
}

}  // namespace sidecar
