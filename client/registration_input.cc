// What a client's settings say of its registration.
#include "client/registration.h"

namespace sidecar::client_internal {

Expected<RegisterInput> register_input(const ClientOptions& options) {
  RegisterInput input;
  input.sidecar.address = options.address;
  if (input.sidecar.address.empty()) {
    const Expected<std::string> address = default_address(options.group.front());
    if (!address) return address.error();
    input.sidecar.address = *address;
  }
  const auto credentials = credentials_of(options.tls);
  if (!credentials) return credentials.error();
  input.sidecar.credentials = *credentials;
  input.rank = options.rank;
  input.group = options.group;
  input.send_unit_bytes = options.send_unit_bytes;
  input.recv_unit_bytes = options.recv_unit_bytes;
  input.node = options.node.empty() ? host_name() : options.node;
  return input;
}

}  // namespace sidecar::client_internal
