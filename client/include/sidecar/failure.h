// How a call ends when it does not succeed. Nothing in this library throws; every result is looked at by its
// caller.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/errc.h"

namespace sidecar {

using Rank = std::int32_t;         // names a sidecar
using ChunkIndex = std::uint32_t;  // 0 .. num_chunks-1

inline namespace api {

struct FailedRank {
  Rank rank = kNoRank;
  Errc code = Errc::kInternal;
};

struct Failure {
  Errc code = Errc::kInternal;
  Rank rank = kNoRank;    // the sidecar it concerns; kNoRank: none in particular
  std::string message{};  // what failed and, where that helps, what to do
  std::vector<FailedRank>
      failed{};  // send to several groups: the leaders that did not get it; the others did
};

// "PeerLost: the sidecar is gone (rank 3)"
std::string to_string(const Failure& failure);

// A value or the reason why there is none. Like std::expected of C++23, which this library cannot ask for.
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Expected(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return (assert(has_value()), *std::get_if<0>(&state_)); }
  const T& value() const& { return (assert(has_value()), *std::get_if<0>(&state_)); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Failure& error() const { return (assert(!has_value()), *std::get_if<1>(&state_)); }
  // kOk when there is a value.
  [[nodiscard]] Errc code() const { return has_value() ? Errc::kOk : error().code; }

 private:
  std::variant<T, Failure> state_;
};

template <>
class [[nodiscard]] Expected<void> {
 public:
  Expected() = default;
  Expected(Failure failure) : failure_(std::move(failure)), has_value_(false) {}

  [[nodiscard]] bool has_value() const { return has_value_; }
  explicit operator bool() const { return has_value(); }
  [[nodiscard]] const Failure& error() const { return (assert(!has_value_), failure_); }
  [[nodiscard]] Errc code() const { return has_value_ ? Errc::kOk : failure_.code; }

 private:
  Failure failure_;
  bool has_value_ = true;
};

}  // namespace api
}  // namespace sidecar
