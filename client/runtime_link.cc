// Connecting and disconnecting. Everything here runs on the loop's thread.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "client/arguments.h"
#include "client/runtime.h"
#include "core/arena_map.h"
#include "core/fd.h"
#include "core/log.h"

namespace sidecar::client_internal {
namespace {

struct PinnableMap {
  explicit PinnableMap(ArenaMap&& mapped)
      : map(std::move(mapped)), pin(map.data(), map.bytes(), map.writable_data() == nullptr) {}
  ArenaMap map;
  Pin pin;
};

// Its owner lives: it holds the lock of its arena's file.
bool is_alive(const ArenaInfo& arena) {
  const Fd fd(::open(std::string(arena.path.view()).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return fd.valid() && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

// Our own sidecar knows what we look at in its arena. Its neighbours know it of our sidecar only: we may look
// where it told us if it was alive when we had begun to say so in the neighbour's file. Otherwise that one
// may have reused the memory already.
Result<MappedRegion> map_arena(const ArenaInfo& arena, bool writable, const ArenaInfo& own) {
  const InstanceId through = arena.instance == own.instance ? 0 : own.instance;
  if (through != 0 && own.path.empty())
    return fail(Errc::kUnavailable, "the sidecar that told of this arena has none whose end would show");
  auto map = ArenaMap::open(std::string(arena.path.view()), arena.instance, arena.nonce, writable, through);
  if (map && through != 0 && !is_alive(own))
    return fail(Errc::kPeerLost, "the sidecar that told of this arena has ended");
  if (!map) return tl::unexpected(map.error());
  auto shared = std::make_shared<PinnableMap>(*std::move(map));
  const ArenaMap& mapped = shared->map;
  return MappedRegion{mapped.data(), mapped.writable_data(), mapped.bytes(), shared, &shared->pin};
}

// Spinning takes the time from those who would do the work when there is no core to spare.
PollPolicy policy_of(Polling polling) {
  if (polling == Polling::kBusy) return PollPolicy::kBusy;
  const bool spare_cores = std::thread::hardware_concurrency() > 2;
  return polling == Polling::kAdaptive && spare_cores ? PollPolicy::kAdaptive : PollPolicy::kEvent;
}

std::uint64_t random_link() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

void Runtime::set_hooks() {
  LoopHooks hooks;
  hooks.on_step = [this] {
    if (session_ == nullptr) return false;
    const bool changed = check_home();
    return session_->step() || changed;
  };
  hooks.next_deadline = [this] {
    if (session_ == nullptr) return wake_at_;
    const TimeNs connect_until = closing_ ? kNever : connect_until_;  // nobody looks at it any more
    return std::min({wake_at_, session_->next_deadline(), waiting_.next_deadline(), connect_until});
  };
  hooks.on_timer = [this](TimeNs now) {
    if (now >= wake_at_) wake_at_ = kNever;  // it has served: the loop is awake
    if (session_ == nullptr) return;
    session_->on_timer(now);
    end_late_calls(now);
  };
  loop_->set_hooks(std::move(hooks));
}

// The way through shared memory first; whether the arena can be mapped proves that there is one.
Failure Runtime::set_up() {
  LoopOptions loop;
  loop.policy = policy_of(options_.polling);
  loop_ = std::make_unique<Loop>(loop);
  set_hooks();
  start_renewal();
  const auto wait = static_cast<TimeNs>(std::max<std::int64_t>(options_.connect_deadline.count(), 0));
  const TimeNs now = Loop::now_ns();
  const TimeNs until = wait > kNever - now ? kNever : now + wait;
  Failure failure = connect(true, until);
  const bool final = failure.code == Errc::kUnauthorized || failure.code == Errc::kInvalidArgument;
  if (failure.code != Errc::kOk && !final) failure = connect(false, until);
  unregister_ = opened_ = failure.code == Errc::kOk;
  prefers_local_ = local_;
  if (opened_) renewal_->set_again(options_.reconnect);
  return failure;
}

Failure Runtime::connect(bool local, TimeNs until) {
  const std::string& address = local ? registered_->local_address : registered_->net_address;
  local_ = local;
  if (address.empty()) return {Errc::kUnavailable, rank(), "the sidecar names no address to connect to"};
  transport_.reset();
  session_.reset();
  UcxOptions ucx;
  ucx.local = local;
  ucx.net = !local;
  auto transport = UcxTransport::create(ucx, *loop_);
  if (!transport) return failure_of(transport.error());
  transport_ = std::move(*transport);
  SessionOptions session;
  session.rank = rank();
  session.grace_ns = timeout_ns_of(options_.grace, std::chrono::seconds(2));
  session.map_arenas = options_.map_arenas;
  session.writable_views = options_.writable_views;
  session.now = &Loop::now_ns;
  session.map = [this](const ArenaInfo& arena, bool writable) {
    return map_arena(arena, writable, registered_->arena);
  };
  session.let_go = [this](InstanceId instance) { renewal_->let_go(instance); };
  session_ = std::make_unique<Session>(std::move(session), *transport_, weak_from_this());
  transport_->set_events(*session_);
  maps_arena_ = session_->map_own_arena(registered_->arena);
  if (local && !maps_arena_) return {Errc::kUnavailable, rank(), "the sidecar's arena cannot be mapped"};
  session_->connect({local, false, Name(address)}, hello());
  drive_until(until, [this] { return session_->link_state() != Session::LinkState::kConnecting; });
  if (session_->link_state() == Session::LinkState::kConnecting) {
    session_->close_link({Errc::kUnavailable, rank(), "the sidecar did not accept the connection in time"});
    return {Errc::kUnavailable, rank(), "the sidecar did not accept the connection in time"};
  }
  if (session_->up()) return {Errc::kOk, kNoRank, ""};
  LOG_DEBUG("connecting to {} ended: {}", address, to_string(session_->why_down()));
  return session_->why_down();
}

Hello Runtime::hello() const {
  Hello hello;
  hello.role = Role::kClient;
  hello.link = random_link();
  hello.rank = options_.rank;  // whom the ticket is for: a member of the group, not always its leader
  hello.instance = instance_;
  hello.to_instance = registered_->sidecar;
  hello.pid = ::getpid();
  hello.node = Name(input_.node);
  hello.ticket = Ticket(registered_->ticket);
  return hello;
}

// Everybody else is gone. What still waits is ended, what is given up is told, then goodbye.
void Runtime::tear_down() {
  renewal_.reset();
  if (session_ != nullptr) {
    take_submissions();
    if (session_->up()) {
      end_calls();
      drive_until(Loop::now_ns() + kSecond, [this] { return session_->under_way() == 0; });
      session_->say_goodbye();
      drive_until(Loop::now_ns() + kSecond / 2, [this] { return session_->over(); });
    }
    unregister_ = unregister_ && session_->up();
    end_calls();
    session_->close_link({Errc::kUnavailable, rank(), "the client was closed"});
  }
  mailbox_.reset();
  transport_.reset();
  session_.reset();
  loop_.reset();
}

}  // namespace sidecar::client_internal
