// What one client may cost the others: calls that wait, bytes in the send region, ids that nothing comes of.
#include "core/engine.h"

namespace sidecar {

Status Engine::may_call(std::size_t under_way) const {
  if (under_way < options_.client_calls_max) return {};
  return fail(Errc::kUnavailable, "too many calls of this client are under way already (calls, most)",
              kNoRank, under_way, options_.client_calls_max);
}

// Of a send that is not over, and of an allocation, also while it waits for room.
Status Engine::may_hold(const Client& client, std::uint64_t bytes) const {
  const std::uint64_t most = options_.client_bytes_max;
  if (client.bytes <= most && bytes <= most - client.bytes) return {};
  return fail(Errc::kNoSpace,
              "more than --client-bytes lets this client have under way (bytes asked, under way)", kNoRank,
              bytes, client.bytes);
}

// A send counts as long as it holds anything here. Answered it may be before that: its deadline is over while
// a destination still has its slot.
void Engine::charge(Client& client, Shard& shard) {
  shard.charged_to = clients_.handle_of(client);
  ++client.charged;
  client.bytes += shard.slice.bytes;
}

void Engine::uncharge(const Shard& shard) {
  Client* const client = clients_.find(shard.charged_to);
  if (client == nullptr) return;
  --client->charged;
  if (shard.state != ShardState::kFilling) client->bytes -= shard.slice.bytes;  // otherwise the allocation's
}

// An id that a client is the first to name. Null: it has named too many that nothing has come of.
Datum* Engine::name_datum(Client& client, const DataId& id, const Hash128& hash) {
  if (client.ids >= options_.client_ids_max) return nullptr;
  Datum* const datum = store_.make(id, hash, host_.now());
  datum->named_by = clients_.handle_of(client);
  ++client.ids;
  return datum;
}

Error Engine::too_many_ids() const {
  return {Errc::kNoSpace, kNoRank, "this client has named too many ids that nothing has come of (most)",
          options_.client_ids_max, 0};
}

// Something has come of it, or it is forgotten.
void Engine::unname_datum(Datum& datum) {
  Client* const client = clients_.find(std::exchange(datum.named_by, Handle{}));
  if (client != nullptr) --client->ids;
}

}  // namespace sidecar
