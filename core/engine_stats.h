// What an engine tells about itself: for health, `sidecarctl status`, `chunks`, `peers`, and tests.
#pragma once

#include <string>
#include <vector>

#include "core/slab.h"
#include "core/types.h"

namespace sidecar {

// Counted since the start.
struct EngineCounters {
  std::uint64_t sends = 0;            // chunks taken from clients
  std::uint64_t chunks_received = 0;  // from peers, by bytes moved
  std::uint64_t chunks_mapped = 0;    // from same-node peers, no bytes moved
  std::uint64_t bytes_captured = 0;   // copied from clients into the arena
  std::uint64_t bytes_sent = 0;       // to peers, payload and inline
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_mapped = 0;      // referred to in a same-node peer's arena
  std::uint64_t bytes_copied_out = 0;  // to clients that cannot map
  std::uint64_t recvs = 0;
  std::uint64_t dones = 0;
  std::uint64_t duplicates = 0;  // transfers that came again
  std::uint64_t resends = 0;
  std::uint64_t refusals = 0;  // transfers we refused for lack of room
  std::uint64_t parked = 0;    // times something waited for room
  std::uint64_t timeouts = 0;
  std::uint64_t peers_lost = 0;
  std::uint64_t protocol_errors = 0;
  std::uint64_t orphans_freed = 0;  // chunks that no client came for in time
  std::uint64_t orphan_bytes_freed = 0;
};

struct EngineStats {
  EngineCounters counters;
  Slab::Stats send, receive, reserve;  // the three regions of the arena
  std::uint64_t data = 0;              // data ids with anything here
  std::uint64_t chunks = 0;            // entries, whatever their state
  std::uint64_t tombstones = 0;
  std::uint64_t waiting_recvs = 0;
  std::uint64_t waiting_sends = 0;  // sends and allocations that wait for room
  std::uint64_t parked_chunks = 0;  // arrivals that wait for room
  std::uint64_t outgoing = 0;       // sends not yet delivered everywhere
  std::uint64_t lent = 0;           // chunks of ours that same-node peers refer to
  std::uint64_t foreign = 0;        // chunks of same-node peers that we refer to
  std::uint64_t views = 0;          // grants of clients
  std::uint64_t quarantined =
      0;  // slots kept because a process that may still look at them is not proven gone
  std::uint64_t clients = 0;
  std::uint64_t peers_connected = 0;
  bool draining = false;
  [[nodiscard]] bool memory_pressure() const { return waiting_sends > 0 || parked_chunks > 0; }
};

struct ChunkInfo {
  std::string id;
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 0;  // 0: not known yet
  std::uint64_t bytes = 0;
  std::string
      state;  // waited-for, parked, receiving, ready, held (marked done, still looked at), sending, lent
  Rank producer = kNoRank;
  std::uint32_t holders = 0;
  std::uint32_t waiters = 0;
};

struct PeerInfo {
  Rank rank = kNoRank;
  InstanceId instance = 0;
  std::string state;       // connected, connecting, down
  std::string path;        // "shared memory" or "network"
  std::string transports;  // as the transport reports them
  std::uint64_t queued = 0;
  std::uint64_t unacknowledged = 0;
  std::uint64_t lent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_mapped = 0;
};

}  // namespace sidecar
