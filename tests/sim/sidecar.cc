#include "tests/sim/sidecar.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string_view>

#include "tests/sim/client.h"

namespace sidecar::sim {

Name net_address(Rank rank) { return Name("net:" + std::to_string(rank)); }
Name local_address(Rank rank) { return Name("local:" + std::to_string(rank)); }

SimSidecar* find_listener(SimWorld& world, const ConnectOptions& options, const SimProcess& from) {
  for (Rank rank = 0; rank < kRanksMax; ++rank) {
    const Name address = options.local ? local_address(rank) : net_address(rank);
    if (!(address == options.address)) continue;
    SimSidecar* const found = world.sidecar(rank);
    if (found == nullptr || !found->alive()) return nullptr;
    return options.local && found->machine() != from.machine() ? nullptr : found;
  }
  return nullptr;
}

bool arenas_are_private() {
  const char* const kind = std::getenv("SIM_ARENA");
  return kind != nullptr && std::string_view(kind) == "cuda";
}

SimSidecar::SimSidecar(SimWorld& world, const SidecarSpec& spec)
    : SimProcess(world, "sidecar " + std::to_string(spec.rank),
                 spec.machine.empty() ? spec.node : spec.machine),
      clock_(world),
      spec_(spec),
      instance_(world.new_id()),
      arena_(
          world.make_arena(machine(), spec.arena_bytes, instance_, spec.mappable && !arenas_are_private())) {
  EngineOptions options;
  options.rank = spec.rank;
  options.instance = instance_;
  options.pid = pid();
  options.node.assign(spec.node);
  options.arena = arena_->bytes;
  options.arena_info = arena_->info;
  options.hash_key[0] = world.random().next();
  options.hash_key[1] = world.random().next();
  if (spec.adjust) spec.adjust(options);
  engine_ = std::make_unique<Engine>(options, transport(), *this, *this, spec.gpu ? &device_ : nullptr);
  after_event();
}

// Several events may come before the engine gets to look around, as on a real loop.
void SimSidecar::after_event() {
  if (engine_ == nullptr || std::exchange(stepped_, false) || step_due_) return;
  step_due_ = true;
  world().post(*this, world().random().below(5 * kMicrosecond), [this] {
    step_due_ = false;
    step();
  });
}

void SimSidecar::step() {
  engine_->step();
  stepped_ = true;
  if (world().random().chance(world().conditions().check_rate)) engine_->check_invariants();
  const TimeNs next = engine_->next_timer();
  if (next == kNever) return;
  const TimeNs at = std::max(next, now() + 1);
  if (wake_at_ > now() && wake_at_ <= at) return;
  wake_at_ = at;
  world().post(*this, at - now(), [this, at] {
    if (wake_at_ == at) wake_at_ = kNever;
  });
}

void SimSidecar::died() {
  engine_.reset();
  mapped_.clear();
  arena_.reset();
}

bool SimSidecar::knows(Rank rank) const {
  return rank >= 0 && rank < kRanksMax && !strangers_.contains(rank);
}

void SimSidecar::resolve(Rank rank) {
  SimWorld& here = world();
  SimSidecar* const asked = here.sidecar(rank);
  const TimeNs delay = here.random().between(1, 2 * kMillisecond);
  const bool answers = asked != nullptr && asked->alive() && !asked->stopped() &&
                       here.reachable(*this, *asked) && here.reachable(*asked, *this);
  const bool refused = asked == nullptr || !asked->alive();
  here.post(*this, answers || refused ? delay : here.conditions().resolve_timeout, [this, rank, answers] {
    if (answers) {
      engine_->on_resolved(rank, look_up(rank));
    } else {
      engine_->on_resolved(rank, fail(Errc::kUnavailable, "its control port does not answer", rank));
    }
  });
}

Result<PeerRecord> SimSidecar::look_up(Rank rank) {
  const SimSidecar* const asked = world().sidecar(rank);
  if (!asked->alive()) return fail(Errc::kUnavailable, "its control port does not answer", rank);
  PeerRecord record;
  record.rank = rank;
  record.instance = asked->instance_;
  record.node.assign(asked->spec_.node);
  record.net_address = net_address(rank);
  record.local_address = local_address(rank);
  record.arena = asked->arena_->info;
  record.ticket = world().issue_ticket(instance_, asked->instance_, true);
  return record;
}

Status SimSidecar::redeem(const Hello& hello) {
  return world().take_ticket(hello.ticket, hello.instance, instance_);
}

Result<MappedArena> SimSidecar::map_arena(const ArenaInfo& info) {
  auto& mapped = mapped_[info.instance];
  if (mapped == nullptr) mapped = world().open_arena(info, machine());
  if (mapped == nullptr) {
    mapped_.erase(info.instance);
    return fail(Errc::kIo, "the arena file cannot be opened here or has another nonce");
  }
  return MappedArena{mapped->bytes.data(), mapped->bytes.size()};
}

void SimSidecar::unmap_arena(InstanceId instance) {
  if (alive()) mapped_.erase(instance);
}

bool SimSidecar::is_mapped_through(InstanceId through) {
  for (const auto& process : world().processes()) {
    const auto* const client = dynamic_cast<const SimClient*>(process.get());
    if (client != nullptr && client->alive() && client->looks_into(instance_, through)) return true;
  }
  return false;
}

bool SimSidecar::watch_process(std::int64_t pid, Token token) {
  SimProcess* const other = world().process_of(pid);
  // Nor one that has ended: its parent may have taken note of it, and its number is free.
  if (other == nullptr || other->machine() != machine() || !other->alive() || !alive()) return false;
  watched_.insert(token);
  other->watch(*this, token);
  return true;
}

void SimSidecar::unwatch_process(Token token) { CHECK(watched_.erase(token) == 1); }

void SimSidecar::process_gone(Token token) {
  if (watched_.erase(token) == 1) engine_->on_process_gone(token);
}

}  // namespace sidecar::sim
