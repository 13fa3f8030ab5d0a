// SIM_TRACE=1 prints what happens in a simulated world, to replay a failure with open eyes.
#pragma once

#include <string>

#include "core/messages.h"

namespace sidecar::sim {

bool tracing();
void trace(TimeNs now, const std::string& text);
std::string describe(const Message& message);

}  // namespace sidecar::sim
