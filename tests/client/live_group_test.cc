// Members of a group and their leader, as real processes meet them.
#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

// Ranks 0 and 1 are one group, rank 2 the world outside.
class LiveGroup : public ::testing::Test {
 protected:
  // Asks its own sidecar, which may not be the group's leader.
  Client member(Rank rank) const { return cluster_.client(rank, {.group = {1, 0}}); }
  Cluster cluster_{{.nodes = {"a", "a", "a"}, .arena = "32M"}};
};

TEST_F(LiveGroup, MembersAttachToTheLeaderInAnyOrderAndAgain) {
  for (int round = 0; round < 2; ++round) {
    Client second = member(1);
    Client first = member(0);
    EXPECT_EQ(first.rank(), 0);
    EXPECT_EQ(second.rank(), 0);
    EXPECT_TRUE(second.shares_memory());
    EXPECT_EQ(cluster_.counter(0, "clients"), 2u);
    EXPECT_EQ(cluster_.counter(1, "clients"), 0u);
    second.close();
    second = member(1);
    EXPECT_TRUE(second.connected());
  }
}

TEST_F(LiveGroup, EveryMemberSeesTheSameMemoryAndAnyMayBeDoneWithIt) {
  Client first = member(0), second = member(1), outside = cluster_.client(2);
  const auto bytes = contents("t", 0, 100'000);
  ASSERT_TRUE(outside.send(Tensor{bytes.data(), Dtype::kU8, {100'000}}, "t", {{0, 1}}));
  for (Client* const each : {&first, &second}) {
    const auto view = each->recv("t");
    ASSERT_TRUE(view) << to_string(view.error());
    EXPECT_TRUE(view->is_shared());
    EXPECT_TRUE(std::ranges::equal(view->bytes(), bytes));
  }
  EXPECT_TRUE(second.mark_done("t"));
  EXPECT_EQ(first.recv("t").code(), Errc::kAlreadyDone);
}

TEST_F(LiveGroup, NoMemberIsADestinationOfItsOwnGroup) {
  for (const Rank rank : {0, 1}) {
    Client client = member(rank);
    for (const Groups& to : {Groups{{0}}, Groups{{1}}, Groups{{2}, {0, 1}}}) {
      EXPECT_EQ(client.send(Object{"x", 1}, "id", to).code(), Errc::kInvalidArgument);
      EXPECT_EQ(client.close_stream("id", 0, to).code(), Errc::kInvalidArgument);
    }
  }
}

TEST_F(LiveGroup, AStreamMayBeClosedByEveryMember) {
  Client first = member(0), second = member(1), outside = cluster_.client(2);
  ASSERT_TRUE(first.send(Object{"x", 1}, "s", {{2}}, 0, 0, {.stream = true}));
  EXPECT_TRUE(second.close_stream("s", 1, {{2}}));
  EXPECT_TRUE(first.close_stream("s", 1, {{2}}));
  ASSERT_TRUE(outside.recv("s", 0));
  EXPECT_TRUE(outside.recv("s", 1)->end_of_stream());
  EXPECT_TRUE(outside.mark_done("s"));
}

}  // namespace
}  // namespace sidecar::e2e
