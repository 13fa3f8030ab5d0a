// The orderly end of a sidecar: it takes nothing new, finishes what is under way, says goodbye and stops.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/engine.h"
#include "core/loop.h"

namespace sidecar {

struct DrainOutcome {
  bool finished = false;  // false: time ran out, and what was left is given up
  std::uint64_t outgoing_left = 0;
  std::uint64_t chunks_left = 0;  // that consumers here had not marked done
};

// The loop's thread only.
class Drain {
 public:
  using OnOver = std::function<void(const DrainOutcome&)>;
  struct Hooks {
    std::function<void()> on_begin;  // once
    std::function<void()> on_end;    // everything was said: the loop may stop
  };

  Drain(Engine& engine, Hooks hooks) : engine_(engine), hooks_(std::move(hooks)) {}

  // `why` is for the log. Waits for what is on its way to peers; with `until_done` also for consumers to mark
  // done what is held here. While it is under way already, asking again can only add to what is waited for
  // and give it more time. `on_over` (may be null) is called once, before the goodbye.
  void begin(const char* why, TimeNs timeout, bool until_done, OnOver on_over);
  [[nodiscard]] bool begun() const { return phase_ != Phase::kServing; }

  // After each step of the engine. True: call again soon.
  bool step();
  [[nodiscard]] TimeNs next_deadline() const { return ends_; }

 private:
  enum class Phase : std::uint8_t { kServing, kDraining, kLeaving, kOver };
  [[nodiscard]] bool finished() const;
  void leave();

  Engine& engine_;
  Hooks hooks_;
  Phase phase_ = Phase::kServing;
  TimeNs ends_ = kNever;  // of the phase
  bool until_done_ = false;
  std::vector<OnOver> waiting_;
};

}  // namespace sidecar
