// Clients that are silent for longer than their lease, sidecars that stood still or were restarted under
// their clients, and chunks that nobody is left to come for.
#include <signal.h>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

class Leases : public BothPaths {
 protected:
  Leases()
      : BothPaths({.nodes = {"a", "a", "b"},
                   .arena = "256M",
                   .flags = {"--lease", "1500ms", "--orphan-grace", "2s", "--peer-timeout", "3s"}}) {}

  std::string to() const { return std::to_string(consumer()); }
  std::uint64_t count(Rank rank, const std::string& name) { return cluster_.counter(rank, name); }
  bool becomes(Rank rank, const std::string& name, std::uint64_t value) {
    return eventually([&] { return count(rank, name) == value; });
  }
  void send(const std::string& id, std::size_t size = 300'000) {
    Client producer = cluster_.client(0);
    const auto bytes = contents(id, 0, size);
    const auto sent = producer.send(tensor_of(bytes), id, {{consumer()}});
    ASSERT_TRUE(sent) << to_string(sent.error());
  }
};
SIDECAR_BOTH_PATHS(Leases);

TEST_P(Leases, AClientThatRenewsStaysHoweverLittleItSays) {
  Client client = cluster_.client(consumer());
  auto waiting = client.recv_async("late");
  std::this_thread::sleep_for(milliseconds(4000));
  EXPECT_TRUE(client.connected());
  EXPECT_FALSE(waiting.ready());
  send("late");
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "late", 0));
  EXPECT_TRUE(client.mark_done("late"));
}

TEST_P(Leases, ACallerThatDoesNotPollForLongKeepsItsRegistration) {
  Client client = cluster_.client(consumer(), {.progress = Progress::kCaller});
  send("held");
  const auto view = client.recv("held");
  ASSERT_TRUE(view);
  auto waiting = client.recv_async("late");
  client.poll();
  std::this_thread::sleep_for(milliseconds(4000));  // without a poll
  EXPECT_EQ(count(consumer(), "clients"), 1u);
  send("late");
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "late", 0)) << "the call of before";
  EXPECT_TRUE(matches(view->bytes(), "held", 0));
  EXPECT_TRUE(client.mark_done("held"));
  EXPECT_TRUE(client.mark_done("late"));
}

TEST_P(Leases, AClientStoppedBeyondItsLeaseComesBackByItself) {
  Executor client(cluster_, consumer());
  send("held", 5'000'000);
  ASSERT_EQ(client.ask("hold held 0 5000").substr(0, 15), "ok 5000000 good");
  client.tell("recv never 0 60000");
  ASSERT_TRUE(becomes(consumer(), "waiting_recvs", 1));
  client.process().signal(SIGSTOP);
  ASSERT_TRUE(becomes(consumer(), "clients", 0)) << "its lease has ended";
  EXPECT_EQ(count(consumer(), "waiting_recvs"), 0u);
  EXPECT_EQ(count(consumer(), "quarantined"), 1u) << "its process may still look at it";
  {
    Client other = cluster_.client(consumer());
    EXPECT_TRUE(other.mark_done("held"));
  }
  send("next");
  client.process().signal(SIGCONT);
  EXPECT_EQ(client.answer().substr(0, 14), "error PeerLost") << "the call of before ends";
  EXPECT_EQ(client.ask("recv next 0 10000").substr(0, 14), "ok 300000 good");
  EXPECT_EQ(client.ask("check"), "ok 1") << "what it looks at has not changed";
  EXPECT_EQ(client.ask("done next 0"), "ok");
  EXPECT_EQ(count(consumer(), "quarantined"), 1u);
  EXPECT_EQ(client.ask("drop"), "ok");
  EXPECT_TRUE(becomes(consumer(), "quarantined", 0)) << "its process lives, and has let go";
  EXPECT_EQ(client.ask("recv never 0 0").substr(0, 13), "error Timeout");
}

TEST_P(Leases, AClientKilledWithEverythingUnderWayLeavesNothing) {
  for (int round = 0; round < 4; ++round) {
    const std::string id = std::to_string(round);
    Client consumer = cluster_.client(this->consumer());
    Executor doomed(cluster_, 0);
    {
      Client other = cluster_.client(this->consumer());
      const auto bytes = contents("view" + id, 0, 100'000);
      ASSERT_TRUE(other.send(tensor_of(bytes), "view" + id, {{0}}));
    }
    ASSERT_EQ(doomed.ask("hold view" + id + " 0 5000").substr(0, 14), "ok 100000 good");
    ASSERT_EQ(doomed.ask("allocate 1000000"), "ok");
    ASSERT_EQ(doomed.ask("send whole" + id + " " + to() + " 0 1 400000 private"), "ok");
    auto half = consumer.recv_async("half" + id, 0, seconds(20));
    const std::uint64_t before = count(0, "sends");
    doomed.tell("send half" + id + " " + to() + " 0 1 60000000 private");
    ASSERT_TRUE(eventually([&] { return count(0, "sends") > before; }));
    std::this_thread::sleep_for(milliseconds(4 * round));
    doomed.process().kill();
    const auto got = half.get();
    if (got) {
      EXPECT_TRUE(matches(got->bytes(), "half" + id, 0));
    } else {
      EXPECT_EQ(got.code(), Errc::kPeerLost) << to_string(got.error());
    }
    EXPECT_TRUE(matches(consumer.recv("whole" + id).value().bytes(), "whole" + id, 0)) << "captured";
    EXPECT_TRUE(consumer.mark_done("whole" + id));
    EXPECT_TRUE(consumer.mark_done("half" + id));
    Client janitor = cluster_.client(0);
    EXPECT_TRUE(janitor.mark_done("view" + id));
    EXPECT_TRUE(cluster_.becomes_empty(0));
  }
}

TEST_P(Leases, WhoWaitsForWhatAStoppedClientWasSendingHearsThatItIsLost) {
  Client consumer = cluster_.client(this->consumer());
  Executor producer(cluster_, 0);
  // No room for it: it waits at its client.
  Client greedy = cluster_.client(0);
  auto all = greedy.allocate({100 << 20}, Dtype::kU8);
  ASSERT_TRUE(all) << to_string(all.error());
  auto waiting = consumer.recv_async("x", 0, seconds(30));
  producer.tell("send x " + to() + " 0 1 60000000 private");
  ASSERT_TRUE(becomes(0, "waiting_sends", 1));
  producer.process().signal(SIGSTOP);
  const auto lost = waiting.get();
  ASSERT_EQ(lost.code(), Errc::kPeerLost);
  EXPECT_EQ(lost.error().rank, 0);
  *all = Buffer();
  EXPECT_TRUE(becomes(0, "outgoing", 0));
  producer.process().signal(SIGCONT);
  EXPECT_EQ(producer.answer().substr(0, 14), "error PeerLost");
  EXPECT_EQ(producer.ask("send x " + to() + " 0 1 60000000 private"), "ok") << "it may be sent again";
  EXPECT_TRUE(matches(consumer.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(consumer.mark_done("x"));
}

TEST_P(Leases, ASidecarThatStoodStillKeepsItsClients) {
  Client client = cluster_.client(consumer());
  Client other = cluster_.client(consumer(), {.progress = Progress::kCaller});
  auto waiting = client.recv_async("x");
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  cluster_.process(consumer()).signal(SIGSTOP);
  std::this_thread::sleep_for(milliseconds(6000));
  cluster_.process(consumer()).signal(SIGCONT);
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_EQ(count(consumer(), "clients"), 2u);
  EXPECT_FALSE(waiting.ready());
  send("x");
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "x", 0)) << "the call of before";
  EXPECT_TRUE(other.mark_done("x"));
}

TEST_P(Leases, WhatNoClientComesForIsFreedAndWhoComesTooLateIsTold) {
  send("x");
  EXPECT_EQ(count(consumer(), "orphans_freed"), 0u);
  EXPECT_TRUE(cluster_.becomes_empty(consumer(), seconds(6)));
  EXPECT_TRUE(cluster_.becomes_empty(0)) << "also its owner, where it was a reference";
  EXPECT_EQ(count(consumer(), "orphans_freed"), 1u);
  EXPECT_EQ(count(consumer(), "orphan_bytes_freed"), 300'000u);
  EXPECT_NE(cluster_.log(consumer()).find("freed 1 chunks"), std::string::npos) << cluster_.log(consumer());
  Client late = cluster_.client(consumer());
  const auto freed = late.recv("x");
  EXPECT_EQ(freed.code(), Errc::kPeerLost);
  EXPECT_NE(to_string(freed.error()).find("orphan"), std::string::npos) << to_string(freed.error());
}

TEST_P(Leases, WhoComesBackWithinTheGraceFindsEverything) {
  {
    Executor doomed(cluster_, consumer());
    send("x");
    doomed.process().kill();
  }
  std::this_thread::sleep_for(milliseconds(800));
  Client heir = cluster_.client(consumer());
  std::this_thread::sleep_for(milliseconds(3500));
  EXPECT_TRUE(matches(heir.recv("x", 0, seconds(5)).value().bytes(), "x", 0));
  EXPECT_TRUE(heir.mark_done("x"));
}

}  // namespace
}  // namespace sidecar::e2e
