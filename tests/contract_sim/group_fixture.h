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
  // Groups of two and of four at rank 0 send to ranks 1 and 2, each member its shard, and nothing is left.
  void shards_arrive_from(Source source) {
    const std::vector<SimClient*> consumers{&client(1), &client(2)};
    for (const std::size_t count : {2u, 4u}) {
      std::vector<Rank> group{0};
      for (Rank rank = 10; group.size() < count; ++rank) group.push_back(rank);
      const auto producers = members(group);
      const std::string id = "x" + std::to_string(count);
      all_ok(producers,
             send_together(producers, {.id = id, .bytes = 1'000'000, .to = each({1, 2}), .source = source}));
      for (SimClient* consumer : consumers) {
        EXPECT_THAT(recv(*consumer, id), IsOk());
        EXPECT_THAT(done(*consumer, id), IsOk());
      }
      settle();
      EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
      EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
    }
  }
};

// A group of two that sends to rank 2, connected already, so that a shard leaves as soon as it is in.
class ContractGroupFailures : public Groups {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add(2, "b", 4 * kMiB);
    producers_ = members({0, 1});
    consumer_ = &client(2);
    EXPECT_THAT(send(*producers_[0], {.id = "connects", .bytes = 10, .to = each({2})}), IsOk());
    EXPECT_THAT(done(*consumer_, "connects"), IsOk());
    spec_.salt = producers_[0]->new_salt(spec_);
  }
  std::uint64_t received() { return sidecar(2).stats().counters.bytes_received; }
  // As one that is there in part: the slot is taken, and nothing to be had.
  void half_is_there() {
    settle();
    ASSERT_EQ(sidecar(2).stats().receive.runs, 1u);
    ASSERT_EQ(sidecar(2).stats().chunks, 1u);
  }
  void nothing_is_there() {
    settle();
    EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
    EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  }
  // The same again by both, which nothing of before may disturb.
  void works_now() {
    all_ok(producers_, send_together(producers_, {.id = "x", .bytes = 400'000, .to = each({2})}));
    EXPECT_THAT(recv(*consumer_, "x"), IsOk());
  }

  std::vector<SimClient*> producers_;
  SimClient* consumer_ = nullptr;
  SendSpec spec_{.id = "x", .bytes = 400'000, .to = each({2}), .together = true};
};

}  // namespace sidecar::sim
