// What the calls of Client have in common: how one begins, and one that is over before it began.
#pragma once

#include <memory>
#include <utility>

#include "client/arguments.h"
#include "client/runtime.h"
#include "sidecar/client.h"

namespace sidecar::client_internal {

template <class T>
StatePtr<T> state_of(const std::shared_ptr<Runtime>& runtime, RequestId request) {
  return std::make_shared<detail::State<T>>(runtime, request);
}

// A call that is over before it began.
template <class T>
Future<T> ready(Expected<T> value) {
  auto state = std::make_shared<detail::State<T>>(std::weak_ptr<detail::Driver>(), 0);
  state->set(std::move(value));
  return Future<T>(std::move(state));
}

inline Failure not_connected() { return {Errc::kUnavailable, kNoRank, "the client is not connected"}; }

template <class T>
std::unique_ptr<Op> make_op(const std::shared_ptr<Runtime>& runtime, OpKind kind,
                            std::chrono::nanoseconds deadline, Future<T>* future) {
  auto op = std::make_unique<Op>();
  op->kind = kind;
  op->request = runtime->next_request();
  op->timeout_ns = timeout_ns_of(deadline, runtime->options().deadline);
  StatePtr<T> state = state_of<T>(runtime, op->request);
  op->result = state;
  *future = Future<T>(std::move(state));
  return op;
}

}  // namespace sidecar::client_internal
