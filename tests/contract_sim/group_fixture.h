// Executors of several ranks: their members' clients at the leader's sidecar, and what they do together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"

namespace sidecar::sim {

class Groups : public Cluster {
 protected:
  // One client per rank of `group`, at the sidecar of its smallest.
  std::vector<SimClient*> members(std::vector<Rank> group) {
    std::vector<SimClient*> made;
    const std::vector<Rank> sorted = [&] {
      std::vector<Rank> ranks = group;
      std::ranges::sort(ranks);
      return ranks;
    }();
    for (const Rank rank : group)
      made.push_back(&client({.rank = sorted.front(), .group = sorted, .member = rank}));
    return made;
  }
  // Each member's call for the same chunk, in the order given.
  std::vector<RequestId> send_together(const std::vector<SimClient*>& group, SendSpec spec) {
    spec.together = true;
    spec.salt = group.front()->new_salt(spec);
    std::vector<RequestId> requests;
    for (SimClient* member : group) requests.push_back(member->send(spec));
    return requests;
  }
  void all_ok(const std::vector<SimClient*>& group, const std::vector<RequestId>& requests) {
    for (std::size_t i = 0; i < group.size(); ++i) EXPECT_THAT(wait(*group[i], requests[i]), IsOk());
  }
};

}  // namespace sidecar::sim
