// UCX active-message ids. Every message of the protocol travels under one; which it is says its Envelope.
#pragma once

namespace sidecar {

inline constexpr unsigned kAmId = 1;
// What a process sends to itself, to see that its queue in shared memory moves: see Plane::listen_for_self.
inline constexpr unsigned kSelfAmId = 2;

}  // namespace sidecar
