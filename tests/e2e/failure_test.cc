// Any process may die at any instant. Then nobody else dies or hangs, every call ends, every slot is free
// again.
#include <signal.h>

#include <cstring>
#include <thread>

#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Failures : public BothPaths {
 protected:
  Failures() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "256M", .flags = {"--peer-timeout", "3s"}}) {}
};
SIDECAR_BOTH_PATHS(Failures);

TEST_P(Failures, SmokeAClientKilledWhileItWaitsLeavesNothing) {
  Executor consumer(cluster_, this->consumer());
  consumer.tell("recv nothing 0 60000");
  const auto until = std::chrono::steady_clock::now() + seconds(5);
  while (cluster_.counter(this->consumer(), "waiting_recvs") == 0 &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(cluster_.counter(this->consumer(), "waiting_recvs"), 1u);
  consumer.process().kill();
  EXPECT_TRUE(cluster_.becomes_empty(this->consumer()));
}

TEST_P(Failures, AClientKilledWhileItHoldsAViewGivesItsMemoryBack) {
  Executor producer(cluster_, 0);
  Executor holder(cluster_, this->consumer());
  Executor other(cluster_, this->consumer());
  ASSERT_EQ(producer.ask("send v " + std::to_string(this->consumer()) + " 0 1 5000000 arena"), "ok");
  ASSERT_EQ(holder.ask("hold v 0 5000").substr(0, 15), "ok 5000000 good");
  ASSERT_EQ(other.ask("done v 0"), "ok");
  EXPECT_FALSE(cluster_.becomes_empty(this->consumer(), milliseconds(200))) << "the holder still looks at it";
  holder.process().kill();
  EXPECT_TRUE(cluster_.becomes_empty(this->consumer()));
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Failures, AStoppedClientKeepsItsViewUntilItIsGone) {
  Executor producer(cluster_, 0);
  Executor holder(cluster_, this->consumer());
  Executor other(cluster_, this->consumer());
  ASSERT_EQ(producer.ask("send s " + std::to_string(this->consumer()) + " 0 1 5000000 arena"), "ok");
  ASSERT_EQ(holder.ask("hold s 0 5000").substr(0, 15), "ok 5000000 good");
  holder.process().signal(SIGSTOP);
  ASSERT_EQ(other.ask("done s 0"), "ok");
  EXPECT_FALSE(cluster_.becomes_empty(this->consumer(), milliseconds(1500)));
  holder.process().signal(SIGCONT);
  EXPECT_EQ(holder.ask("check"), "ok 1");
  EXPECT_EQ(holder.ask("drop"), "ok");
}

TEST_P(Failures, AProducerKilledAfterCaptureIsStillDelivered) {
  Executor consumer(cluster_, this->consumer());
  {
    Executor producer(cluster_, 0);
    ASSERT_EQ(producer.ask("send c " + std::to_string(this->consumer()) + " 0 1 5000000 private"), "ok");
    producer.process().kill();
  }
  EXPECT_EQ(consumer.ask("recv c 0 5000").substr(0, 15), "ok 5000000 good");
  EXPECT_EQ(consumer.ask("done c 0"), "ok");
}

TEST_P(Failures, AProducerKilledInTheMiddleOfARendezvousLeavesNothing) {
  for (int round = 0; round < 5; ++round) {
    Executor producer(cluster_, 0);
    producer.tell("send m" + std::to_string(round) + " " + std::to_string(this->consumer()) +
                  " 0 1 60000000 private");
    std::this_thread::sleep_for(milliseconds(3 * round));
    producer.process().kill();
    Client consumer = cluster_.client(this->consumer());
    ASSERT_TRUE(consumer.mark_done("m" + std::to_string(round), 0));
    EXPECT_TRUE(cluster_.becomes_empty(0));
  }
}

TEST_P(Failures, TheReceivingSidecarKilledInTheMiddleOfARendezvousFailsTheSendWithItsRank) {
  Client producer = cluster_.client(0);
  const auto bytes = contents("k", 0, 60 << 20);
  const auto warm = contents("warm", 0, 100);
  ASSERT_TRUE(producer.send(tensor_of(warm), "warm", {{this->consumer()}}));
  SendHandle sending = producer.send_async(tensor_of(bytes), "k", {{this->consumer()}});
  std::this_thread::sleep_for(milliseconds(15));
  cluster_.kill(this->consumer());
  const auto result = sending.delivered.get();
  if (!result) {
    EXPECT_EQ(result.code(), Errc::kPeerLost) << to_string(result.error());
    EXPECT_EQ(result.error().rank, this->consumer());
  }
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Failures, TheSendingSidecarKilledInTheMiddleOfARendezvousEndsTheWaitWithPeerLost) {
  Client consumer = cluster_.client(this->consumer());
  Executor producer(cluster_, 0);
  const std::string to = std::to_string(this->consumer());
  ASSERT_EQ(producer.ask("send l " + to + " 0 3 5000000 private"), "ok");
  auto late = consumer.recv_async("l", 2);
  producer.tell("send l " + to + " 1 3 60000000 private");
  std::this_thread::sleep_for(milliseconds(15));
  cluster_.kill(0);
  const auto lost = late.get();
  ASSERT_EQ(lost.code(), Errc::kPeerLost);
  EXPECT_EQ(lost.error().rank, 0);
  EXPECT_TRUE(matches(consumer.recv("l", 0).value().bytes(), "l", 0)) << "what arrived whole stays readable";
  for (ChunkIndex chunk = 0; chunk < 3; ++chunk) EXPECT_TRUE(consumer.mark_done("l", chunk));
}

TEST_P(Failures, SmokeARestartedSidecarJoinsWithoutAnyoneElseBeingRestarted) {
  Client producer = cluster_.client(0);
  for (int round = 0; round < 3; ++round) {
    const std::string id = "again-" + std::to_string(round);
    const auto bytes = contents(id, 0, 200000);
    const auto sent = producer.send(tensor_of(bytes), id, {{this->consumer()}});
    ASSERT_TRUE(sent) << to_string(sent.error());
    {
      Client consumer = cluster_.client(this->consumer());
      EXPECT_TRUE(matches(consumer.recv(id, 0, seconds(10)).value().bytes(), id, 0));
      EXPECT_TRUE(consumer.mark_done(id));
    }
    cluster_.restart(this->consumer());
  }
}

TEST_P(Failures, TheOwnSidecarKilledEndsEveryCallWithPeerLost) {
  Client consumer = cluster_.client(this->consumer(), {.reconnect = false});
  auto waiting = consumer.recv_async("forever", 0);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  cluster_.kill(this->consumer());
  const auto lost = waiting.get();
  ASSERT_EQ(lost.code(), Errc::kPeerLost);
  EXPECT_EQ(lost.error().rank, this->consumer());
  EXPECT_FALSE(consumer.connected());
  EXPECT_FALSE(consumer.recv("more").has_value());
  cluster_.restart(this->consumer());
}

TEST_P(Failures, ASidecarStoppedForAWhileLosesNothing) {
  Client producer = cluster_.client(0);
  const auto first = contents("before", 0, 100000);
  ASSERT_TRUE(producer.send(tensor_of(first), "before", {{this->consumer()}}));
  cluster_.process(this->consumer()).signal(SIGSTOP);
  const auto bytes = contents("during", 0, 5 << 20);
  SendHandle sending = producer.send_async(tensor_of(bytes), "during", {{this->consumer()}});
  EXPECT_FALSE(sending.delivered.wait(seconds(1)));
  cluster_.process(this->consumer()).signal(SIGCONT);
  ASSERT_TRUE(sending.delivered.get());
  Client consumer = cluster_.client(this->consumer());
  EXPECT_TRUE(matches(consumer.recv("before").value().bytes(), "before", 0));
  EXPECT_TRUE(matches(consumer.recv("during").value().bytes(), "during", 0));
  EXPECT_TRUE(consumer.mark_done("before"));
  EXPECT_TRUE(consumer.mark_done("during"));
}

TEST_P(Failures, DeliveredDataOutliveTheirProducersSidecar) {
  Executor producer(cluster_, 0);
  Executor mapped(cluster_, this->consumer());
  const std::string to = std::to_string(this->consumer());
  ASSERT_EQ(producer.ask("send o " + to + " 0 1 5000000 arena"), "ok");
  ASSERT_EQ(mapped.ask("hold o 0 5000").substr(0, 15), "ok 5000000 good");
  cluster_.kill(0);
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(mapped.ask("check"), "ok 1");
  Executor later(cluster_, this->consumer());
  EXPECT_EQ(later.ask("recv o 0 5000").substr(0, 15), "ok 5000000 good");
  cluster_.restart(0);
  EXPECT_EQ(later.ask("recv o 0 5000").substr(0, 15), "ok 5000000 good")
      << "the old arena's file is gone now";
  EXPECT_EQ(mapped.ask("drop"), "ok");
  EXPECT_EQ(mapped.ask("done o 0"), "ok");
}

// Also of one that lies in a neighbour's arena, which the dead sidecar alone knew of.
TEST_P(Failures, AViewOutlivesItsOwnSidecarUntilItIsDropped) {
  Executor producer(cluster_, 0);
  Executor reader(cluster_, this->consumer());
  const std::string to = std::to_string(this->consumer());
  ASSERT_EQ(producer.ask("send o " + to + " 0 1 5000000 arena"), "ok");
  ASSERT_EQ(reader.ask("hold o 0 5000").substr(0, 15), "ok 5000000 good");
  cluster_.kill(this->consumer());
  std::this_thread::sleep_for(milliseconds(500));
  {
    Client other = cluster_.client(0);
    std::vector<Buffer> all;  // whatever is free is written to
    for (int i = 0; i < 5; ++i) {
      auto buffer = other.allocate({5'000'000}, Dtype::kU8, seconds(2));
      if (!buffer) break;
      std::memset(buffer->data(), 0xee, buffer->size_bytes());
      all.push_back(*std::move(buffer));
    }
    EXPECT_FALSE(all.empty());
    EXPECT_EQ(reader.ask("check"), "ok 1");
  }
  EXPECT_EQ(reader.ask("drop"), "ok");
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Failures, RegressionC1ARestartedSidecarIsReachedFromBothSides) {
  cluster_.restart(0);
  cluster_.restart(this->consumer());
  Client here = cluster_.client(0);
  Client there = cluster_.client(this->consumer());
  const auto bytes = contents("c1", 0, 3000);
  ASSERT_TRUE(here.send(tensor_of(bytes), "c1", {{this->consumer()}}));
  ASSERT_TRUE(there.send(tensor_of(bytes), "c1", {{0}}));
  EXPECT_TRUE(here.mark_done("c1"));
  EXPECT_TRUE(there.mark_done("c1"));
}

}  // namespace
}  // namespace sidecar::e2e
