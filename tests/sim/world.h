// A world in one thread: a clock that stands still until somebody advances it, processes that run, stop and
// die, and a network between them (network.h). Everything that happens by chance comes from one seed, so a
// failure replays.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/ports.h"
#include "tests/sim/contents.h"
#include "tests/sim/random.h"

namespace sidecar::sim {

class SimClient;
class SimNetwork;
class SimProcess;
class SimSidecar;
struct ClientSpec;
struct SidecarSpec;

using Action = std::function<void()>;

inline constexpr TimeNs kMicrosecond = 1'000;

// How badly the world behaves. The default is a healthy one: delays, nothing lost.
struct Conditions {
  TimeNs local_delay = 20 * kMicrosecond;  // of a message, at most
  TimeNs net_delay = 300 * kMicrosecond;
  double spike = 0.0;  // chance that a message takes up to spike_delay
  TimeNs spike_delay = 20 * kMillisecond;
  double reorder = 0.0;  // chance that a message with payload overtakes others
  TimeNs rendezvous_delay =
      100 * kMicrosecond;  // from receive() to the last byte, at most; bandwidth comes on top
  double bytes_per_ns = 4.0;
  TimeNs death_notice = 20 * kMillisecond;  // until the others' kernels notice that a process died, at most
  TimeNs connect_timeout = 3 * kSecond;
  TimeNs resolve_timeout = 2 * kSecond;
  double check_rate = 0.02;  // chance that a step is followed by check_invariants()
};

// An arena outlives its process for as long as somebody maps it.
struct SimArena {
  std::vector<std::byte> storage;
  Bytes bytes;  // of storage, on a page boundary
  ArenaInfo info;
  std::string machine;
};

// GPU memory of one process, by a number that stands in for its IPC handle.
struct GpuMemory {
  const SimProcess* owner = nullptr;
  std::vector<std::byte> bytes;
};
using GpuMemories = std::unordered_map<std::uint64_t, GpuMemory>;

class SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed, const Conditions& conditions = {});
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  [[nodiscard]] std::uint64_t seed() const { return seed_; }
  [[nodiscard]] TimeNs now() const { return now_; }
  Random& random() { return random_; }
  Conditions& conditions() { return conditions_; }
  SimNetwork& network() { return *network_; }
  Contents& contents() { return contents_; }
  GpuMemories& gpu_memories() { return gpu_memories_; }

  // The sidecar of a rank that had one becomes a new instance; kill the old one first.
  SimSidecar& add_sidecar(const SidecarSpec& spec);
  SimClient& add_client(const ClientSpec& spec);
  // The latest instance; nullptr: none yet. May be dead.
  SimSidecar* sidecar(Rank rank);
  [[nodiscard]] const std::vector<std::unique_ptr<SimProcess>>& processes() const { return processes_; }

  // Something the world does.
  void at(TimeNs delay, Action action);
  // Something a process does: when it is stopped, once it goes on; never when it is dead by then.
  void post(SimProcess& process, TimeNs delay, Action action);

  void run_for(TimeNs duration);
  // False: `limit` went by and it did not come true.
  bool run_until(const std::function<bool()>& done, TimeNs limit = 30 * kSecond);

  // --- faults
  // ----------------------------------------------------------------------------------------------------------
  void stop(SimProcess& process);  // SIGSTOP
  void go_on(SimProcess& process);
  void kill(SimProcess& process);  // SIGKILL
  // Nothing gets from one to the other any more, until healed: then it does, late.
  void cut_off(SimProcess& from, SimProcess& to);
  void heal();
  [[nodiscard]] bool reachable(const SimProcess& from, const SimProcess& to) const;
  void hold_until_healed(Action action) { held_.push_back(std::move(action)); }

  // --- what all processes share
  // ---------------------------------------------------------------------------------------
  std::uint64_t new_id() { return ++last_id_ * 1000003; }
  std::int64_t new_pid() { return ++last_pid_; }
  Ticket issue_ticket(InstanceId from, InstanceId to, bool single_use);
  Status take_ticket(const Ticket& ticket, InstanceId from, InstanceId to);
  std::shared_ptr<SimArena> make_arena(const std::string& machine, std::uint64_t bytes, InstanceId instance,
                                       bool mappable);
  // nullptr: cannot be opened from that machine, or its nonce is not the one named.
  std::shared_ptr<SimArena> open_arena(const ArenaInfo& info, const std::string& machine);
  SimProcess* process_of(std::int64_t pid);

 private:
  struct Event {
    TimeNs at;
    std::uint64_t number;
    Action action;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : number > other.number;
    }
  };
  struct TicketFacts {
    InstanceId from, to;
    bool single_use;
  };
  void run_in(SimProcess& process, const Action& action);
  bool run_next(TimeNs until);

  const std::uint64_t seed_;
  Random random_;
  Conditions conditions_;
  TimeNs now_ = 1000 * kSecond;
  std::uint64_t last_event_ = 0, last_id_ = 0, last_ticket_ = 0;
  std::int64_t last_pid_ = 100;
  Contents contents_;
  GpuMemories gpu_memories_;
  std::unordered_map<std::string, TicketFacts> tickets_;
  std::unordered_map<InstanceId, std::weak_ptr<SimArena>> arenas_;
  std::unordered_map<Rank, SimSidecar*> sidecars_;
  std::set<std::pair<std::int64_t, std::int64_t>> cut_off_;
  std::vector<Action> held_;
  std::unique_ptr<SimNetwork> network_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::unordered_map<std::int64_t, SimProcess*> by_pid_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

}  // namespace sidecar::sim
