// A client in C that has nothing of ours, against real sidecards and our own clients. Rank 0 is its sidecar;
// rank 1 is on the same node, rank 2 on another.
#include <gtest/gtest.h>

#include "tests/e2e/contents.h"
#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

// Registered as its user would: the shell becomes the process that it has registered.
constexpr const char* kScript =
    R"(papers=$("$1" register --address "$2") && set -a && eval "$papers" && eval "$5" && exec "$3" "$4")";

class PeerInC {
 public:
  // The first answer tells whether it is connected. `forges`: what it does with its registration before.
  PeerInC(const Cluster& cluster, Rank rank, const std::string& plane, const std::string& forges = "")
      : process_({.argv = {"/bin/sh", "-c", kScript, "sh", perf::program_path("sidecarctl"),
                           cluster.address(rank), perf::program_folder() + "/interop_peer", plane, forges},
                  .talk = true}) {}
  void tell(const std::string& command) { process_.write_line(command); }
  std::string answer() { return process_.read_line(seconds(30)).value_or("gone, or silent"); }
  std::string ask(const std::string& command) {
    tell(command);
    return answer();
  }
  // Exits by itself once its input has ended.
  int leave() {
    process_.end_input();
    const auto ending = process_.wait(seconds(10));
    return ending ? ending->code : -1;
  }
  void kill() { process_.kill(); }

 private:
  perf::Process process_;
};

constexpr std::size_t kInline = 1000, kEager = 50'000, kLarge = 5'000'003;

class Interop : public BothPaths {
 protected:
  Interop() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M"}) {}
};
SIDECAR_BOTH_PATHS(Interop);

void expect_both_ways(const Cluster& cluster, Rank other, const std::string& plane) {
  PeerInC peer(cluster, 0, plane);
  ASSERT_EQ(peer.answer(), "ok");
  Client ours = cluster.client(other);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kInline, kInline + 100, kEager, kLarge}) {
    const std::string bytes = std::to_string(size);
    const std::string there = "there-" + bytes;
    ASSERT_EQ(peer.ask("send " + there + " " + bytes + " " + std::to_string(other)), "ok") << there;
    {
      const auto view = ours.recv(there);
      ASSERT_TRUE(view) << to_string(view.error());
      EXPECT_EQ(view->shape(), std::vector<std::uint64_t>{size});
      EXPECT_TRUE(matches(view->bytes(), there, 0)) << there;
    }
    EXPECT_TRUE(ours.mark_done(there));

    const std::string back = "back-" + bytes;
    const auto data = contents(back, 0, size);
    ASSERT_TRUE(ours.send(tensor_of(data), back, {{0}}));
    EXPECT_EQ(peer.ask("recv " + back + " 10000 value"),
              "ok " + bytes + " good " + (size == 0 ? "inline" : "payload"));
    EXPECT_EQ(peer.ask("recv " + back + " 10000"),
              "ok " + bytes + " good " + (size == 0 ? "inline" : "arena"));
    EXPECT_EQ(peer.ask("done " + back), "ok");
  }
  EXPECT_EQ(peer.ask("recv back-1 0").substr(0, 8), "error 4 ") << "AlreadyDone";
  EXPECT_EQ(peer.leave(), 0);
  EXPECT_EQ(cluster.counter(0, "protocol_errors"), 0u);
}

TEST_P(Interop, SmokeChunksGoBothWaysOverTheNetworkPlane) { expect_both_ways(cluster_, consumer(), "net"); }

TEST_P(Interop, ChunksGoBothWaysOverSharedMemory) { expect_both_ways(cluster_, consumer(), "local"); }

// Three times what may be under way without a report of the sidecar's.
TEST_P(Interop, SmallChunksGoEagerlyAsLongAsItHeedsTheReportsOfCredit) {
  PeerInC peer(cluster_, 0, "net");
  ASSERT_EQ(peer.answer(), "ok");
  Client ours = cluster_.client(consumer());
  for (int i = 0; i < 200; ++i) {
    const std::string id = "many-" + std::to_string(i);
    ASSERT_EQ(peer.ask("send " + id + " 60000 " + std::to_string(consumer())), "ok") << i;
    ASSERT_TRUE(matches(ours.recv(id).value().bytes(), id, 0)) << i;
    ASSERT_TRUE(ours.mark_done(id));
  }
  EXPECT_EQ(cluster_.counter(0, "transport_rendezvous_received"), 0u);
  EXPECT_EQ(peer.leave(), 0);
}

TEST_P(Interop, KilledInTheMiddleItLeavesNothingBehind) {
  PeerInC peer(cluster_, 0, "net");
  ASSERT_EQ(peer.answer(), "ok");
  Client ours = cluster_.client(consumer());
  const auto data = contents("held", 0, kLarge);
  ASSERT_TRUE(ours.send(tensor_of(data), "held", {{0}}));
  EXPECT_EQ(peer.ask("hold held 10000"), "ok " + std::to_string(kLarge) + " good arena");

  // Its payload waits for room, which our own client has taken.
  Client neighbour = cluster_.client(0);
  std::vector<Buffer> taken;
  while (auto buffer = neighbour.allocate({1 << 20}, Dtype::kU8, milliseconds(0)))
    taken.push_back(std::move(*buffer));
  peer.tell("send cut-off " + std::to_string(kLarge) + " " + std::to_string(consumer()));
  EXPECT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 1; }));
  auto waits = ours.recv_async("cut-off", 0, seconds(30));

  peer.kill();
  EXPECT_EQ(waits.get().code(), Errc::kPeerLost);
  taken.clear();
  EXPECT_TRUE(eventually([&] { return cluster_.counter(0, "views") == 0; })) << "the one that it held";
  EXPECT_TRUE(neighbour.mark_done("held"));
  EXPECT_TRUE(cluster_.becomes_empty(0));
  EXPECT_TRUE(cluster_.becomes_empty(consumer()));
}

// It lies in the arena of rank 1, which hears of the dead sidecar's clients through the lock of its file
// only.
TEST(InteropAlone, WhatItLooksAtInANeighboursArenaIsKeptWhenItsOwnSidecarDies) {
  Cluster cluster({.nodes = {"a", "a"}, .arena = "32M", .flags = {"--peer-timeout", "3s"}});
  PeerInC peer(cluster, 0, "net");
  ASSERT_EQ(peer.answer(), "ok");
  Client ours = cluster.client(1);
  const auto data = contents("held", 0, kLarge);
  ASSERT_TRUE(ours.send(tensor_of(data), "held", {{0}}));
  EXPECT_EQ(peer.ask("hold held 10000"), "ok " + std::to_string(kLarge) + " good arena");
  cluster.kill(0);
  ASSERT_TRUE(eventually([&] { return cluster.counter(1, "quarantined") == 1; }));
  std::this_thread::sleep_for(milliseconds(1500));  // more than one look at who is gone
  EXPECT_EQ(cluster.counter(1, "quarantined"), 1u);
  EXPECT_GE(cluster.status(1).memory[0].used_bytes, kLarge);
  peer.kill();
  EXPECT_TRUE(cluster.becomes_empty(1));
  EXPECT_EQ(cluster.counter(1, "quarantined"), 0u);
}

TEST_P(Interop, WithAnothersTicketItIsRefused) {
  PeerInC peer(cluster_, 0, "net", "ticket=0123456789abcdef0123456789abcdef");
  EXPECT_EQ(peer.answer(), "error the sidecar refused");
  EXPECT_EQ(peer.leave(), 1);
}

}  // namespace
}  // namespace sidecar::e2e
