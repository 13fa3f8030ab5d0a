#include "client/session.h"

#include <vector>

#include "client/arguments.h"
#include "core/log.h"

namespace sidecar::client_internal {
namespace {

TimeNs later(TimeNs time, std::uint64_t by) { return time > kNever - by ? kNever : time + by; }

}  // namespace

Session::Session(SessionOptions options, Transport& transport, std::weak_ptr<Keeper> keeper)
    : options_(std::move(options)),
      transport_(transport),
      keeper_(std::move(keeper)),
      mappings_(options_.map) {}

Session::~Session() {
  const Failure closed{Errc::kCancelled, options_.rank, "the client was closed"};
  for (auto& [request, op] : std::exchange(ops_, {})) {
    op->sending = false;
    if (op->outcome) settle_send(*op);
    report(*op, closed);
  }
}

void Session::connect(const ConnectOptions& options, const Hello& hello) {
  CHECK(state_ == LinkState::kNone || state_ == LinkState::kDown);
  state_ = LinkState::kConnecting;
  releases_.begin(++epoch_);
  if (connection_ != nullptr) connection_->end();
  connection_ = std::make_shared<Connection>(hello.instance, options_.let_go);
  link_ = transport_.connect(options, hello);
}

bool Session::map_own_arena(const ArenaInfo& arena) {
  own_arena_ = {};
  if (!options_.map_arenas) return false;
  const MappedRegion* const writable = mappings_.get(arena, true);
  if (writable != nullptr) own_arena_ = *writable;
  return writable != nullptr && mappings_.get(arena, options_.writable_views) != nullptr;
}

void Session::start(std::unique_ptr<Op> taken, Message& message, ConstBytes payload) {
  Op& op = *taken;
  const RequestId request = op.request;
  CHECK(ops_.emplace(request, std::move(taken)).second);
  if (state_ != LinkState::kUp) {
    report(op, why_down_);
    erase_if_idle(request);
    return;
  }
  if (op.has_slot && op.slot_epoch != epoch_) {
    report(op, {Errc::kPeerLost, options_.rank,
                "buffer: the connection that it was allocated on has ended; allocate another"});
    erase_if_idle(request);
    return;
  }
  if (!understood(message)) {
    if (op.has_slot) releases_.add_slot(op.slot, op.slot_epoch);
    report(op, {Errc::kUnavailable, options_.rank,
                "the sidecar is older than this client and knows neither groups that copy together nor GPUs; "
                "update it"});
    erase_if_idle(request);
    return;
  }
  op.timer.object = &op;
  op.ends_at = later(options_.now(), op.timeout_ns);
  timers_.set(op.timer, later(op.ends_at, options_.grace_ns));
  if (payload.empty()) {
    send_plain(message);
    // Inline bytes were copied by that, and a buffer in the arena is not the caller's any more.
    if (!op.read_by_sidecar && op.captured != nullptr)
      std::exchange(op.captured, nullptr)->set(Expected<void>{});
  } else if (fills_itself(message, payload)) {
    ask_for_room(op, message, payload);
  } else {
    op.sending = true;
    transport_.send(link_, message, payload, !take_eager_credit(payload.size()), request);
  }
}

// Whether a sidecar of this one's version can read it.
bool Session::understood(const Message& message) const {
  const auto* const send = std::get_if<Send>(&message);
  if (send == nullptr || version_ >= kGroupsVersion) return true;
  return send->shards == 0 && send->source != Source::kNothing && send->source != Source::kDevice;
}

Op* Session::find(RequestId request) {
  const auto found = ops_.find(request);
  return found == ops_.end() ? nullptr : found->second.get();
}

// The caller gets its result now, unless the transport still reads the caller's memory.
void Session::report(Op& op, const Failure& failure) {
  if (op.reported) return;
  if (op.sending) {
    if (!op.outcome) op.outcome = failure;
    // A closed connection gives the memory back by itself; one that is up may hang.
    timers_.set(op.timer, state_ == LinkState::kUp ? later(options_.now(), options_.grace_ns) : kNever);
    return;
  }
  abandon_fill(op);
  timers_.cancel(op.timer);
  op.reported = true;
  if (op.captured != nullptr) std::exchange(op.captured, nullptr)->set(failure);
  std::visit([&](auto& state) { state->set(failure); }, op.result);
}

void Session::erase_if_idle(RequestId request) {
  const auto found = ops_.find(request);
  if (found == ops_.end()) return;
  const Op& op = *found->second;
  if (!op.reported || op.sending || op.arriving != nullptr) return;
  // Its destructor may give up a buffer: not under our feet.
  const std::unique_ptr<Op> last = std::move(found->second);
  ops_.erase(found);
}

void Session::end_all(const Failure& why) {
  std::vector<RequestId> requests;
  requests.reserve(ops_.size());
  for (const auto& [request, op] : ops_) requests.push_back(request);
  for (const RequestId request : requests) {
    Op* const op = find(request);
    if (op == nullptr) continue;  // a callback of an earlier one ended it
    if (state_ == LinkState::kUp && (op->sending || op->fill != nullptr)) {
      op->fill.reset();
      send_plain(Cancel{request});  // the sidecar lets go of the payload, or of the place for it
    }
    report(*op, why);
    erase_if_idle(request);
  }
}

void Session::lose(const Failure& why) {
  state_ = LinkState::kDown;
  why_down_ = why;
  mappings_.clear();  // they say through whom; views keep theirs
  end_all(why);
}

void Session::close_link(const Failure& why) {
  if (state_ != LinkState::kUp && state_ != LinkState::kConnecting) return;
  transport_.close(link_);
  lose(why);
}

void Session::cancel(RequestId request) {
  Op* const op = find(request);
  if (op == nullptr || op->reported || op->outcome || state_ != LinkState::kUp) return;
  op->cancelled = true;
  op->fill.reset();  // which is what Cancel says
  send_plain(Cancel{request});
  timers_.set(op->timer, later(options_.now(), options_.grace_ns));
}

bool Session::step() {
  const bool filled = fill_step();
  return flush_releases() || filled;
}

void Session::on_timer(TimeNs now) {
  while (TimerNode* const due = timers_.pop_due(now)) overdue(static_cast<Op*>(due->object)->request);
}

// The sidecar ought to have answered by its own clock. It is stopped, or worse.
void Session::overdue(RequestId request) {
  Op* const op = find(request);
  CHECK(op != nullptr && !op->reported);
  const Failure late{op->cancelled ? Errc::kCancelled : Errc::kTimeout, options_.rank,
                     "the sidecar did not answer in time; is it stopped?"};
  if (op->sending || (op->read_by_sidecar && !op->captured_by_sidecar)) {
    // Only the end of the connection gives the caller's memory back: it shows at the sidecar even when there
    // is no room left to tell it anything.
    LOG_WARN("the sidecar of rank {} hangs: giving up the connection", options_.rank);
    if (!op->outcome) op->outcome = late;
    send_plain(Cancel{request});  // found right behind the request, which must not be served any more
    transport_.close(link_);
    if (!op->sending) report(*op, late);
    lose({Errc::kPeerLost, options_.rank, "the sidecar hangs; the connection was given up"});
    return;
  }
  op->fill.reset();
  send_plain(Cancel{request});
  report(*op, late);
  erase_if_idle(request);
}

void Session::say_goodbye() {
  if (state_ != LinkState::kUp) return;
  flush_releases();
  transport_.send(link_, Goodbye{true}, {}, false, kGoodbyeToken);
}

Result<HelloAck> Session::on_hello(LinkId /*link*/, const Hello& /*hello*/) {
  return fail(Errc::kUnauthorized, "a client accepts no connections");
}

void Session::on_link_up(LinkId link, const HelloAck& answer) {
  if (!(link == link_)) return;
  version_ = answer.version;
  state_ = LinkState::kUp;
  eager_sent_ = eager_consumed_ = 0;
}

void Session::on_link_down(LinkId link, const Error& why) {
  if (!(link == link_) || state_ == LinkState::kDown) return;
  const bool was_up = state_ == LinkState::kUp;
  Failure failure = failure_of(why);
  if (was_up) {
    failure.message = "the sidecar is gone (" + failure.message + ")";
    failure.code = Errc::kPeerLost;
  }
  failure.rank = options_.rank;
  lose(failure);
}

void Session::on_message(LinkId link, const Message& message, const Incoming& incoming) {
  if (!(link == link_) || state_ != LinkState::kUp) {
    if (incoming.present()) transport_.discard(incoming);
    return;
  }
  if (const auto* const reply = std::get_if<Reply>(&message)) {
    on_reply(*reply, incoming);
    return;
  }
  if (incoming.present()) transport_.discard(incoming);
  if (const auto* const credit = std::get_if<Credit>(&message)) {
    if (credit->consumed <= eager_sent_ && credit->consumed > eager_consumed_)
      eager_consumed_ = credit->consumed;
  } else if (const auto* const ping = std::get_if<Ping>(&message)) {
    if (!ping->answer) send_plain(Ping{ping->value, true});
  } else if (std::get_if<Goodbye>(&message) != nullptr) {
    transport_.close(link_);
    lose({Errc::kPeerLost, options_.rank, "the sidecar has shut down"});
  } else {
    LOG_WARN_LIMITED("the sidecar of rank {} sent what no client expects", options_.rank);
  }
}

// The call whose answer cannot be read ends here: no other answer will come.
void Session::on_bad_message(LinkId link, const Message& rest, const Incoming& incoming, const Error& why) {
  if (incoming.present()) transport_.discard(incoming);
  const auto* const reply = std::get_if<Reply>(&rest);
  if (!(link == link_) || state_ != LinkState::kUp || reply == nullptr) return;
  Reply failed;
  failed.request = reply->request;
  failed.code = why.code;
  failed.text.assign(why.what);
  on_reply(failed, {});
}

void Session::on_sent(Token token, const Status& /*status*/) {
  if (token == kGoodbyeToken) {
    goodbye_sent_ = true;
    return;
  }
  Op* op = find(token);
  if (op == nullptr || !op->sending) return;
  // Whether it went well is told by the Reply, or by the end of the link.
  op->sending = false;
  capture_if_over(*op);
  op = find(token);  // a callback may have ended it
  if (op != nullptr) settle_send(*op);
}

void Session::on_resolved(Rank /*rank*/, const Result<PeerRecord>& /*record*/) {}

void Session::on_process_gone(Token /*token*/) {}

}  // namespace sidecar::client_internal
