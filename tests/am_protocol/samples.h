// One or more messages of every kind, with every field away from its default somewhere. Their bytes are the
// golden files, so an entry is never changed: add another one.
#pragma once

#include <string>
#include <vector>

#include "core/messages.h"

namespace sidecar {

struct Sample {
  std::string name;  // of its golden files
  Message message;
  std::uint64_t payload_bytes = 0;
};

std::vector<Sample> samples();

// The largest of the messages that carry most, each field at its bound.
Send largest_send();
Reply largest_reply();

}  // namespace sidecar
