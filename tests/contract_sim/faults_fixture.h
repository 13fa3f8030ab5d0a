// Worlds in which links break and sidecars stop, die and come back.
#pragma once

#include "tests/sim/cluster.h"

namespace sidecar::sim {

class Faults : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    add(2, "a");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  RequestId start(const std::string& id, std::uint64_t bytes, const std::vector<std::vector<Rank>>& to,
                  ChunkIndex chunk = 0, ChunkIndex num_chunks = 1) {
    return producer_->send({.id = id,
                            .chunk = chunk,
                            .num_chunks = num_chunks,
                            .bytes = bytes,
                            .to = to,
                            .eager = bytes <= kEagerBytesMax});
  }
  // Breaks the link between two sidecars when a message of that kind is about to arrive, the first `times`
  // times.
  template <class Kind>
  void break_at(int times) {
    world_.network().filter([times](SimProcess& from, SimProcess& to, const Message& message) mutable {
      const bool peers =
          dynamic_cast<SimSidecar*>(&from) != nullptr && dynamic_cast<SimSidecar*>(&to) != nullptr;
      return !peers || !std::holds_alternative<Kind>(message) || times-- <= 0;
    });
  }
  // Rank 3, which has room for one chunk of 20,000 bytes, parks one, and has a reserve for one.
  void add_tight() {
    add({.rank = 3, .node = "c", .arena_bytes = 96 * kKiB, .adjust = [](EngineOptions& options) {
           options.parked_max = 1;
           options.reserve_share = 0.25;
         }});
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

}  // namespace sidecar::sim
