// UCX active-message ids. Every message of the protocol travels under one; which it is says its Envelope.
#pragma once

namespace sidecar {

inline constexpr unsigned kAmId = 1;

}  // namespace sidecar
