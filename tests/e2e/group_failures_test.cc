// Groups between real processes when something dies, stays away or is too late: the others are told, nothing
// leaks, and the next attempt works.
#include <signal.h>

#include "tests/e2e/groups_fixture.h"

namespace sidecar::e2e {
namespace {

class GroupFailures : public Groups {
 protected:
  GroupFailures() : bytes_(contents("x", 0, 32 << 20)) {
    send_together("connects", 100, {{3}});
    EXPECT_TRUE(cluster_.client(3).mark_done("connects"));
  }
  // The second member's shard is in the leader's arena and at the other node.
  SendHandle half_is_sent(seconds deadline = seconds(30)) {
    const std::uint64_t before = cluster_.counter(3, "bytes_received");
    SendHandle handle = send(1, "x", bytes_, {{3}}, deadline);
    EXPECT_TRUE(
        eventually([&] { return cluster_.counter(3, "bytes_received") == before + bytes_.size() / 2; }));
    return handle;
  }
  void works_now() {
    Client consumer = cluster_.client(3);
    send_together("x", bytes_.size(), {{3}});
    expect_there(consumer, "x", bytes_.size());
    EXPECT_TRUE(consumer.mark_done("x"));
  }
  const std::vector<std::byte> bytes_;
};

TEST_F(GroupFailures, SmokeAMemberThatNeverSendsCostsTheOthersTheirDeadlineAndNothingElse) {
  SendHandle second = half_is_sent(seconds(1));
  const auto sent = second.delivered.get();
  EXPECT_EQ(sent.code(), Errc::kTimeout);
  EXPECT_EQ(sent.error().rank, 0) << "the one that is missing";
  EXPECT_TRUE(cluster_.becomes_empty(3));
  EXPECT_TRUE(cluster_.becomes_empty(0));
  works_now();
}

TEST_F(GroupFailures, AMemberKilledInTheMiddleOfItsShardEndsItForTheOthers) {
  for (int round = 0; round < 5; ++round) {
    Executor other(cluster_, 1, "group=0,1 concurrent");
    const std::string id = "y" + std::to_string(round);
    const auto bytes = contents(id, 0, 64 << 20);
    SendHandle first = send(0, id, bytes, {{3}}, seconds(3));
    other.tell("send " + id + " 3 0 1 " + std::to_string(bytes.size()) + " private");
    std::this_thread::sleep_for(milliseconds(20 + 8 * round));
    other.process().kill();
    const auto sent = first.delivered.get();
    if (!sent) {
      // Before its call or after: never sent, or lost.
      EXPECT_TRUE(sent.code() == Errc::kPeerLost || sent.code() == Errc::kTimeout) << to_string(sent.error());
      EXPECT_EQ(sent.error().rank, 1);
    } else {
      EXPECT_TRUE(cluster_.client(3).mark_done(id));
    }
    EXPECT_TRUE(cluster_.becomes_empty(0));
    EXPECT_TRUE(cluster_.becomes_empty(3));
  }
  works_now();
}

TEST_F(GroupFailures, ADestinationKilledHalfWayFailsForAllMembersAndGetsNoHalfChunkLater) {
  SendHandle second = half_is_sent();
  cluster_.restart(3);
  SendHandle first = send(0, "x", bytes_, {{3}});
  for (SendHandle* handle : {&first, &second}) {
    const auto sent = handle->delivered.get();
    EXPECT_EQ(sent.code(), Errc::kPeerLost);
    EXPECT_EQ(sent.error().rank, 3);
  }
  EXPECT_TRUE(cluster_.becomes_empty(0));
  EXPECT_TRUE(cluster_.becomes_empty(3));
  works_now();
}

TEST_F(GroupFailures, ALeaderKilledHalfWayEndsEverybodysCallsAndLeavesNothing) {
  Client consumer = cluster_.client(3);
  Future<View> waiting = consumer.recv_async("x");
  SendHandle second = half_is_sent();
  cluster_.kill(0);
  EXPECT_EQ(second.delivered.get().code(), Errc::kPeerLost);
  EXPECT_EQ(waiting.get().code(), Errc::kPeerLost);
  EXPECT_TRUE(cluster_.becomes_empty(3));
  cluster_.restart(0);
  for (const Rank rank : {0, 1}) producers_.at(static_cast<std::size_t>(rank)) = member(rank, {0, 1});
  send_together("again", 100'000, {{3}});
  expect_there(consumer, "again", 100'000);
  EXPECT_TRUE(consumer.mark_done("again"));
}

TEST_F(GroupFailures, AMemberMayBeKilledAndComeBack) {
  producers_[1].close();
  {
    Executor other(cluster_, 1, "group=0,1 concurrent");
    other.process().kill();
  }
  Executor again(cluster_, 1, "group=0,1 concurrent");
  const auto bytes = contents("z", 0, 1'000'000);
  again.tell("send z 3/2 0 1 1000000 private");
  EXPECT_TRUE(send(0, "z", bytes, {{3}, {2}}).delivered.get());
  EXPECT_EQ(again.answer(), "ok");
  Client far = cluster_.client(3), near = cluster_.client(2);
  for (Client* consumer : {&far, &near}) {
    expect_there(*consumer, "z", bytes.size());
    EXPECT_TRUE(consumer->mark_done("z"));
  }
}

}  // namespace
}  // namespace sidecar::e2e
