// The schema's enums and core's are the same numbers: an enum that grows on one side only does not compile.
#pragma once

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
static_assert(ends_at<wire::Source>(Source::kSlot));
static_assert(ends_at<wire::Stage>(Stage::kCaptured));
static_assert(ends_at<wire::Where>(Where::kPayload));
static_assert(static_cast<std::size_t>(wire::Body::MAX) == std::variant_size_v<Message>);

}  // namespace sidecar
