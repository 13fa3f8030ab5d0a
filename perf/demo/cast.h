// The producer and the consumers, from their start to their end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "perf/cluster.h"
#include "perf/demo/summary.h"

namespace sidecar::demo {

struct Input {
  std::uint64_t files = 0;
  std::uint64_t tensors = 0;
  std::uint64_t bytes = 0;
};

struct Played {
  Input input;
  std::map<Rank, std::vector<Outcome>> outcomes;  // by destination, one for each process there
  std::uint64_t arena_inode = 0;                  // of rank 0's arena, where rank 1's bytes lay
};

// Runs this program as a producer at rank 0, a consumer each at ranks 1 and 2, and two readers at rank 3. A
// success means that all of them succeeded: every hash was right, every byte lay where it should, and the
// readers saw the same memory.
Expected<Played> play_roles(perf::Cluster& cluster);

}  // namespace sidecar::demo
