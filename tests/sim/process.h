// Something with a pid that runs, may be stopped, and dies.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/world.h"

namespace sidecar::sim {

class SimProcess {
 public:
  SimProcess(SimWorld& world, std::string name, std::string machine)
      : world_(world),
        name_(std::move(name)),
        machine_(std::move(machine)),
        pid_(world.new_pid()),
        transport_(*this) {}
  virtual ~SimProcess() = default;
  SimProcess(const SimProcess&) = delete;
  SimProcess& operator=(const SimProcess&) = delete;

  SimWorld& world() { return world_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& machine() const { return machine_; }
  [[nodiscard]] std::int64_t pid() const { return pid_; }
  [[nodiscard]] bool alive() const { return alive_; }
  [[nodiscard]] bool stopped() const { return stopped_; }
  SimTransport& transport() { return transport_; }

  virtual Events& events() = 0;
  // After each thing that happened to the process.
  virtual void after_event() {}
  // One that it watches has ended.
  virtual void process_gone(Token) {}
  // Its memory is gone.
  virtual void died() {}

 private:
  friend class SimWorld;
  SimWorld& world_;
  const std::string name_;
  const std::string machine_;
  const std::int64_t pid_;
  bool alive_ = true;
  bool stopped_ = false;
  std::deque<Action> backlog_;                           // what happened while it was stopped
  std::vector<std::pair<SimProcess*, Token>> watchers_;  // told when it is gone
  SimTransport transport_;

 public:
  void watch(SimProcess& watcher, Token token) { watchers_.emplace_back(&watcher, token); }
};

}  // namespace sidecar::sim
