// Clients: registration, their messages, allocations, views they give up, and what becomes of a client's
// things when it goes. Sending is in engine_send.cc, receiving in engine_recv.cc.
#include <algorithm>

#include "core/engine.h"
#include "core/engine_text.h"

namespace sidecar {

Status Engine::register_client(const ClientRegistration& registration) {
  if (registration.instance == 0) return fail(Errc::kInvalidArgument, "client instance: 0");
  if (draining_)
    return fail(Errc::kUnavailable, "this sidecar is draining, register with another", options_.rank);
  std::shared_ptr<const Ranks> group =
      registration.group.empty() ? alone_ : std::make_shared<const Ranks>(registration.group);
  const Rank member = registration.rank == kNoRank ? options_.rank : registration.rank;
  const auto place = std::ranges::lower_bound(*group, member);
  if (group->size() > kDestinationsMax || !std::ranges::is_sorted(*group) ||
      group->front() != options_.rank || place == group->end() || *place != member) {
    return fail(Errc::kInvalidArgument,
                "group: not sorted, not led by this rank, or without the client's own", member);
  }
  Client* client = clients_.find(registration.instance);
  if (client == nullptr) {
    client = clients_.make();
    client->instance = registration.instance;
  }
  if (registration.pid > 0 && !client->connected) client->pid = registration.pid;
  client->send_unit_bytes = registration.send_unit_bytes;
  client->receive_unit_bytes = registration.receive_unit_bytes;
  client->group = std::move(group);
  client->shard = static_cast<std::uint16_t>(place - client->group->begin());
  client->leased = registration.leased;
  client->registered = host_.now();
  note_clients();
  return {};
}

void Engine::unregister_client(InstanceId instance) {
  Client* const client = clients_.find(instance);
  if (client == nullptr) return;
  if (!client->connected) return forget_client(*client);
  transport_.after_arrived(client->link, expect({.what = What::kUnregistered, .instance = instance}));
}

void Engine::end_client(InstanceId instance, const char* why) {
  Client* const client = clients_.find(instance);
  if (client == nullptr) return;
  if (!client->connected) return forget_client(*client);
  const LinkId link = client->link;
  transport_.close(link);
  on_link_down(link, Error{Errc::kUnavailable, options_.rank, why});
}

void Engine::let_go(InstanceId by, InstanceId before) {
  const Client* const now = clients_.find(by);
  if (now == nullptr || now->pid <= 0 || by == before) return;
  const std::int64_t pid = now->pid;
  // It knows of the end of its connection before we do.
  if (const Client* client = clients_.find(before); client != nullptr && client->pid == pid)
    end_client(before, "its process has another connection");
  while (Client* const client = clients_.find_gone(before)) {
    if (client->pid != pid) return;
    if (client->watch != 0) {
      host_.unwatch_process(client->watch);
      completions_.release(completions_.find(Handle::unpack(client->watch)));
    }
    forget_client(*client);
  }
}

Result<HelloAck> Engine::hello_from_client(LinkId link, const Hello& hello) {
  Client* const client = clients_.find(hello.instance);
  if (client == nullptr)
    return fail(Errc::kUnauthorized, "client is not registered here: register first", options_.rank);
  if (client->connected) return fail(Errc::kUnavailable, "this client is connected already", options_.rank);
  if (const Status status = directory_.redeem(hello); !status) return tl::unexpected(status.error());
  client->link = link;
  client->connected = true;
  client->pid = hello.pid;
  Link& record = add_link(link, Link::Kind::kClient);
  record.client = client;
  record.instance = hello.instance;
  return HelloAck{};
}

void Engine::on_client_message(Link& link, const Message& message, const Incoming& incoming) {
  Client& client = *link.client;
  if (const auto* send = std::get_if<Send>(&message)) {
    on_send(link, *send, incoming);
    return;
  }
  if (incoming.present()) {  // well formed, but a sidecar's to say: Chunk, Reply
    discard(link.id, incoming);
    return protocol_error(link, "a payload with a message that carries none");
  }
  if (const auto* recv = std::get_if<Recv>(&message))
    on_recv(client, *recv);
  else if (const auto* done = std::get_if<MarkDone>(&message))
    on_mark_done(client, *done);
  else if (const auto* give_up = std::get_if<Release>(&message))
    on_release(client, *give_up);
  else if (const auto* allocate = std::get_if<Allocate>(&message))
    on_allocate(client, *allocate);
  else if (const auto* filled = std::get_if<Filled>(&message))
    on_filled(client, *filled);
  else if (const auto* cancel = std::get_if<Cancel>(&message))
    on_cancel(client, *cancel);
  else if (const auto* close = std::get_if<CloseStream>(&message))
    on_close_stream(client, *close);
  else if (const auto* ping = std::get_if<Ping>(&message)) {
    if (!ping->answer) send_plain(link.id, Ping{ping->value, true});
  } else if (std::holds_alternative<Goodbye>(message)) {
    // It has given up all views: nothing needs quarantine.
    transport_.close(link.id);
    link.kind = Link::Kind::kNone;
    client_gone(client, true);
  } else {
    protocol_error(link, "a message that clients do not send");
  }
}

// --- allocate, release, cancel
// ----------------------------------------------------------------------------------------------------

void Engine::on_allocate(Client& client, const Allocate& allocate) {
  const std::uint64_t unit = allocate.unit_bytes != 0 ? allocate.unit_bytes : client.send_unit_bytes;
  const auto refuse_with = [&](Errc code, const char* what, std::uint64_t a = 0, std::uint64_t b = 0) {
    answer(client, allocate.request, Error{code, kNoRank, what, a, b});
  };
  if (draining_) return refuse_with(Errc::kUnavailable, "allocate: this sidecar is draining");
  Status status = may_call(client.allocations.size());
  if (status) status = may_hold(client, allocate.bytes);
  if (!status) return answer(client, allocate.request, status.error());
  if (options_.arena_info.path.empty()) {
    return refuse_with(Errc::kUnavailable, "allocate: this sidecar's arena cannot be mapped");
  }
  if (!memory_.send_can_fit(allocate.bytes, unit)) {
    return refuse_with(Errc::kNoSpace,
                       "allocate: larger than the send region can ever hold (bytes asked, bytes there)",
                       allocate.bytes, memory_.send_limit());
  }
  if (outbox_.line().size() >= options_.waiting_sends_max) {
    return refuse_with(Errc::kUnavailable, "allocate: too many wait for room already; ask for less at once",
                       outbox_.line().size());
  }
  Allocation* const allocation = clients_.allocations().acquire();
  allocation->is_allocation = true;
  allocation->client = &client;
  allocation->request = allocate.request;
  allocation->bytes = allocate.bytes;
  allocation->unit_bytes = unit;
  client.allocations.push_back(allocation);
  client.bytes += allocation->bytes;
  if (outbox_.line().empty()) allocation->slot = memory_.take_send(allocate.bytes, unit);
  if (allocation->slot != nullptr) return answer_allocation(*allocation);
  ++counters_.parked;
  set_timer(allocation->timer, Timer::kAllocation, allocation, deadline(allocate.timeout_ns));
  outbox_.line().push_back(allocation);
}

void Engine::answer_allocation(Allocation& allocation) {
  timers_.cancel(allocation.timer);
  clients_.index(&allocation);
  Reply& reply = renew<Reply>(scratch_);
  reply.request = allocation.request;
  reply.where = Where::kArena;
  reply.arena = options_.arena_info;
  reply.offset = allocation.slot->offset;
  send_plain(allocation.client->link, scratch_);
}

void Engine::drop_allocation(Allocation& allocation) {
  timers_.cancel(allocation.timer);
  if (allocation.in_line.linked()) {
    outbox_.line().remove(&allocation);
    send_room_changed_ = true;  // who stood behind it may fit
  }
  if (allocation.slot != nullptr) {
    clients_.unindex(&allocation);
    release(std::exchange(allocation.slot, nullptr));
  }
  allocation.client->allocations.remove(&allocation);
  allocation.client->bytes -= allocation.bytes;
  clients_.allocations().release(&allocation);
}

void Engine::on_release(Client& client, const Release& give_up) {
  for (std::size_t i = 0; i < give_up.views; ++i) {
    Grant* const held = store_.grants().find(Handle::unpack(give_up.view[i]));
    if (held == nullptr || held->client != &client) continue;  // forfeited by mark_done already
    held->count -= std::min(held->count, give_up.count[i]);
    if (held->count == 0) drop_grant(*held);
  }
  for (std::size_t i = 0; i < give_up.slots; ++i) {
    Allocation* const allocation = clients_.find_allocation(client, give_up.slot[i]);
    if (allocation == nullptr) continue;
    if (allocation->fills.valid())
      drop_fill(*allocation,
                {Errc::kCancelled, kNoRank, "send: its place was given up before it was filled"});
    else
      drop_allocation(*allocation);
  }
}

void Engine::remove_grant(Grant& held) {
  if (held.entry != nullptr) held.entry->grants.remove(&held);
  held.client->grants.remove(&held);
  store_.grants().release(&held);
}

void Engine::drop_grant(Grant& held) {
  Slot* const slot = held.slot;
  remove_grant(held);
  release(slot);
}

void Engine::on_cancel(Client& client, const Cancel& cancel) {
  const Error cancelled{Errc::kCancelled, kNoRank, "cancelled by the caller", 0, 0};
  for (Waiter* waiter = client.waiters.front(); waiter != nullptr;
       waiter = Client::WaiterList::next(waiter)) {
    if (waiter->request != cancel.target) continue;
    Datum* const datum = waiter->entry->datum;
    end_waiter(*waiter, cancelled);
    tidy(datum);
    return;
  }
  for (Allocation* allocation = client.allocations.front(); allocation != nullptr;
       allocation = Client::AllocationList::next(allocation)) {
    if (allocation->request != cancel.target) continue;
    if (allocation->fills.valid()) return drop_fill(*allocation, cancelled);  // also when its send is over
    if (allocation->slot != nullptr) return;
    answer(client, allocation->request, cancelled);
    return drop_allocation(*allocation);
  }
  for (Shard* sending = client.sends.front(); sending != nullptr; sending = Client::SendList::next(sending)) {
    if (sending->request == cancel.target) return end_shard(*sending, cancelled);
  }
}

// --- a client goes
// ------------------------------------------------------------------------------------------------------------------

// Its waits, allocations and unfinished sends end; what was captured is still delivered. Slots that its
// process may still look at or write to are kept until that process is proven gone.
void Engine::client_gone(Client& client, bool proven) {
  client.connected = false;
  client.gone = true;
  note_clients();
  while (Waiter* waiter = client.waiters.front()) {
    Datum* const datum = waiter->entry->datum;
    drop_waiter(*waiter);
    tidy(datum);
  }
  while (Shard* sending = client.sends.pop_front()) {
    sending->client = nullptr;
    const bool with_us = sending->source == Source::kInline;  // its bytes are
    const bool copying = sending->state == ShardState::kFilling ||
                         (sending->state == ShardState::kMoving && sending->source == Source::kDevice);
    if (copying || (sending->state == ShardState::kWaiting && !with_us))
      shard_lost(*sending, Error{Errc::kPeerLost});
  }
  for (Allocation* waits = client.allocations.front(); waits != nullptr;) {
    Allocation* const next = Client::AllocationList::next(waits);
    if (waits->slot == nullptr) drop_allocation(*waits);
    waits = next;
  }
  if (!proven && (!client.grants.empty() || !client.allocations.empty())) {
    const Token token = expect({.what = What::kQuarantine, .client = &client});
    if (client.pid > 0 && host_.watch_process(client.pid, token)) {
      client.watch = token;
      return;
    }
    completions_.release(completions_.find(Handle::unpack(token)));
  }
  forget_client(client);
}

void Engine::forget_client(Client& client) {
  while (Grant* held = client.grants.front()) drop_grant(*held);
  while (Allocation* allocation = client.allocations.front()) drop_allocation(*allocation);
  clients_.erase(&client);
  note_clients();
}

}  // namespace sidecar
