// Sidecars that find each other through etcd: who comes, who goes, who has whose rank.
#include <signal.h>

#include "tests/e2e/etcd_fixture.h"

namespace sidecar::e2e {
namespace {

using testing::HasSubstr;

TEST_F(EtcdWorld, SmokeTwoSidecarsFindEachOtherAndNobodySaidHowManyThereAre) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  EXPECT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(1, 0) != 0; }));
  const auto sent = send_one(0, 1);
  EXPECT_TRUE(sent) << to_string(sent.error());
  EXPECT_TRUE(send_one(1, 0));
  const auto lines = members(0);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].self);
  EXPECT_EQ(lines[1].node, "b");
  EXPECT_EQ(lines[1].address, cluster_->address(1));
}

TEST_F(EtcdWorld, AThirdJoinsWhileTrafficRuns) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(1, 0) != 0; }));
  Traffic traffic(*cluster_, 0, 1);
  Client producer = cluster_->client(0);
  const auto bytes = contents("early", 0, 1000);
  const auto early = producer.send(tensor_of(bytes), "early", {{2}});
  ASSERT_FALSE(early);
  EXPECT_EQ(early.code(), Errc::kInvalidArgument) << to_string(early.error());
  EXPECT_EQ(early.error().rank, 2);
  const Rank third = cluster_->add("c");
  ASSERT_EQ(cluster_->start(third), "");
  ASSERT_TRUE(eventually([&] { return instance(0, third) != 0; }, seconds(2)));
  const auto sent = send_one(0, third);
  EXPECT_TRUE(sent) << to_string(sent.error());
  EXPECT_TRUE(send_one(third, 1));
  EXPECT_GT(traffic.stop(), 0);
  expect_nobody_lost();
}

TEST_F(EtcdWorld, SmokeAKilledSidecarComesBackAsAnotherInstanceAndIsReachedOnTheNextSend) {
  NEEDS_ETCD();
  make(1, {"a", "b", "a"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(0, 2) != 0; }));
  for (const Rank rank : {1, 2}) {
    EXPECT_TRUE(send_one(0, rank));
    EXPECT_TRUE(send_one(rank, 0));
    const std::uint64_t before = instance(0, rank);
    cluster_->kill(rank);
    EXPECT_TRUE(eventually([&] { return instance(0, rank) == 0; })) << "gone with its lease";
    ASSERT_EQ(cluster_->start(rank), "");
    EXPECT_TRUE(eventually([&] { return instance(0, rank) != 0; }, seconds(2)));
    EXPECT_NE(instance(0, rank), before);
    const auto sent = send_one(0, rank);
    EXPECT_TRUE(sent) << to_string(sent.error());
    EXPECT_TRUE(send_one(rank, 0));
  }
}

TEST_F(EtcdWorld, OneThatIsRestartedAtOnceWaitsForItsPredecessorsLease) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(1, 0) != 0; }));
  Client consumer = cluster_->client(0);
  {
    Client producer = cluster_->client(1);
    const auto bytes = contents("d", 0, 1000);
    const auto sent = producer.send(tensor_of(bytes), "d", {{0}}, 0, 2);
    ASSERT_TRUE(sent) << to_string(sent.error());
  }
  auto waiting = consumer.recv_async("d", 1);
  cluster_->restart(1);
  const auto lost = waiting.get();
  ASSERT_EQ(lost.code(), Errc::kPeerLost) << "the producer's process is gone";
  EXPECT_TRUE(consumer.mark_done("d", 0));
  EXPECT_TRUE(consumer.mark_done("d", 1));
  EXPECT_THAT(cluster_->log(1), HasSubstr("for its lease to end"));
  EXPECT_TRUE(eventually([&] { return instance(0, 1) == instance(1, 1); }));
  EXPECT_TRUE(send_one(1, 0));
}

TEST_F(EtcdWorld, OfTwoProcessesThatClaimARankTheSecondIsRefused) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0; }));
  Traffic traffic(*cluster_, 0, 1);
  const perf::ReservedPort port;
  const std::string log = cluster_->folder() + "/second.log";
  perf::Process second(
      {.argv = {perf::program_path("sidecard"), "--rank", "1", "--node", "c", "--membership", "etcd",
                "--etcd", etcd_->endpoints(), "--grpc-port", std::to_string(port.number()), "--data-port",
                "0", "--shm-size", "16M", "--shm-dir", cluster_->folder(), "--member-ttl", "3s"},
       .log = log});
  EXPECT_EQ(second.wait(seconds(20)), (perf::Ending{1, 0}));
  const std::string text = perf::read_file(log);
  EXPECT_THAT(text, HasSubstr("rank 1: another process, instance "));
  EXPECT_THAT(text, HasSubstr(" at " + cluster_->address(1) + " on node b, has it, and is alive"));
  EXPECT_EQ(text.find("ready rank="), std::string::npos);
  EXPECT_GT(traffic.stop(), 0);
  expect_nobody_lost();
}

TEST_F(EtcdWorld, OneThatEndsTakesItsRecordWithIt) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0; }));
  cluster_->process(1).signal(SIGTERM);
  EXPECT_EQ(cluster_->process(1).wait(seconds(10)), (perf::Ending{0, 0}));
  EXPECT_EQ(etcd_->lease_of(1), 0);
  EXPECT_TRUE(eventually([&] { return instance(0, 1) == 0; }, milliseconds(500)));
  ASSERT_EQ(cluster_->start(1), "") << "and the next one need not wait";
  EXPECT_TRUE(eventually([&] { return instance(0, 1) != 0; }, seconds(2)));
  EXPECT_TRUE(send_one(0, 1));
}

// Each hears of the others' end while it ends itself.
TEST_F(EtcdWorld, ThoseThatEndTogetherDoNotWaitForEachOther) {
  NEEDS_ETCD();
  for (int round = 0; round < 4; ++round) {
    make(1, {"a", "b", "c", "d"});
    ASSERT_TRUE(eventually([&] { return members(0).size() == 4 && members(3).size() == 4; }));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(cluster_->stop(), "");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(5));
    cluster_.reset();
  }
}

TEST_F(EtcdWorld, AStoppedSidecarLosesItsLeaseAndIsBackWhenItGoesOn) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0; }));
  const std::uint64_t before = instance(0, 1);
  EXPECT_TRUE(send_one(0, 1));
  Client producer = cluster_->client(0);
  cluster_->process(1).signal(SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  const auto bytes = contents("late", 0, 1000);
  const auto sent = producer.send(tensor_of(bytes), "late", {{1}});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.code(), Errc::kPeerLost) << to_string(sent.error());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(80)) << "before the peer time-out, 100 s";
  cluster_->process(1).signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return instance(0, 1) == before; }));
  const auto again = send_one(0, 1);
  EXPECT_TRUE(again) << to_string(again.error());
  Client consumer = cluster_->client(1);
  (void)consumer.mark_done("late");  // it may have come all the same
}

TEST_F(EtcdWorld, AStoppedSidecarWhoseRankWasTakenEndsWhenItGoesOn) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0; }));
  const std::uint64_t before = instance(0, 1);
  cluster_->process(1).signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] { return instance(0, 1) == 0; }, seconds(20)));
  const perf::ReservedPort port;
  perf::Process second(
      {.argv = {perf::program_path("sidecard"), "--rank", "1", "--node", "c", "--membership", "etcd",
                "--etcd", etcd_->endpoints(), "--grpc-port", std::to_string(port.number()), "--data-port",
                "0", "--shm-size", "16M", "--shm-dir", cluster_->folder(), "--member-ttl", "3s"},
       .log = cluster_->folder() + "/second.log"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(0, 1) != before; }, seconds(20)));
  cluster_->process(1).signal(SIGCONT);
  EXPECT_EQ(cluster_->process(1).wait(seconds(20)), (perf::Ending{1, 0}));
  EXPECT_THAT(cluster_->log(1), HasSubstr("draining: another process has this rank"));
  EXPECT_NE(instance(0, 1), before) << "it did not take the record with it";
  EXPECT_NE(instance(0, 1), 0u);
  second.signal(SIGTERM);
  EXPECT_EQ(second.wait(seconds(10)), (perf::Ending{0, 0}));
  EXPECT_EQ(cluster_->start(1), "") << "the rank is free again";
}

TEST_F(EtcdWorld, WhoWatchesIsToldOfEveryChange) {
  NEEDS_ETCD();
  make(1, {"a", "b"});
  ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0; }));
  const std::string log = cluster_->folder() + "/watch.log";
  perf::Process watch({.argv = {perf::program_path("sidecarctl"), "members", "--watch", "--json", "--address",
                                cluster_->address(0)},
                       .log = log});
  const auto tells = [&](const std::string& change, Rank rank) {
    return eventually([&] {
      return perf::read_file(log).find(R"({"change":")" + change + R"(","rank":)" + std::to_string(rank)) !=
             std::string::npos;
    });
  };
  EXPECT_TRUE(tells("present", 1));
  const Rank third = cluster_->add("c");
  ASSERT_EQ(cluster_->start(third), "");
  EXPECT_TRUE(tells("joined", third));
  cluster_->kill(third);
  EXPECT_TRUE(tells("gone", third));
  EXPECT_TRUE(watch.running());
  cluster_->process(0).signal(SIGTERM);
  EXPECT_EQ(cluster_->process(0).wait(seconds(10)), (perf::Ending{0, 0}));
  EXPECT_EQ(watch.wait(seconds(10)), (perf::Ending{1, 0}));
  EXPECT_THAT(perf::read_file(log), HasSubstr("has ended"));
}

}  // namespace
}  // namespace sidecar::e2e
