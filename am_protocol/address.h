// Socket addresses as text: "127.0.0.1:12000", "[::1]:12000".
#pragma once

#include <sys/socket.h>

#include <string_view>

#include "core/types.h"

namespace sidecar {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// kResolve asks the system's resolver, which may block for seconds: not on the loop.
enum class HostNames : std::uint8_t { kRefuse, kResolve };
Result<SocketAddress> parse_address(std::string_view text, HostNames names);

Name format_address(const sockaddr_storage& address);

// Why this address cannot be listened at: an errno, or 0 when it could be. UCX tells only that it failed.
int listen_errno(const SocketAddress& address);

// From now on this process's socket that listens there ignores whoever wants to connect. For a listener that
// is about to be closed, and whose descriptor only UCX knows.
void ignore_new_connections(const sockaddr_storage& address);

// Ends every connection that this process has accepted there, again for the listener's sake: UCX closes those
// that have not said yet what they want. What is left of them, to be asked again.
struct Accepted {
  std::size_t open = 0;     // not closed yet by whose they are
  std::size_t in_line = 0;  // not even accepted yet
};
Accepted end_accepted(const sockaddr_storage& address);

}  // namespace sidecar
