// From a client's send to the outbox: check, find its group's other shards, bring the bytes into the arena.
// engine_outgoing.cc hands them on.
#include <algorithm>
#include <cstring>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

// --- what may be sent
// --------------------------------------------------------------------------------------------------------------

Status Engine::check_send(const Client& client, const Send& send, const Incoming& incoming) {
  if (draining_) return fail(Errc::kUnavailable, "send: this sidecar is draining", options_.rank);
  if (const Status status = check_meta(send.meta); !status) return status;
  if (const Status status = check_known(client, send.destinations); !status) return status;
  if (const Status status = may_call(client.charged); !status) return status;
  if (const Status status = check_source(client, send, incoming); !status) return status;
  const bool needs_room = send.source != Source::kSlot && send.source != Source::kNothing;
  if (needs_room && !memory_.send_can_fit(send.meta.bytes, send.meta.unit_bytes)) {
    return fail(Errc::kNoSpace, "send: larger than the send region can ever hold (bytes asked, bytes there)",
                kNoRank, send.meta.bytes, memory_.send_limit());
  }
  return {};
}

Status Engine::check_source(const Client& client, const Send& send, const Incoming& incoming) {
  std::uint64_t bytes = send.meta.bytes;
  if (send.shards > 0) {
    if (send.shards != client.group->size() || send.shard != client.shard) {
      return fail(Errc::kInvalidArgument, "shard: not this client's place in its group (shards, members)",
                  kNoRank, send.shards, client.group->size());
    }
    const bool movable =
        send.source == Source::kPayload || send.source == Source::kDevice || send.source == Source::kFill;
    if (!movable || send.meta.kind != ChunkKind::kTensor || bytes == 0)
      return fail(Errc::kInvalidArgument,
                  "shard: only a tensor's bytes, from its members' memory, are shared out");
    bytes = shard_of(bytes, send.shard, send.shards).bytes;
  }
  const bool more = send.source != Source::kSlot && send.source != Source::kNothing;
  if (const Status status = more ? may_hold(client, bytes) : Status{}; !status) return status;
  switch (send.source) {
    case Source::kInline:
      if (send.inline_bytes != bytes) return fail(Errc::kInvalidArgument, "bytes: not as many as are inline");
      return {};
    case Source::kPayload:
      if (incoming.bytes != bytes) return fail(Errc::kInvalidArgument, "bytes: not as many as the payload");
      return {};
    case Source::kSlot: {
      const Allocation* const allocation = clients_.find_allocation(client, send.slot);
      if (allocation == nullptr || allocation->fills.valid())
        return fail(Errc::kInvalidArgument, "slot: not an allocation of this client");
      if (allocation->bytes != bytes) {
        return fail(Errc::kInvalidArgument, "bytes: not as many as were allocated", kNoRank, bytes,
                    allocation->bytes);
      }
      return {};
    }
    case Source::kNothing:
      if (client.shard == 0)
        return fail(Errc::kInvalidArgument, "source: the first member of a group brings the bytes for all");
      return {};
    case Source::kDevice:
      if (device_ == nullptr) return fail(Errc::kUnavailable, "send: this sidecar has no GPU", options_.rank);
      return {};
    case Source::kFill:
      if (options_.arena_info.path.empty())
        return fail(Errc::kUnavailable, "send: this sidecar's arena cannot be mapped", options_.rank);
      return may_call(client.allocations.size());  // its place is one until it is filled or given up
  }
  return fail(Errc::kInvalidArgument, "source: unknown");
}

Status Engine::check_known(const Client& client, const Destinations& destinations) {
  if (const Status status = check_destinations(destinations, options_.rank); !status) return status;
  for (std::size_t g = 0; g < destinations.groups; ++g) {
    for (const Rank rank : destinations.group(g)) {
      if (!can_reach(rank)) return fail(Errc::kInvalidArgument, "destinations: an unknown rank", rank);
      if (std::ranges::binary_search(*client.group, rank))
        return fail(Errc::kInvalidArgument, "destinations: a rank of the sender's own group", rank);
    }
  }
  return {};
}

// --- calls
// --------------------------------------------------------------------------------------------------------------

void Engine::on_send(Link& link, const Send& send, const Incoming& incoming) {
  Client& client = *link.client;
  Outgoing* outgoing = nullptr;
  Status status = check_send(client, send, incoming);
  const bool together = send.shards > 1;
  const std::uint64_t key = together ? mix(store_.hash(send.meta.id).low, send.meta.chunk) : 0;
  if (status && together) {
    outgoing = outbox_.find_gathering(key, send.meta.id, send.meta.chunk, *client.group);
    if (outgoing != nullptr) status = check_joins(*outgoing, client, send);
  }
  if (!status) {
    discard(link.id, incoming);
    return answer(client, send.request, status.error());
  }
  if (send.source == Source::kNothing) return answer_ok(client, send.request);
  ++counters_.sends;
  if (outgoing == nullptr) {
    outgoing = &make_outgoing(send.destinations);
    outgoing->meta = send.meta;
    if (outgoing->meta.unit_bytes == 0) outgoing->meta.unit_bytes = client.send_unit_bytes;
    if (together) {
      outgoing->group = client.group;
      outgoing->missing = outgoing->not_in = send.shards;
      outbox_.gather(outgoing, key);
      connect_early(*outgoing);
    }
  }
  const Slice slice =
      together ? shard_of(send.meta.bytes, send.shard, send.shards) : Slice{0, send.meta.bytes};
  Shard& shard = add_shard(*outgoing, client, slice, send.request, send.timeout_ns);
  shard.source = send.source;
  shard.link = link.id;
  shard.incoming = incoming;
  if (send.source == Source::kDevice) shard.device = send.device;
  if (send.source == Source::kSlot) {
    Allocation* const allocation = clients_.find_allocation(client, send.slot);
    outgoing->slot = memory_.retain(allocation->slot);
    drop_allocation(*allocation);
    return shard_in(shard);
  }
  if (shard.slice.bytes == 0) {
    discard(link.id, std::exchange(shard.incoming, {}));
    return shard_in(shard);
  }
  if (outgoing->slot != nullptr) return start_shard(shard, nullptr);
  if (outgoing->in_line.linked()) return;  // with the others
  if (outbox_.line().empty() && take_room(*outgoing)) return start_shard(shard, send.inline_data.data());
  if (outbox_.line().size() >= options_.waiting_sends_max) {
    const Error why{Errc::kUnavailable, kNoRank, "send: too many wait for room already; send less at once",
                    outbox_.line().size(), 0};
    return abandon(*outgoing, nullptr, why, why);
  }
  ++counters_.parked;
  if (send.source == Source::kInline) {
    shard.inline_copy = std::make_unique_for_overwrite<std::byte[]>(send.inline_bytes);
    std::memcpy(shard.inline_copy.get(), send.inline_data.data(), send.inline_bytes);
  }
  outbox_.line().push_back(outgoing);
}

// Another member brings its shard of what is being gathered.
Status Engine::check_joins(const Outgoing& outgoing, const Client& client, const Send& send) const {
  if (outgoing.came.test(client.shard))
    return fail(Errc::kAlreadyExists, "send: this member's shard was sent before, others are waited for");
  const ChunkMeta& meta = outgoing.meta;
  const bool same_tensor =
      meta.bytes == send.meta.bytes && meta.dtype == send.meta.dtype && meta.shape == send.meta.shape;
  if (!same_tensor || meta.num_chunks != send.meta.num_chunks || meta.stream != send.meta.stream)
    return fail(Errc::kInvalidArgument, "send: not the same chunk as the group's other members send");
  std::size_t g = 0;
  for (const Destination* d = outgoing.destinations.front(); d != nullptr;
       d = Outgoing::DestinationList::next(d), ++g) {
    if (g >= send.destinations.groups || send.destinations.leader(g) != d->peer->rank) break;
  }
  if (g != send.destinations.groups || g != outgoing.destinations.size())
    return fail(Errc::kInvalidArgument, "destinations: not those of the group's other members");
  return {};
}

void Engine::on_close_stream(Client& client, const CloseStream& close) {
  Status status = check_known(client, close.destinations);
  if (status) status = may_call(client.charged);
  if (status && close.id.empty()) status = fail(Errc::kInvalidArgument, "id: empty (1 to 255 bytes)");
  if (status && draining_)
    status = fail(Errc::kUnavailable, "close_stream: this sidecar is draining", options_.rank);
  if (!status) return answer(client, close.request, status.error());
  Outgoing& outgoing = make_outgoing(close.destinations);
  outgoing.end_of_stream = true;
  outgoing.meta.id = close.id;
  outgoing.meta.num_chunks = close.num_chunks;
  shard_in(add_shard(outgoing, client, {}, close.request, close.timeout_ns));
}

Outgoing& Engine::make_outgoing(const Destinations& destinations) {
  Outgoing* const outgoing = outbox_.make_outgoing();
  outgoing->missing = outgoing->not_in = 1;
  for (std::size_t g = 0; g < destinations.groups; ++g) {
    Destination* const destination = outbox_.make_destination();
    destination->outgoing = outgoing;
    destination->peer = &peer_of(destinations.leader(g));
    outgoing->destinations.push_back(destination);
    ++outgoing->open;
  }
  return *outgoing;
}

Shard& Engine::add_shard(Outgoing& outgoing, Client& client, const Slice& slice, RequestId request,
                         std::uint64_t timeout_ns) {
  Shard* const shard = outbox_.make_shard();
  shard->outgoing = &outgoing;
  shard->client = &client;
  shard->slice = slice;
  charge(client, *shard);
  shard->request = request;
  shard->member = (*client.group)[client.shard];
  outgoing.shards.push_back(shard);
  outgoing.came.set(client.shard);
  if (--outgoing.missing == 0 && outgoing.group != nullptr) outbox_.stop_gathering(&outgoing);
  client.sends.push_back(shard);
  set_timer(shard->timer, Timer::kShard, shard, deadline(timeout_ns));
  return *shard;
}

// --- bytes come in
// --------------------------------------------------------------------------------------------------------------

// False: no room now.
bool Engine::take_room(Outgoing& outgoing) {
  const bool object = outgoing.meta.kind == ChunkKind::kObject;
  outgoing.slot = memory_.take_send(outgoing.meta.bytes, object ? kSlotAlign : outgoing.meta.unit_bytes);
  return outgoing.slot != nullptr;
}

// Fills its slice of the slot, now or in a while.
void Engine::start_shard(Shard& shard, const std::byte* inline_data) {
  Outgoing& outgoing = *shard.outgoing;
  counters_.bytes_captured += shard.slice.bytes;
  const Bytes into{outgoing.slot->data + shard.slice.begin, shard.slice.bytes};
  if (shard.source == Source::kInline) {
    std::memcpy(into.data(), inline_data, into.size());
    shard.inline_copy.reset();
    return shard_in(shard);
  }
  shard.state = ShardState::kMoving;
  ++outgoing.moving;
  // To whoever has given it up meanwhile, or is gone, the place is not offered: it would have to be kept.
  if (shard.source == Source::kFill)
    return transport_.after_arrived(shard.link, expect({.what = What::kShardReceived, .shard = &shard}));
  if (shard.source == Source::kDevice) {
    connect_early(outgoing);
    shard.copying = expect({.what = What::kShardCopied, .shard = &shard});
    device_->copy(shard.device, into, shard.copying);
    return;
  }
  const Incoming incoming = std::exchange(shard.incoming, {});
  consume(shard.link, incoming);
  transport_.receive(incoming, into, expect({.what = What::kShardReceived, .shard = &shard}));
}

// What is to leave part by part needs its links before the last part is here.
void Engine::connect_early(Outgoing& outgoing) {
  for (Destination* d = outgoing.destinations.front(); d != nullptr; d = Outgoing::DestinationList::next(d))
    want_link(*d->peer);
}

// Nothing more is written into its slice.
void Engine::shard_moved(Shard& shard, const Status& status) {
  Outgoing& outgoing = *shard.outgoing;
  --outgoing.moving;
  if (outgoing.abandoned) return finish_if_over(outgoing);
  if (status && shard.client != nullptr)
    return shard.source == Source::kFill ? offer_room(shard) : shard_in(shard);
  shard.state = ShardState::kWaiting;  // it has brought nothing
  // A payload does not come when its link has broken, of which we may not have been told yet.
  const bool client_lost = shard.client == nullptr || shard.source != Source::kDevice;
  shard_lost(shard, client_lost ? Error{Errc::kPeerLost} : status.error());
}

void Engine::on_copied(Token token, std::uint64_t bytes, const Status& status) {
  Completion* const found = completions_.find(Handle::unpack(token));
  CHECK(found != nullptr && found->what == What::kShardCopied);
  Shard& shard = *found->shard;
  if (status && bytes < shard.slice.bytes) {
    shard.ready = bytes;
    if (!shard.outgoing->abandoned && shard.client != nullptr) issue(*shard.outgoing, shard);
    return;
  }
  // All of it, but of which contents? Its owner may have given the send up long ago, with us standing still,
  // and have put something else there. That was said before it was done.
  if (status && shard.client != nullptr) {
    found->what = What::kShardReceived;
    return transport_.after_arrived(shard.client->link, token);
  }
  completions_.release(found);
  shard_moved(shard, status);
}

// The source is no longer needed: tell the client, and let it go to the destinations.
void Engine::shard_in(Shard& shard) {
  Outgoing& outgoing = *shard.outgoing;
  shard.state = ShardState::kIn;
  shard.ready = shard.slice.bytes;
  --outgoing.not_in;
  const bool of_the_client = shard.source == Source::kPayload || shard.source == Source::kDevice;
  if (of_the_client && shard.client != nullptr) {
    Reply& reply = renew<Reply>(scratch_);
    reply.request = shard.request;
    reply.stage = Stage::kCaptured;
    send_plain(shard.client->link, scratch_);
  }
  issue(outgoing, shard);
}

void Engine::pump_send_room() {
  send_room_changed_ = false;
  while (RoomWaiter* first = outbox_.line().front()) {
    if (first->is_allocation) {
      Allocation& allocation = *static_cast<Allocation*>(first);
      allocation.slot = memory_.take_send(allocation.bytes, allocation.unit_bytes);
      if (allocation.slot == nullptr) return;
      outbox_.line().remove(first);
      answer_allocation(allocation);
      continue;
    }
    Outgoing& outgoing = *static_cast<Outgoing*>(first);
    if (!take_room(outgoing)) return;
    outbox_.line().remove(first);
    ++outgoing.open;  // it stays until all its shards were looked at
    for (Shard* shard = outgoing.shards.front(); shard != nullptr;) {
      Shard* const next = Outgoing::ShardList::next(shard);
      if (shard->state == ShardState::kWaiting) start_shard(*shard, shard->inline_copy.get());
      shard = next;
    }
    --outgoing.open;
    finish_if_over(outgoing);
  }
}

}  // namespace sidecar
