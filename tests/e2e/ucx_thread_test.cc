// UCX is called from the loop's thread only, in sidecards and in clients with a thread of their own.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

TEST(UcxThread, OnlyTheLoopCallsUcx) {
  Cluster cluster({.nodes = {"a", "a", "b"}, .environment = {"LD_PRELOAD=" UCX_THREAD_GUARD}});
  ASSERT_EQ(setenv("LD_PRELOAD", UCX_THREAD_GUARD, 1), 0);
  Executor producer(cluster, 0);
  unsetenv("LD_PRELOAD");
  for (const std::string to : {"1", "2"}) {
    for (const std::string size : {"64", "40000", "5000000"}) {
      const std::string id = "guarded-" + to + "-" + size;
      Executor consumer(cluster, std::stoi(to));
      ASSERT_EQ(producer.ask("send " + id + " " + to + " 0 1 " + size + " private"), "ok");
      EXPECT_EQ(consumer.ask("recv " + id + " 0 5000").substr(0, 3 + size.size()), "ok " + size);
      EXPECT_EQ(consumer.ask("done " + id + " 0"), "ok");
    }
  }
  // What an operator asks comes in on gRPC's threads, and some of the answers are UCX's.
  for (const Rank rank : {0, 1, 2}) {
    const auto peers = client_internal::ask_peers(cluster.address(rank), seconds(10));
    ASSERT_TRUE(peers) << to_string(peers.error());
    for (const auto& peer : *peers) EXPECT_NE(peer.state, "") << rank << " of " << peer.rank;
    EXPECT_EQ(cluster.status(rank).rank, rank);
  }
  cluster.restart(1);  // connections end and are made anew
  ASSERT_EQ(producer.ask("send again 1/2 0 1 5000000 arena"), "ok");
  for (const Rank rank : {1, 2}) {
    Executor consumer(cluster, rank);
    EXPECT_EQ(consumer.ask("recv again 0 5000").substr(0, 15), "ok 5000000 good");
    EXPECT_EQ(consumer.ask("done again 0"), "ok");
  }
  EXPECT_EQ(producer.ask("drop"), "ok") << "the guard ended a client";
  for (const Rank rank : {0, 1, 2}) {
    EXPECT_NE(cluster.log(rank).find("ucx-thread-guard: 100 calls, one thread"), std::string::npos)
        << "the guard was not asked in sidecard " << rank << ":\n"
        << cluster.log(rank);
  }
  // A sidecard that the guard ends, now or while it shuts down, does not exit with 0, which `cluster` looks
  // at.
}

}  // namespace
}  // namespace sidecar::e2e
