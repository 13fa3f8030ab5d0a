// A sidecar in the simulated world: a real Engine, on plain memory, whose transport, directory, host and
// clock are ours.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "core/engine.h"
#include "tests/sim/device.h"
#include "tests/sim/process.h"

namespace sidecar::sim {

struct SidecarSpec {
  Rank rank = 0;
  std::string node = "a";
  std::string machine{};  // where it really runs; empty: as `node` says
  std::uint64_t arena_bytes = 1 << 20;
  bool mappable = true;  // false: as a `cuda` arena, nobody else can open it
  bool gpu = true;
  std::function<void(EngineOptions&)> adjust{};
};

class SimSidecar final : public SimProcess, public Directory, public Host {
 public:
  SimSidecar(SimWorld& world, const SidecarSpec& spec);
  ~SimSidecar() override { died(); }

  [[nodiscard]] Rank rank() const { return spec_.rank; }
  [[nodiscard]] const SidecarSpec& spec() const { return spec_; }
  [[nodiscard]] InstanceId instance() const { return instance_; }
  Engine& engine() { return *engine_; }
  SimDevice& device() { return device_; }
  [[nodiscard]] EngineStats stats() const { return engine_->stats(); }
  [[nodiscard]] std::size_t arenas_mapped() const { return mapped_.size(); }
  [[nodiscard]] const SimArena& arena() const { return *arena_; }
  // For tests that speak to the engine as its control plane does: runs what became due.
  void touch() { after_event(); }
  // Whether the membership that this one is told of has that rank. By default it has all.
  void set_member(Rank rank, bool is) {
    if (is)
      strangers_.erase(rank);
    else
      strangers_.insert(rank);
  }

  Events& events() override { return *engine_; }
  void after_event() override;
  void process_gone(Token token) override;
  void died() override;

  // Directory
  bool knows(Rank rank) const override;
  void resolve(Rank rank) override;
  Status redeem(const Hello& hello) override;
  // Host
  TimeNs now() const override { return clock_.now(); }
  Result<MappedArena> map_arena(const ArenaInfo& arena) override;
  void unmap_arena(InstanceId instance) override;
  bool is_mapped_through(InstanceId sidecar) override;
  bool watch_process(std::int64_t pid, Token token) override;
  void unwatch_process(Token token) override;

 private:
  void step();
  Result<PeerRecord> look_up(Rank rank);

  const SimWorld& clock_;
  const SidecarSpec spec_;
  const InstanceId instance_;
  std::shared_ptr<SimArena> arena_;
  std::map<InstanceId, std::shared_ptr<SimArena>> mapped_;
  std::set<Rank> strangers_;
  std::set<Token> watched_;  // of which we have not been told yet
  SimDevice device_{*this};
  std::unique_ptr<Engine> engine_;
  bool step_due_ = false;
  bool stepped_ = false;     // the event that just ended was a step
  TimeNs wake_at_ = kNever;  // the earliest wake-up that is scheduled
};

// SIM_ARENA=cuda: no arena can be mapped, as with `--arena cuda`; clients get all bytes by value.
bool arenas_are_private();

inline constexpr Rank kRanksMax = 64;  // ranks that can exist in a simulated world

// Who listens at that address, as seen from there; nullptr: connection refused.
SimSidecar* find_listener(SimWorld& world, const ConnectOptions& options, const SimProcess& from);
Name net_address(Rank rank);
Name local_address(Rank rank);

}  // namespace sidecar::sim
