// A message as text, one field a line: for golden files, and to compare messages in tests.
#pragma once

#include <string>

#include "core/messages.h"

namespace sidecar {

// Only fields that differ from the message's defaults, so that a field appended later leaves old golden texts
// alone. Two messages are equal exactly when their descriptions are.
std::string describe(const Message& message);

}  // namespace sidecar
