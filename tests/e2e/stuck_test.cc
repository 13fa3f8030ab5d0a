// Shared memory that is stuck because a process died in the middle of a write: the connections of its node
// are made again, and nobody waits for ever.
#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"
#include "tests/support/fifo_hole.h"

namespace sidecar::e2e {
namespace {

class Stuck : public BothPaths {
 protected:
  Stuck() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "256M"}) {}
  std::string to() const { return std::to_string(consumer()); }
  std::string send(Executor& producer, const std::string& id) {
    return producer.ask("send " + id + " " + to() + " 0 1 5000000 private");
  }
  std::uint64_t replaced(Rank rank) { return cluster_.counter(rank, "transport_planes_replaced"); }
};
SIDECAR_BOTH_PATHS(Stuck);

TEST_P(Stuck, SmokeAHoleInASidecarsQueueEndsTheCallsOfItsClientsAndTheNextOnesWork) {
  Executor producer(cluster_, 0);
  Executor consumer(cluster_, this->consumer());
  ASSERT_EQ(send(producer, "before"), "ok");
  ASSERT_EQ(consumer.ask("hold before 0 5000").substr(0, 15), "ok 5000000 good");
  consumer.tell("recv never 0 60000");
  ASSERT_TRUE(eventually([&] { return cluster_.counter(this->consumer(), "waiting_recvs") == 1; }));
  ASSERT_GT(make_holes_in_queues_of(cluster_.process(this->consumer()).pid()), 0);
  EXPECT_EQ(consumer.answer().substr(0, 14), "error PeerLost") << "the call of before ends";
  EXPECT_EQ(replaced(this->consumer()), 1u);
  EXPECT_EQ(consumer.ask("check"), "ok 1") << "what it looks at has not changed";

  ASSERT_EQ(send(producer, "after"), "ok");
  EXPECT_EQ(consumer.ask("recv after 0 10000").substr(0, 15), "ok 5000000 good");
  EXPECT_EQ(consumer.ask("done after 0"), "ok");
  EXPECT_EQ(consumer.ask("done before 0"), "ok");
  EXPECT_EQ(consumer.ask("drop"), "ok");
  EXPECT_TRUE(cluster_.becomes_empty(this->consumer()));
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Stuck, AHoleInAClientsQueueIsNobodyElsesAffair) {
  Executor producer(cluster_, 0);
  Executor consumer(cluster_, this->consumer());
  Client other = cluster_.client(this->consumer());
  auto waiting = other.recv_async("late");
  ASSERT_EQ(consumer.ask("recv nothing 0 0").substr(0, 13), "error Timeout");
  ASSERT_GT(make_holes_in_queues_of(consumer.process().pid()), 0);
  EXPECT_EQ(consumer.ask("recv never 0 60000").substr(0, 14), "error PeerLost") << "the answer was behind it";
  ASSERT_EQ(send(producer, "after"), "ok");
  EXPECT_EQ(consumer.ask("recv after 0 10000").substr(0, 15), "ok 5000000 good");
  EXPECT_EQ(consumer.ask("done after 0"), "ok");
  EXPECT_EQ(replaced(this->consumer()), 0u);
  EXPECT_FALSE(waiting.ready());
  ASSERT_EQ(send(producer, "late"), "ok");
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "late", 0)) << "the call of before";
  EXPECT_TRUE(other.mark_done("late"));
  EXPECT_TRUE(cluster_.becomes_empty(this->consumer()));
}

}  // namespace
}  // namespace sidecar::e2e
