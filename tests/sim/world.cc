#include "tests/sim/world.h"

#include "tests/sim/client.h"
#include "tests/sim/process.h"
#include "tests/sim/sidecar.h"
#include "tests/sim/trace.h"

namespace sidecar::sim {

SimWorld::SimWorld(std::uint64_t seed, const Conditions& conditions)
    : seed_(seed), random_(seed), conditions_(conditions), network_(std::make_unique<SimNetwork>(*this)) {}

// Events hold references into processes and the network: they go first.
SimWorld::~SimWorld() {
  events_ = {};
  held_.clear();
  // Clients have views into arenas, sidecars map each other's.
  for (auto& process : processes_) process->died();
}

SimSidecar& SimWorld::add_sidecar(const SidecarSpec& spec) {
  auto made = std::make_unique<SimSidecar>(*this, spec);
  SimSidecar& sidecar = *made;
  by_pid_[sidecar.pid()] = &sidecar;
  processes_.push_back(std::move(made));
  sidecars_[spec.rank] = &sidecar;
  return sidecar;
}

SimClient& SimWorld::add_client(const ClientSpec& spec) {
  auto made = std::make_unique<SimClient>(*this, spec);
  SimClient& client = *made;
  by_pid_[client.pid()] = &client;
  processes_.push_back(std::move(made));
  return client;
}

SimSidecar* SimWorld::sidecar(Rank rank) {
  const auto found = sidecars_.find(rank);
  return found == sidecars_.end() ? nullptr : found->second;
}

SimProcess* SimWorld::process_of(std::int64_t pid) {
  const auto found = by_pid_.find(pid);
  return found == by_pid_.end() ? nullptr : found->second;
}

void SimWorld::at(TimeNs delay, Action action) {
  events_.push(Event{now_ + delay, ++last_event_, std::move(action)});
}

void SimWorld::post(SimProcess& process, TimeNs delay, Action action) {
  at(delay, [this, &process, action = std::move(action)] { run_in(process, action); });
}

void SimWorld::run_in(SimProcess& process, const Action& action) {
  if (!process.alive_) return;
  if (process.stopped_) {
    process.backlog_.push_back(action);
    return;
  }
  action();
  process.after_event();
}

bool SimWorld::run_next(TimeNs until) {
  if (events_.empty() || events_.top().at > until) {
    now_ = std::max(now_, until);
    return false;
  }
  now_ = std::max(now_, events_.top().at);
  const Action action = std::move(const_cast<Event&>(events_.top()).action);
  events_.pop();
  action();
  return true;
}

void SimWorld::run_for(TimeNs duration) {
  const TimeNs until = now_ + duration;
  while (run_next(until)) {
  }
}

bool SimWorld::run_until(const std::function<bool()>& done, TimeNs limit) {
  const TimeNs until = now_ + limit;
  while (!done()) {
    if (!run_next(until)) return done();
  }
  return true;
}

void SimWorld::stop(SimProcess& process) {
  if (tracing()) trace(now_, process.name() + " stops");
  process.stopped_ = true;
}

void SimWorld::go_on(SimProcess& process) {
  if (!process.stopped_) return;
  if (tracing()) trace(now_, process.name() + " goes on");
  process.stopped_ = false;
  while (!process.backlog_.empty()) {
    const Action action = std::move(process.backlog_.front());
    process.backlog_.pop_front();
    run_in(process, action);
  }
}

void SimWorld::kill(SimProcess& process) {
  if (!process.alive_) return;
  if (tracing()) trace(now_, process.name() + " is killed");
  network_->process_died(process);
  process.alive_ = false;
  process.stopped_ = false;
  process.backlog_.clear();
  for (const auto& [watcher, token] : process.watchers_) {
    post(*watcher, random_.below(50 * kMillisecond),
         [to = watcher, token = token] { to->process_gone(token); });
  }
  process.died();
}

void SimWorld::cut_off(SimProcess& from, SimProcess& to) {
  if (tracing()) trace(now_, from.name() + " is cut off from " + to.name());
  cut_off_.emplace(from.pid(), to.pid());
}

void SimWorld::heal() {
  if (tracing()) trace(now_, "healed");
  cut_off_.clear();
  const std::vector<Action> held = std::move(held_);
  held_.clear();
  for (const Action& action : held) action();
}

bool SimWorld::reachable(const SimProcess& from, const SimProcess& to) const {
  return !cut_off_.contains({from.pid(), to.pid()});
}

Ticket SimWorld::issue_ticket(InstanceId from, InstanceId to, bool single_use) {
  const std::string text = "ticket-" + std::to_string(++last_ticket_);
  tickets_[text] = {from, to, single_use};
  return Ticket(text);
}

Status SimWorld::take_ticket(const Ticket& ticket, InstanceId from, InstanceId to) {
  const auto found = tickets_.find(std::string(ticket.view()));
  if (found == tickets_.end()) return fail(Errc::kUnauthorized, "ticket: unknown or used");
  if (found->second.from != from || found->second.to != to)
    return fail(Errc::kUnauthorized, "ticket: not for this Hello");
  if (found->second.single_use) tickets_.erase(found);
  return {};
}

std::shared_ptr<SimArena> SimWorld::make_arena(const std::string& machine, std::uint64_t bytes,
                                               InstanceId instance, bool mappable) {
  auto arena = std::make_shared<SimArena>();
  arena->storage.assign(bytes + 4096, std::byte{0xdd});
  const auto start = reinterpret_cast<std::uintptr_t>(arena->storage.data());
  arena->bytes = Bytes(arena->storage.data() + ((4096 - start % 4096) % 4096), bytes);
  arena->info.instance = instance;
  arena->info.nonce = random_.next();
  arena->info.bytes = bytes;
  if (mappable) arena->info.path.assign("sidecar-" + std::to_string(instance));
  arena->machine = machine;
  arenas_[instance] = arena;
  return arena;
}

std::shared_ptr<SimArena> SimWorld::open_arena(const ArenaInfo& info, const std::string& machine) {
  const auto found = arenas_.find(info.instance);
  if (info.path.empty() || found == arenas_.end()) return nullptr;
  auto arena = found->second.lock();
  if (arena == nullptr || arena->machine != machine || arena->info.nonce != info.nonce) return nullptr;
  return arena;
}

}  // namespace sidecar::sim
