// What an engine is told when it begins, and of each client that may connect.
#pragma once

#include <cstdint>
#include <vector>

#include "core/limits.h"
#include "core/messages.h"
#include "core/types.h"

namespace sidecar {

struct EngineOptions {
  Rank rank = 0;
  InstanceId instance = 1;
  std::int64_t pid = 0;  // of this process
  Name node;             // equal names may share memory
  Bytes arena;           // what clients' and peers' chunks lie in
  ArenaInfo arena_info;  // how others map it; empty path: they cannot, and get bytes
  double send_share = 0.5;
  double reserve_share = 0.0625;
  std::uint64_t hash_key[2] = {};      // random per process
  TimeNs peer_timeout = 30 * kSecond;  // a peer not heard of for this long is lost
  TimeNs ping_interval = 1 * kSecond;
  TimeNs ping_timeout = 5 * kSecond;    // a link not heard of for this long is closed and made anew
  TimeNs orphan_grace = 600 * kSecond;  // how long chunks are kept while no client is here to get them
  std::uint32_t parked_max = kParkedMax;
  std::uint32_t waiting_sends_max = kWaitingSendsMax;
  // Of one client each.
  std::uint32_t client_calls_max = kClientCallsMax;  // receives, sends, allocations
  std::uint32_t client_ids_max = kClientIdsMax;      // named, and nothing has come of them
  std::uint64_t client_bytes_max = UINT64_MAX;       // of its sends that are not over and its allocations
  std::uint64_t eager_max = kEagerBytesMax;
};

struct ClientRegistration {
  InstanceId instance = 0;            // of the client process
  std::uint64_t send_unit_bytes = 0;  // hints, 0: none
  std::uint64_t receive_unit_bytes = 0;
  Rank rank = kNoRank;      // which member of its group the client is; kNoRank: this sidecar's own rank
  std::vector<Rank> group;  // sorted, this sidecar's rank first; empty: just this sidecar
  std::int64_t pid = 0;     // its process's
  // Somebody else looks after it: without, it is forgotten when it does not connect within kRegistrationNs.
  bool leased = false;
};

}  // namespace sidecar
