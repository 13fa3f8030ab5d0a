// The settings that say who is in the cluster: checked, and completed with what follows from others.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "control/options.h"

namespace sidecar {

struct WrongSetting {
  std::string flag;  // without dashes; empty: the text says it all
  std::string text;
};

// Once listen, advertise and the ports that were given are known. Also sets the gRPC port, if none was given.
tl::expected<void, WrongSetting> complete_membership(Options& options);

}  // namespace sidecar
