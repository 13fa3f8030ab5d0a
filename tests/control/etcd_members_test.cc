// Who is there, as etcd tells it.
#include "tests/control/etcd_fixture.h"

namespace sidecar {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST_F(EtcdMembersTest, TwoFindEachOther) {
  const auto one = join(1, 11);
  HeardChanges heard(*one);
  EXPECT_EQ(heard.present(), std::vector{record(1, 11)});
  const auto two = join(2, 22);
  EXPECT_EQ(two->find(1), record(1, 11)) << "who has joined knows those who were there";
  EXPECT_TRUE(heard.hears("+2:22"));
  EXPECT_EQ(one->find(2), record(2, 22));
  EXPECT_EQ(one->summary(), "ranks 1, 2");
  EXPECT_FALSE(one->knows(3));
  EXPECT_TRUE(one->may_grow());
}

TEST_F(EtcdMembersTest, WhoLeavesIsGoneAtOnceAndWhoDiesWhenItsLeaseEnds) {
  const auto one = join(1, 11);
  auto two = join(2, 22);
  auto three = join(3, 33);
  ASSERT_TRUE(eventually([&] { return one->knows(3); }));
  HeardChanges heard(*one);
  two->leave();
  EXPECT_TRUE(heard.hears("-2:22", milliseconds(500)));
  EXPECT_EQ(etcd_.get(key(2)), "");
  three.reset();
  EXPECT_FALSE(heard.hears("-3:33", milliseconds(500)));
  EXPECT_TRUE(heard.hears("-3:33"));
  EXPECT_FALSE(one->knows(3));
}

TEST_F(EtcdMembersTest, ASecondProcessWithTheSameRankIsRefusedAndToldWhoHasIt) {
  const auto first = join(1, 11);
  const auto second = make(1);
  auto joined = start_joining(*second, 1, 12);
  const Joined result = wait(joined);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error(),
              HasSubstr("rank 1: another process, instance 000000000000000b at 127.0.0.1:10001"));
  EXPECT_EQ(etcd_.get(key(1)), encode_member(record(1, 11)));
}

TEST_F(EtcdMembersTest, ARecordWithoutALeaseNeverEndsAndRefusesAtOnce) {
  put(1, 99);
  const auto members = make(1);
  auto joined = start_joining(*members, 1, 11);
  const Joined result = wait(joined, seconds(2));
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error(), HasSubstr("without a lease"));
}

TEST_F(EtcdMembersTest, TheRankOfACrashedProcessIsTakenWhenItsLeaseEnds) {
  const auto other = join(2, 22);
  join(1, 11).reset();  // as if killed
  HeardChanges heard(*other);
  const auto again = join(1, 12);
  EXPECT_TRUE(heard.hears("-1:11 +1:12")) << heard.text();
  EXPECT_EQ(other->find(1)->instance, 12u);
}

TEST_F(EtcdMembersTest, ALostLeaseIsMadeAgain) {
  const auto one = join(1, 11);
  const auto two = join(2, 22);
  HeardChanges heard(*two);
  etcd_.revoke(etcd_.lease_of(key(1)));
  EXPECT_TRUE(heard.hears("-1:11 +1:11", seconds(1))) << "at once, since it watches its own record as well";
  EXPECT_EQ(usurpations(), 0u);
}

TEST_F(EtcdMembersTest, ARecordThatSomebodyRemovedIsWrittenAgainUnderTheSameLease) {
  const auto one = join(1, 11);
  const std::int64_t lease = etcd_.lease_of(key(1));
  etcd_.erase(key(1));
  EXPECT_TRUE(eventually([&] { return etcd_.lease_of(key(1)) == lease; }, seconds(1)));
  EXPECT_EQ(etcd_.grants(), 1);
}

TEST_F(EtcdMembersTest, WhoseRankWasTakenMeanwhileSaysSoOnceAndWritesNoMore) {
  const auto one = join(1, 11);
  etcd_.stop();
  etcd_.revoke(etcd_.lease_of(key(1)));
  put(1, 99);
  etcd_.start();
  EXPECT_TRUE(eventually([&] { return usurpations() == 1; }));
  EXPECT_THAT(usurped_.at(0), HasSubstr("rank 1: another process, instance 0000000000000063"));
  etcd_.erase(key(1));
  EXPECT_FALSE(eventually([&] { return !etcd_.get(key(1)).empty() || usurpations() > 1; }, seconds(1)));
}

TEST_F(EtcdMembersTest, WhoseRankIsTakenByForceSaysSo) {
  const auto one = join(1, 11);
  put(1, 99);
  EXPECT_TRUE(eventually([&] { return usurpations() == 1; }, seconds(1)));
}

TEST_F(EtcdMembersTest, AnotherAddressOfTheSameInstanceIsAChange) {
  const auto one = join(1, 11);
  put(2, 22);
  HeardChanges heard(*one);
  EXPECT_TRUE(eventually([&] { return one->knows(2); }));
  etcd_.put(key(2), encode_member({2, 22, "127.0.0.1:7", "node-b"}));
  EXPECT_TRUE(heard.hears("2:22>22"));
  EXPECT_EQ(one->find(2)->grpc_address, "127.0.0.1:7");
}

TEST_F(EtcdMembersTest, WhatIsNoRecordIsNotHeeded) {
  etcd_.put(key(4), "no record");
  etcd_.put("/test/members/five", encode_member(record(5, 55)));
  etcd_.put("/test/members/-6", encode_member(record(-6, 66)));
  etcd_.put(key(7), encode_member(record(8, 88)));
  etcd_.put("/tesu/members/9", encode_member(record(9, 99)));
  const auto one = join(1, 11);
  put(2, 22);
  etcd_.put(key(3), "nor this");
  put(10, 110);
  EXPECT_TRUE(eventually([&] { return one->knows(10); }));
  EXPECT_EQ(one->summary(), "ranks 1, 2, 10");
}

TEST_F(EtcdMembersTest, AChangeRightAfterTheListIsNotMissed) {
  etcd_.put_after_list(key(2), encode_member(record(2, 22)));
  const auto one = join(1, 11);
  EXPECT_TRUE(eventually([&] { return one->knows(2); }, seconds(1)));
}

TEST_F(EtcdMembersTest, ThousandsAreListedInPages) {
  for (Rank rank = 2; rank < 2502; ++rank) put(rank, 7);
  const auto one = join(1, 11);
  EXPECT_EQ(one->list().size(), 2501u);
  EXPECT_EQ(etcd_.lists(), 3);
}

TEST_F(EtcdMembersTest, OneThatNeverJoinsTellsNothingAndEnds) {
  const auto members = make(2);
  EXPECT_TRUE(members->knows(2));
  EXPECT_FALSE(members->knows(1));
  EXPECT_TRUE(members->list().empty());
  members->leave();
}

}  // namespace
}  // namespace sidecar
