// Sidecars that leave, in order or not, and what the others notice of it.
#include <signal.h>

#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Leaving : public BothPaths {
 protected:
  Leaving() : BothPaths({.nodes = {"a", "a", "b"}, .flags = {"--peer-timeout", "2s"}}) {}

  void end_in_order(Rank rank) {
    cluster_.process(rank).signal(SIGTERM);
    EXPECT_EQ(cluster_.process(rank).wait(seconds(20)), (perf::Ending{.code = 0})) << cluster_.log(rank);
  }
  void expect_works(const std::string& id) {
    Client producer = cluster_.client(0);
    Client consumer = cluster_.client(this->consumer());
    const auto bytes = contents(id, 0, 500'000);
    const auto sent = producer.send(tensor_of(bytes), id, {{this->consumer()}});
    ASSERT_TRUE(sent) << to_string(sent.error());
    EXPECT_TRUE(matches(consumer.recv(id, 0, seconds(10)).value().bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
  }
};
SIDECAR_BOTH_PATHS(Leaving);

TEST_P(Leaving, WhatArrivedStaysWhenItsProducersSidecarLeavesInOrder) {
  Client consumer = cluster_.client(this->consumer());
  {
    Client producer = cluster_.client(0);
    const auto bytes = contents("heritage", 0, 500'000);
    ASSERT_TRUE(producer.send(tensor_of(bytes), "heritage", {{this->consumer()}}));
  }
  end_in_order(0);
  cluster_.restart(0);
  EXPECT_TRUE(matches(consumer.recv("heritage").value().bytes(), "heritage", 0));
  EXPECT_TRUE(consumer.mark_done("heritage"));
  expect_works("heir");
}

TEST_P(Leaving, AConsumersSidecarThatLeavesInOrderEndsTheCallsOfItsClients) {
  Client consumer = cluster_.client(this->consumer());
  auto waiting = consumer.recv_async("never");
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  end_in_order(this->consumer());
  const auto ended = waiting.get();
  EXPECT_TRUE(ended.code() == Errc::kPeerLost || ended.code() == Errc::kUnavailable)
      << to_string(ended.error());
  EXPECT_EQ(ended.error().rank, this->consumer());
  cluster_.restart(this->consumer());
  expect_works("after");
}

TEST_P(Leaving, Rule8ASidecarThatStandsStillForTooLongIsLost) {
  expect_works("alive");
  Client producer = cluster_.client(0);
  cluster_.process(this->consumer()).signal(SIGSTOP);
  const auto bytes = contents("void", 0, 5 << 20);
  const auto sent = producer.send(tensor_of(bytes), "void", {{this->consumer()}});
  EXPECT_EQ(sent.code(), Errc::kPeerLost);
  EXPECT_EQ(sent.error().rank, this->consumer());
  cluster_.restart(this->consumer());
  expect_works("alive again");
}

TEST_P(Leaving, ADestinationThatIsGoneIsNamedAndDoesNotHurtTheOthers) {
  const Rank other = this->consumer() == 1 ? 2 : 1;
  cluster_.kill(this->consumer());
  Client producer = cluster_.client(0);
  const auto bytes = contents("partly", 0, 100'000);
  const auto sent = producer.send(tensor_of(bytes), "partly", {{1}, {2}}, 0, 1, {.deadline = seconds(4)});
  ASSERT_FALSE(sent);
  ASSERT_EQ(sent.error().failed.size(), 1u) << to_string(sent.error());
  EXPECT_EQ(sent.error().failed[0].rank, this->consumer());
  EXPECT_NE(to_string(sent.error()).find("rank " + std::to_string(this->consumer())), std::string::npos)
      << to_string(sent.error());
  Client receiver = cluster_.client(other);
  EXPECT_TRUE(matches(receiver.recv("partly").value().bytes(), "partly", 0));
  EXPECT_TRUE(receiver.mark_done("partly"));
}

TEST_P(Leaving, RegressionC3TheEndOfOneSidecarLeavesTheOthersMemoryAlone) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(this->consumer());
  const auto bytes = contents("c3", 0, 500'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "c3", {{this->consumer()}}));
  const auto view = consumer.recv("c3");
  ASSERT_TRUE(view);
  const Rank bystander = this->consumer() == 1 ? 2 : 1;
  const ino_t before = cluster_.arena_inode(0);
  cluster_.restart(bystander);
  end_in_order(bystander);
  cluster_.restart(bystander);
  EXPECT_EQ(cluster_.arena_inode(0), before);
  EXPECT_TRUE(matches(view->bytes(), "c3", 0));
  expect_works("c3 again");
  EXPECT_TRUE(consumer.mark_done("c3"));
}

}  // namespace
}  // namespace sidecar::e2e
