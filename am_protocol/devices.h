// Which of this host's network devices the network plane uses.
#pragma once

#include <string>

namespace sidecar {

// The value of UCX_NET_DEVICES for a process that others reach at `address` (numeric): the interface that has
// it, and all active RDMA ports. Empty, which leaves the choice to UCX: a loopback address, or one that no
// interface here has (it is translated on the way).
//
// UCX 1.13 needs that where there are several interfaces: once a connection over TCP has come in on the right
// one, the accepting side chooses anew among all of its own, takes the first, and the connection breaks. Seen
// with two interfaces of equal speed, each with an address of its own subnet.
std::string devices_for(const std::string& address);

}  // namespace sidecar
