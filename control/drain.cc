#include "control/drain.h"

#include <utility>

#include "control/units.h"
#include "core/log.h"

namespace sidecar {
namespace {

constexpr TimeNs kGoodbyeNs = 150 * kMillisecond;  // for Goodbye to leave before its connection closes

}  // namespace

void Drain::begin(const char* why, TimeNs timeout, bool until_done, OnOver on_over) {
  const TimeNs now = Loop::now_ns();
  if (phase_ > Phase::kDraining) {
    if (on_over) on_over({finished(), engine_.stats().outgoing, engine_.undone()});
    return;
  }
  if (on_over) waiting_.push_back(std::move(on_over));
  const TimeNs end = timeout < kNever - now ? now + timeout : kNever;
  LOG_INFO("draining: {}; at most {}{}", why, duration_text(timeout),
           until_done ? ", until consumers are done" : "");
  until_done_ |= until_done;
  ends_ = phase_ == Phase::kServing ? end : std::max(ends_, end);
  if (std::exchange(phase_, Phase::kDraining) == Phase::kDraining) return;
  hooks_.on_begin();
  engine_.drain();
}

bool Drain::finished() const { return engine_.drained() && (!until_done_ || engine_.undone(1) == 0); }

bool Drain::step() {
  if (phase_ == Phase::kDraining && (finished() || Loop::now_ns() >= ends_)) {
    leave();
    return true;
  }
  if (phase_ == Phase::kLeaving && Loop::now_ns() >= ends_) {
    phase_ = Phase::kOver;
    ends_ = kNever;
    hooks_.on_end();
  }
  return false;
}

void Drain::leave() {
  const DrainOutcome outcome{finished(), engine_.stats().outgoing, engine_.undone()};
  if (!outcome.finished) {
    LOG_WARN("draining took too long: {} sends and {} chunks that were not marked done are given up",
             outcome.outgoing_left, outcome.chunks_left);
  }
  for (const OnOver& on_over : std::exchange(waiting_, {})) on_over(outcome);
  engine_.say_goodbye();
  phase_ = Phase::kLeaving;
  ends_ = Loop::now_ns() + kGoodbyeNs;
}

}  // namespace sidecar
