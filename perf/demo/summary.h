// What the sidecars counted and what the consumers saw, side by side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/registration.h"
#include "sidecar/failure.h"

namespace sidecar::demo {

// What one consumer reports when every hash was right.
struct Outcome {
  std::uint64_t data = 0;
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;
  double seconds = 0;
};

// One destination.
struct Arrival {
  Rank rank = kNoRank;
  bool same_node = false;
  std::vector<Outcome> readers;            // one for each process that received there
  client_internal::PeerLine path;          // as the producer's sidecar tells
  client_internal::SidecarStatus sidecar;  // the destination's
};

// Whether the bytes went the way that they had to go.
Expected<void> check_path(const Arrival& arrival);

void print_table(const std::vector<Arrival>& arrivals);

// "281.2 MiB"
std::string mib_text(std::uint64_t bytes);

}  // namespace sidecar::demo
