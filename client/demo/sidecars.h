// The demo's four sidecars: two nodes of two.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "client/demo/stage.h"

namespace sidecar::demo {

// Far less memory than data: whoever sends waits until what went before has been received and marked done.
struct Place {
  Rank rank;
  const char* node;
  std::uint64_t arena_bytes;
  int receive_percent;  // of the arena: for what arrives
};
inline constexpr std::array<Place, 4> kPlaces{{
    {0, "a", 16 << 20,
     10},  // all that is sent and not yet marked done on its node, or not yet delivered elsewhere
    {1, "a", 2 << 20, 50},   // small objects only: the rest lies in rank 0's arena
    {2, "b", 14 << 20, 90},  // what has arrived and is not yet marked done
    {3, "b", 8 << 20, 90},   // one tensor
}};

struct RunningSidecar {
  Place place;
  std::string address;  // of its gRPC server
  std::string arena;    // its file
  Child* child;
};

// Starts all four and waits until they are ready.
Expected<std::vector<RunningSidecar>> start_sidecars(Stage& stage, const std::string& program);

// Ends them as SIGTERM does: they drain, and remove their arenas.
Expected<void> end_sidecars(Stage& stage, const std::vector<RunningSidecar>& sidecars);

}  // namespace sidecar::demo
