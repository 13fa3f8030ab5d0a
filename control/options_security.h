// The settings that say who may reach what: TLS, the address to listen on, the group that shares the arena.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "control/options.h"
#include "control/options_membership.h"

namespace sidecar {

// Reads the TLS files and asks the system for the group.
tl::expected<void, WrongSetting> complete_security(Options& options);

// "clients need a certificate of /etc/ca.pem": for the list of settings in effect.
std::string tls_text(const TlsPaths& tls);

}  // namespace sidecar
