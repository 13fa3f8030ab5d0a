// A client that copies a chunk's bytes into the arena itself: it is told where, and says when they are there.
// Until then, until it gives the place up (Release, or Cancel of the send) or its process is proven gone, it
// may be writing: so long the place is kept as one that it has allocated, whatever becomes of the send.
#include "core/engine.h"

namespace sidecar {

// The send's place is there. What it costs is the allocation's from now on, and the send's again once filled.
void Engine::offer_room(Shard& shard) {
  const Outgoing& outgoing = *shard.outgoing;
  shard.state = ShardState::kFilling;
  Allocation* const allocation = clients_.allocations().acquire();
  allocation->client = shard.client;
  allocation->request = shard.request;
  allocation->bytes = shard.slice.bytes;
  allocation->slot = memory_.retain(outgoing.slot);
  allocation->fills = outbox_.handle_of(shard);
  shard.client->allocations.push_back(allocation);
  clients_.index(allocation);
  Reply& reply = renew<Reply>(scratch_);
  reply.request = shard.request;
  reply.stage = Stage::kRoom;
  reply.where = Where::kArena;
  reply.arena = options_.arena_info;
  reply.offset = outgoing.slot->offset;
  send_plain(shard.client->link, scratch_);
}

void Engine::on_filled(Client& client, const Filled& filled) {
  Allocation* const allocation = clients_.find_allocation(client, filled.slot);
  if (allocation == nullptr || !allocation->fills.valid()) return;
  Shard* const shard = outbox_.find(allocation->fills);
  drop_allocation(*allocation);
  if (shard == nullptr || shard->outgoing->abandoned) return;
  client.bytes += shard->slice.bytes;
  shard_in(*shard);
}

// The client fills it no more: what it was for cannot come.
void Engine::drop_fill(Allocation& allocation, const Error& why) {
  Shard* const shard = outbox_.find(allocation.fills);
  if (shard != nullptr && !shard->outgoing->abandoned) end_shard(*shard, why);
  drop_allocation(allocation);
}

}  // namespace sidecar
