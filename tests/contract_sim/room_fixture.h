// One sidecar that sends and one that runs out of room. With 1 MiB of arena: half for sending, 7/16 for
// receiving, 1/16 in reserve.
#pragma once

#include <string>

#include "tests/sim/cluster.h"

namespace sidecar::sim {

inline constexpr std::uint64_t kSendRegion = 512 * kKiB;
inline constexpr std::uint64_t kReceiveRegion = 448 * kKiB;
inline constexpr std::uint64_t kReserve = 64 * kKiB;

class RoomCluster : public Cluster {
 protected:
  explicit RoomCluster(std::uint64_t sender_bytes) {
    add(0, "a", sender_bytes);
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  RequestId start(const std::string& id, std::uint64_t bytes, ChunkIndex chunk = 0,
                  ChunkIndex num_chunks = 1) {
    return producer_->send(
        {.id = id, .chunk = chunk, .num_chunks = num_chunks, .bytes = bytes, .to = each({1})});
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

}  // namespace sidecar::sim
