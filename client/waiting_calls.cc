#include "client/waiting_calls.h"

#include <algorithm>
#include <utility>

namespace sidecar::client_internal {
namespace {

// What the sidecar is told of the call's time.
void set_timeout(Message& message, std::uint64_t timeout_ns) {
  if (auto* const send = std::get_if<Send>(&message)) send->timeout_ns = timeout_ns;
  if (auto* const recv = std::get_if<Recv>(&message)) recv->timeout_ns = timeout_ns;
  if (auto* const allocate = std::get_if<Allocate>(&message)) allocate->timeout_ns = timeout_ns;
  if (auto* const close = std::get_if<CloseStream>(&message)) close->timeout_ns = timeout_ns;
}

}  // namespace

void fail_op(Op& op, const Failure& failure) {
  if (op.captured != nullptr) op.captured->set(failure);
  std::visit([&](auto& state) { state->set(failure); }, op.result);
}

void WaitingCalls::add(Submission submission, TimeNs now) {
  const std::uint64_t timeout = submission.op->timeout_ns;
  const TimeNs until = timeout >= kNever - now ? kNever : now + timeout;
  calls_.push_back({std::move(submission), until});
  next_ = std::min(next_, until);
}

std::optional<Submission> WaitingCalls::take(TimeNs now) {
  if (calls_.empty()) return std::nullopt;
  const TimeNs until = calls_.front().until;
  std::optional<Submission> taken = remove(calls_.begin());
  if (until != kNever) {
    taken->op->timeout_ns = until > now ? until - now : 0;
    set_timeout(*taken->message, taken->op->timeout_ns);
  }
  return taken;
}

std::optional<Submission> WaitingCalls::take_due(TimeNs now) {
  if (now < next_) return std::nullopt;
  return remove(std::ranges::find_if(calls_, [now](const Waiting& w) { return w.until <= now; }));
}

std::optional<Submission> WaitingCalls::take_request(RequestId request) {
  return remove(
      std::ranges::find_if(calls_, [=](const Waiting& w) { return w.submission.op->request == request; }));
}

std::optional<Submission> WaitingCalls::remove(std::deque<Waiting>::iterator which) {
  if (which == calls_.end()) return std::nullopt;
  std::optional<Submission> taken = std::move(which->submission);
  const bool was_next = which->until == next_;
  calls_.erase(which);
  if (was_next) {
    next_ = kNever;
    for (const Waiting& waiting : calls_) next_ = std::min(next_, waiting.until);
  }
  return taken;
}

}  // namespace sidecar::client_internal
