#include "tests/sim/client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/sidecar.h"

namespace sidecar::sim {

Destinations destinations(const std::vector<std::vector<Rank>>& to) {
  Destinations made;
  for (const auto& group : to) EXPECT_TRUE(made.add_group(group));
  return made;
}

void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << (outcome.is_final ? errc_name(outcome.reply.code) : "not over");
}

SimClient::SimClient(SimWorld& world, const ClientSpec& spec)
    : SimProcess(world, "client of " + std::to_string(spec.rank),
                 spec.machine.empty() ? world.sidecar(spec.rank)->machine() : spec.machine),
      spec_(spec),
      instance_(world.new_id()) {
  if (spec.connect) connect();
}

void SimClient::connect() {
  SimSidecar& home = *world().sidecar(spec_.rank);
  ClientRegistration registration;
  registration.instance = instance_;
  registration.send_unit_bytes = spec_.send_unit_bytes;
  registration.receive_unit_bytes = spec_.receive_unit_bytes;
  registration.group = spec_.group;
  registration.rank = spec_.member;
  const Status registered = home.engine().register_client(registration);
  EXPECT_TRUE(registered) << to_string(registered.error());
  Hello hello;
  hello.role = Role::kClient;
  hello.rank = spec_.rank;
  hello.instance = instance_;
  hello.to_instance = home.instance();
  hello.pid = pid();
  hello.node.assign(machine());
  hello.ticket = world().issue_ticket(instance_, home.instance(), false);
  ConnectOptions options;
  options.local = machine() == home.machine();
  options.two_endpoints = false;
  options.address = options.local ? local_address(spec_.rank) : net_address(spec_.rank);
  eager_sent_ = eager_consumed_ = 0;
  home_instance_ = home.instance();
  link_ = transport().connect(options, hello);
}

void SimClient::disconnect() {
  views_.clear();  // that is what Goodbye says
  slots_.clear();
  transport().send(link_, Goodbye{}, {}, false, 0);
}

void SimClient::cut_off() {
  transport().close(link_);
  filling_.clear();
  on_link_down(link_, Error{Errc::kUnavailable, kNoRank, "given up"});
}

void SimClient::forget_all() {
  views_.clear();
  slots_.clear();
}

void SimClient::died() {
  views_.clear();
  slots_.clear();
  arenas_.clear();
  home_.reset();
  sending_.clear();
  arriving_.clear();
  filling_.clear();
}

// Looks again at some of what it holds, now and then.
void SimClient::after_event() {
  if (views_.empty() || !world().random().chance(0.2)) return;
  auto view = views_.begin();
  std::advance(view, world().random().below(std::min<std::size_t>(views_.size(), 64)));
  check_view(view->second);
}

// --- requests
// ------------------------------------------------------------------------------------------------------------

RequestId SimClient::open(const ChunkName* name) {
  const RequestId request = ++last_request_;
  outcomes_[request].asked_at = world().now();
  if (name != nullptr) names_[request] = *name;
  return request;
}

RequestId SimClient::raw(const Message& message, RequestId request) {
  last_request_ = std::max(last_request_, request);
  outcomes_[request].asked_at = world().now();
  transport().send(link_, message, {}, false, 0);
  return request;
}

void SimClient::raw_payload(const Message& message, std::uint64_t bytes) {
  const Token token = ++last_token_;
  Payload& payload = sending_[token];
  payload.bytes.resize(bytes);
  transport().send(link_, message, payload.bytes, false, token);
}

RequestId SimClient::recv(const std::string& id, ChunkIndex chunk, TimeNs timeout, bool by_value) {
  const ChunkName name{id, chunk};
  Recv message;
  message.request = open(&name);
  message.id.assign(id);
  message.chunk = chunk;
  message.timeout_ns = timeout;
  message.by_value = by_value;
  transport().send(link_, message, {}, false, 0);
  return message.request;
}

RequestId SimClient::mark_done(const std::string& id, ChunkIndex chunk) {
  const ChunkName name{id, chunk};
  MarkDone message;
  message.request = open(&name);
  message.id.assign(id);
  message.chunk = chunk;
  done_.insert(name);
  std::erase_if(views_, [&](const auto& entry) { return entry.second.name == name; });
  transport().send(link_, message, {}, false, 0);
  return message.request;
}

RequestId SimClient::allocate(std::uint64_t bytes, TimeNs timeout, std::uint64_t unit_bytes) {
  Allocate message;
  message.request = open(nullptr);
  message.bytes = bytes;
  message.unit_bytes = unit_bytes;
  message.timeout_ns = timeout;
  allocating_[message.request] = bytes;
  transport().send(link_, message, {}, false, 0);
  return message.request;
}

RequestId SimClient::close_stream(const std::string& id, ChunkIndex num_chunks,
                                  const std::vector<std::vector<Rank>>& to, TimeNs timeout) {
  CloseStream message;
  message.request = open(nullptr);
  message.id.assign(id);
  message.num_chunks = num_chunks;
  message.destinations = destinations(to);
  message.timeout_ns = timeout;
  transport().send(link_, message, {}, false, 0);
  return message.request;
}

void SimClient::cancel(RequestId target) {
  filling_.erase(target);
  transport().send(link_, Cancel{target}, {}, false, 0);
}

void SimClient::release_view(std::uint64_t view) {
  const auto found = views_.find(view);
  if (found == views_.end()) return;
  Release message;
  message.views = 1;
  message.view[0] = view;
  message.count[0] = found->second.count;
  views_.erase(found);
  transport().send(link_, message, {}, false, 0);
}

void SimClient::release_all_views() {
  Release message;
  while (!views_.empty()) {
    message.views = 0;
    while (!views_.empty() && message.views < kReleasesMax) {
      message.view[message.views] = views_.begin()->first;
      message.count[message.views] = views_.begin()->second.count;
      ++message.views;
      views_.erase(views_.begin());
    }
    transport().send(link_, message, {}, false, 0);
  }
}

void SimClient::release_slot(std::uint64_t offset) {
  Release message;
  message.slots = 1;
  message.slot[0] = offset;
  slots_.erase(offset);
  transport().send(link_, message, {}, false, 0);
}

// --- what comes back
// ---------------------------------------------------------------------------------------------------------

Result<HelloAck> SimClient::on_hello(LinkId, const Hello&) {
  return fail(Errc::kUnavailable, "clients do not listen");
}

void SimClient::on_link_up(LinkId, const HelloAck& answer) {
  up_ = true;
  home_ = world().open_arena(answer.arena, machine());
}

void SimClient::on_link_down(LinkId, const Error& why) {
  up_ = false;
  down_ = why;
  // The library ends every open call. Views stay mapped, and are looked at, until the process ends.
  for (auto& [request, outcome] : outcomes_) {
    if (outcome.is_final) continue;
    outcome.is_final = true;
    outcome.at = world().now();
    outcome.reply.code = Errc::kPeerLost;
    outcome.reply.text.assign("the link to its own sidecar is down");
  }
}

void SimClient::on_message(LinkId, const Message& message, const Incoming& incoming) {
  if (const auto* reply = std::get_if<Reply>(&message)) {
    on_reply(*reply, incoming);
  } else if (const auto* credit = std::get_if<Credit>(&message)) {
    eager_consumed_ = credit->consumed;
  } else if (const auto* ping = std::get_if<Ping>(&message)) {
    if (!ping->answer) transport().send(link_, Ping{ping->value, true}, {}, false, 0);
  } else if (!std::holds_alternative<Goodbye>(message)) {
    ADD_FAILURE() << "a message that sidecars do not send to clients: " << message.index();
  }
}

void SimClient::on_reply(const Reply& reply, const Incoming& incoming) {
  const auto found = outcomes_.find(reply.request);
  ASSERT_NE(found, outcomes_.end()) << "an answer to nothing";
  Outcome& outcome = found->second;
  if (reply.stage == Stage::kCaptured) {
    EXPECT_FALSE(outcome.captured || outcome.is_final) << "captured twice, or after the end";
    outcome.captured = true;
    outcome.captured_at = world().now();
    return;
  }
  if (reply.stage == Stage::kRoom) {
    EXPECT_FALSE(outcome.has_room || outcome.is_final) << "told where twice, or after the end";
    outcome.has_room = true;
    return on_room(reply);
  }
  if (!incoming.present()) return finish(reply);
  const Token token = ++last_token_;
  Arriving& arriving = arriving_[token];
  arriving.bytes.resize(incoming.bytes);
  arriving.reply = reply;
  transport().receive(incoming, arriving.bytes, token);
}

void SimClient::finish(const Reply& reply) {
  Outcome& outcome = outcomes_.at(reply.request);
  ++outcome.finals;
  EXPECT_EQ(outcome.finals, 1) << "answered twice";
  if (outcome.is_final) return;
  outcome.is_final = true;
  outcome.at = world().now();
  outcome.reply = reply;
  if (const auto filling = filling_.find(reply.request); filling != filling_.end() && filling->second.at_once)
    filling_.erase(filling);
  const auto allocation = allocating_.find(reply.request);
  if (allocation != allocating_.end()) {
    if (reply.code == Errc::kOk) {
      EXPECT_EQ(reply.where, Where::kArena);
      EXPECT_FALSE(slots_.contains(reply.offset)) << "one slot given twice";
      slots_[reply.offset] = allocation->second;
    }
    return;
  }
  const auto name = names_.find(reply.request);
  if (name == names_.end() || reply.code != Errc::kOk) return;
  if (reply.where == Where::kInline) {
    outcome.salt = world().contents().identify({reply.inline_data.data(), reply.inline_bytes}, name->second);
    EXPECT_TRUE(outcome.salt) << name_of(name->second) << ": these are not its bytes";
  } else if (reply.where == Where::kArena) {
    on_view(reply, outcome);
  }
}

void SimClient::on_view(const Reply& reply, Outcome& outcome) {
  const ChunkName& name = names_.at(reply.request);
  auto& arena = arenas_[reply.arena.instance];
  if (arena == nullptr) arena = world().open_arena(reply.arena, machine());
  ASSERT_NE(arena, nullptr) << "told to look into an arena that this process cannot open";
  ASSERT_LE(reply.offset + reply.meta.bytes, arena->bytes.size());
  if (done_.contains(name)) return;  // its own mark_done was on its way: forfeited already
  View& view = views_[reply.view];
  const ConstBytes bytes = ConstBytes(arena->bytes).subspan(reply.offset, reply.meta.bytes);
  outcome.salt = world().contents().identify(bytes, name);
  ASSERT_TRUE(outcome.salt) << name_of(name) << ": these are not its bytes";
  if (view.count > 0) {
    EXPECT_EQ(view.bytes.data(), bytes.data()) << "one view, two places";
  }
  view.name = name;
  view.salt = *outcome.salt;
  view.bytes = bytes;
  view.offset = reply.offset;
  view.arena = reply.arena.instance;
  view.through = home_instance_;
  ++view.count;
}

void SimClient::on_sent(Token token, const Status&) {
  const auto found = sending_.find(token);
  ASSERT_NE(found, sending_.end()) << "a completion for nothing";
  std::ranges::fill(found->second.bytes, std::byte{0xcc});  // reused at once
  sending_.erase(found);
}

void SimClient::on_received(Token token, const Status& status) {
  const auto found = arriving_.find(token);
  ASSERT_NE(found, arriving_.end()) << "a completion for nothing";
  Arriving arriving = std::move(found->second);
  arriving_.erase(found);
  if (!status) return;
  finish(arriving.reply);
  const ChunkName& name = names_.at(arriving.reply.request);
  Outcome& outcome = outcomes_.at(arriving.reply.request);
  outcome.salt = world().contents().identify(arriving.bytes, name);
  EXPECT_TRUE(outcome.salt) << name_of(name) << ": these are not its bytes";
}

std::size_t SimClient::open_requests() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(outcomes_, [](const auto& entry) { return !entry.second.is_final; }));
}

bool SimClient::looks_into(InstanceId arena, InstanceId through) const {
  return std::ranges::any_of(views_, [&](const auto& entry) {
    return entry.second.arena == arena && entry.second.through == through;
  });
}

void SimClient::check_views() {
  for (const auto& [id, view] : views_) check_view(view);
}

void SimClient::check_view(const View& view) {
  EXPECT_TRUE(matches(view.bytes, view.name, view.salt))
      << name() << ": the memory of " << name_of(view.name) << " changed while it was being looked at";
}

}  // namespace sidecar::sim
