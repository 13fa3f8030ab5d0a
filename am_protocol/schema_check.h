// What grows in core only, or in the schema only, does not compile.
#pragma once

#include <utility>

#include "am_protocol/sidecar_v1_generated.h"
#include "core/messages.h"

namespace sidecar {

template <class Wire, class Core>
constexpr bool ends_at(Core last) {
  return static_cast<std::uint8_t>(Wire::MAX) == static_cast<std::uint8_t>(last);
}

static_assert(ends_at<wire::Errc>(Errc::kInternal));
static_assert(ends_at<wire::Dtype>(Dtype::kF8E5M2));
static_assert(ends_at<wire::ChunkKind>(ChunkKind::kObject));
static_assert(ends_at<wire::Role>(Role::kPeer));
static_assert(ends_at<wire::Source>(Source::kFill));
static_assert(ends_at<wire::Stage>(Stage::kRoom));
static_assert(ends_at<wire::Where>(Where::kPayload));
static_assert(static_cast<std::size_t>(wire::Body::MAX) == std::variant_size_v<Message>);

// A field more than the codec knows? Append it to the schema, to encode.cc and decode_*.cc, then count it
// here.
struct AnyField {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor): only ever looked at by the compiler
};
template <class T, std::size_t... I>
constexpr bool takes(std::index_sequence<I...>) {
  return requires { T{(static_cast<void>(I), AnyField{})...}; };
}
template <class T, std::size_t N>
constexpr bool kHasFields =
    takes<T>(std::make_index_sequence<N>()) && !takes<T>(std::make_index_sequence<N + 1>());

static_assert(kHasFields<ArenaInfo, 4> && kHasFields<ChunkMeta, 10> && kHasFields<Shape, 2>);
static_assert(kHasFields<Destinations, 3> && kHasFields<Transfer, 2>);
static_assert(kHasFields<Hello, 13> && kHasFields<HelloAck, 10> && kHasFields<Goodbye, 1> &&
              kHasFields<Ping, 2>);
static_assert(kHasFields<Credit, 2> && kHasFields<Send, 11> && kHasFields<Recv, 5> && kHasFields<Cancel, 1>);
static_assert(kHasFields<Allocate, 4> && kHasFields<Release, 5> && kHasFields<MarkDone, 3>);
static_assert(kHasFields<CloseStream, 5> && kHasFields<Reply, 15> && kHasFields<Chunk, 7>);
static_assert(kHasFields<ChunkRef, 4> && kHasFields<Unlink, 2> && kHasFields<StreamEnd, 3>);
static_assert(kHasFields<Ack, 5> && kHasFields<Refuse, 1> && kHasFields<Withdraw, 1>);
static_assert(kHasFields<Retract, 4> && kHasFields<DeviceSource, 5> && kHasFields<Filled, 1>);

}  // namespace sidecar
