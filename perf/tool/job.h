// What the two ends of a measurement tell each other: jobs, and that they are ready or done.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sidecar/data.h"

namespace sidecar::perf {

// One run of one test, as the initiator tells it to the responder.
struct Job {
  std::string test;
  std::string session;  // what stays over several runs is named after it
  std::string run;      // no two runs' ids are alike
  std::uint64_t size = 0;
  std::uint64_t count = 0;        // messages, or round trips
  std::uint32_t outstanding = 1;  // at once
  bool check = false;             // contents are filled in and compared
  bool own_memory = false;        // the source is private memory: one copy on the way in
  bool bare = false;              // am_*: a bare progress loop instead of ours
  bool local = false;             // am_*: over shared memory; the others' sidecars know by themselves
  std::uint64_t spacing_ns = 0;   // before each send
  std::string poll;               // event, adaptive, busy
  std::vector<Rank> from, to;     // the initiator's and the responder's ranks
  std::uint64_t x = 0;            // scaling tests: see Scale
  std::uint64_t x_before = 0;     // the last run's
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Job, test, session, run, size, count, outstanding, check, own_memory, bare,
                                   local, spacing_ns, poll, from, to, x, x_before)

// Chunk `i` of a run: many chunks share an id, so that neither ids nor one id's chunks grow with the run.
inline constexpr std::uint64_t kChunksPerId = 1024;
struct ChunkName {
  std::string id;
  ChunkIndex chunk;
  ChunkIndex num_chunks;
};
inline ChunkName chunk_name(const std::string& run, const char* way, std::uint64_t i, std::uint64_t count) {
  const std::uint64_t id = i / kChunksPerId;
  const std::uint64_t chunks = std::min(kChunksPerId, count - id * kChunksPerId);
  return {run + way + std::to_string(id), static_cast<ChunkIndex>(i % kChunksPerId),
          static_cast<ChunkIndex>(chunks)};
}

}  // namespace sidecar::perf
