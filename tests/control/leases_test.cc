#include "control/leases.h"

#include <gmock/gmock.h>

namespace sidecar {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// Looks as often as a loop does, from `from` to `to`; what has ended on the way.
std::vector<InstanceId> look(Leases& leases, TimeNs from, TimeNs to) {
  std::vector<InstanceId> ended;
  for (TimeNs now = from; now <= to; now += kSecond) {
    for (const InstanceId client : leases.take_ended(now)) ended.push_back(client);
  }
  return ended;
}

TEST(Leases, EndWhenTheyAreNotRenewed) {
  Leases leases(10 * kSecond);
  leases.grant(1, 100 * kSecond);
  leases.grant(2, 102 * kSecond);
  EXPECT_THAT(look(leases, 100 * kSecond, 109 * kSecond), IsEmpty());
  EXPECT_THAT(leases.take_ended(110 * kSecond), ElementsAre(1));
  EXPECT_FALSE(leases.renew(1, 110 * kSecond)) << "too late";
  EXPECT_TRUE(leases.renew(2, 110 * kSecond));
  EXPECT_THAT(look(leases, 111 * kSecond, 119 * kSecond), IsEmpty());
  EXPECT_THAT(leases.take_ended(120 * kSecond), ElementsAre(2));
  EXPECT_EQ(leases.size(), 0u);
}

TEST(Leases, ARenewalIsAFullLeaseFromThenOn) {
  Leases leases(10 * kSecond);
  leases.grant(1, 0);
  for (TimeNs now = 0; now < 100 * kSecond; now += 3 * kSecond) {
    EXPECT_TRUE(leases.renew(1, now));
    EXPECT_THAT(leases.take_ended(now), IsEmpty());
  }
}

TEST(Leases, AnUnknownOneCannotBeRenewedNorAnEndedOne) {
  Leases leases(10 * kSecond);
  EXPECT_FALSE(leases.renew(1, 0));
  leases.grant(1, 0);
  leases.end(1);
  leases.end(7);
  EXPECT_FALSE(leases.renew(1, kSecond));
  EXPECT_THAT(leases.take_ended(20 * kSecond), IsEmpty());
}

TEST(Leases, WhenItWasUsWhoStoodStillNobodyHasBeenLate) {
  Leases leases(10 * kSecond);
  leases.grant(1, 0);
  leases.grant(2, 0);
  EXPECT_THAT(look(leases, 0, 5 * kSecond), IsEmpty());
  EXPECT_THAT(leases.take_ended(25 * kSecond), IsEmpty()) << "stopped for twenty seconds";
  EXPECT_TRUE(leases.renew(1, 26 * kSecond));
  EXPECT_THAT(look(leases, 26 * kSecond, 34 * kSecond), IsEmpty());
  EXPECT_THAT(leases.take_ended(35 * kSecond), UnorderedElementsAre(2)) << "a full lease, and no more";
}

TEST(Leases, ALoopThatHadNothingToLookAtDidNotStandStill) {
  Leases leases(10 * kSecond);
  EXPECT_EQ(leases.next_deadline(), kNever);
  leases.grant(1, 1000 * kSecond);
  EXPECT_THAT(look(leases, 1001 * kSecond, 1009 * kSecond), IsEmpty());
  EXPECT_THAT(leases.take_ended(1010 * kSecond), ElementsAre(1));
  EXPECT_EQ(leases.next_deadline(), kNever);
}

TEST(Leases, TheLoopIsWokenForTheEndAndOftenEnoughToKnowThatItRuns) {
  Leases leases(8 * kSecond);
  leases.grant(1, 100 * kSecond);
  EXPECT_EQ(leases.next_deadline(), 102 * kSecond);
  TimeNs now = leases.next_deadline();
  std::vector<InstanceId> ended;
  while (ended.empty() && now < 200 * kSecond) {
    ended = leases.take_ended(now);
    now = std::min(leases.next_deadline(), 200 * kSecond);
  }
  EXPECT_THAT(ended, ElementsAre(1)) << "woken only when it asked for it";
  leases.grant(2, 300 * kSecond);
  EXPECT_THAT(leases.take_ended(307 * kSecond + 999 * kMillisecond), IsEmpty()) << "it stood still";
}

}  // namespace
}  // namespace sidecar
