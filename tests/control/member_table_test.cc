// The members as they are known, who hears of changes, and how those who watch are kept in bounds.
#include "control/member_table.h"

#include <gmock/gmock.h>

#include <thread>

#include "control/member_news.h"
#include "control/member_watchers.h"
#include "control/static_members.h"
#include "tests/control/fake_members.h"
#include "tests/control/heard_changes.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

using std::chrono::milliseconds;
using Outcome = MemberWatchers::Watcher::Outcome;

MemberRecord record(Rank rank, InstanceId instance) { return {rank, instance, "host:1", "n"}; }

TEST(MemberTable, TellsWhatIsNewAndNotWhatWasKnown) {
  FakeMembers members;
  members.table.put(record(1, 11));
  HeardChanges heard(members);
  EXPECT_EQ(heard.present(), std::vector{record(1, 11)});
  members.table.put(record(1, 11));
  members.table.erase(5);
  members.table.put(record(2, 22));
  members.table.put(record(2, 23));
  members.table.erase(1);
  EXPECT_EQ(heard.text(), "+2:22 2:22>23 -1:11");
}

TEST(MemberTable, AWholeListIsComparedWithWhatWasKnown) {
  FakeMembers members;
  for (const Rank rank : {1, 2, 3}) members.table.put(record(rank, 10));
  HeardChanges heard(members);
  members.table.replace_all({record(2, 10), record(3, 11), record(4, 10)});
  EXPECT_EQ(heard.text(), "-1:10 3:10>11 +4:10");
  members.table.replace_all({record(2, 10), record(3, 11), record(4, 10)});
  EXPECT_EQ(heard.text(), "-1:10 3:10>11 +4:10");
  EXPECT_EQ(members.summary(), "ranks 2, 3, 4");
}

TEST(MemberTable, WhoHasStoppedListeningHearsNothing) {
  FakeMembers members;
  std::vector<MemberRecord> present;
  int heard = 0;
  const auto listener = members.listen([&](const MemberChange&) { ++heard; }, &present);
  members.table.put(record(1, 1));
  members.stop_listening(listener);
  members.table.put(record(2, 2));
  EXPECT_EQ(heard, 1);
}

TEST(MemberTable, AListIsShortenedForMessages) {
  FakeMembers members;
  for (Rank rank = 0; rank < 40; ++rank) members.table.put(record(rank, 1));
  EXPECT_EQ(members.summary(), "ranks 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ...");
  EXPECT_EQ(members.list().size(), 40u);
}

TEST(StaticMembers, KnowAddressesAndNothingElse) {
  StaticMembers members(*StaticPeers::parse("1=a:5,7=b:6", 0));
  EXPECT_EQ(members.find(7), (MemberRecord{7, 0, "b:6", ""}));
  EXPECT_FALSE(members.find(2));
  EXPECT_FALSE(members.may_grow());
  EXPECT_EQ(members.list().size(), 2u);
  bool joined = false;
  members.join(record(1, 1), [&](const auto& result) { joined = result.has_value(); });
  EXPECT_TRUE(joined);
}

TEST(StaticMembers, AMillionOfThemAreNotAllListed) {
  const StaticMembers members(*StaticPeers::parse("sidecar-%d:1", 1'000'000));
  EXPECT_EQ(members.list().size(), Members::kListedMax);
  EXPECT_TRUE(members.knows(999'999));
}

TEST(MemberWatchers, EachHearsEveryChange) {
  FakeMembers members;
  MemberWatchers watchers(members);
  members.table.put(record(1, 11));
  std::vector<MemberRecord> present;
  const auto one = watchers.add(&present);
  EXPECT_EQ(present.size(), 1u);
  members.table.put(record(2, 22));
  const auto two = watchers.add(&present);
  EXPECT_EQ(present.size(), 2u);
  members.table.erase(1);
  std::vector<MemberChange> changes;
  EXPECT_EQ(one->wait(milliseconds(0), &changes), Outcome::kChanges);
  EXPECT_EQ(changes.size(), 2u);
  EXPECT_EQ(one->wait(milliseconds(0), &changes), Outcome::kNothing);
  EXPECT_EQ(two->wait(milliseconds(0), &changes), Outcome::kChanges);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].kind, MemberChange::Kind::kGone);
}

TEST(MemberWatchers, WhoDoesNotFetchIsTooSlowAndTheOthersAreNot) {
  FakeMembers members;
  MemberWatchers watchers(members);
  std::vector<MemberRecord> present;
  const auto slow = watchers.add(&present);
  const auto quick = watchers.add(&present);
  std::vector<MemberChange> changes;
  for (std::size_t i = 0; i <= MemberWatchers::kQueuedMax; ++i) {
    members.table.put(record(1, 1 + i));
    EXPECT_EQ(quick->wait(milliseconds(0), &changes), Outcome::kChanges);
  }
  EXPECT_EQ(slow->wait(milliseconds(0), &changes), Outcome::kTooSlow);
  EXPECT_TRUE(changes.empty());
}

TEST(MemberWatchers, ThereAreNotMoreThanTheBound) {
  FakeMembers members;
  MemberWatchers watchers(members);
  std::vector<MemberRecord> present;
  std::vector<std::unique_ptr<MemberWatchers::Watcher>> all;
  for (std::size_t i = 0; i < MemberWatchers::kWatchersMax; ++i) all.push_back(watchers.add(&present));
  EXPECT_EQ(watchers.add(&present), nullptr);
  all.pop_back();
  EXPECT_NE(watchers.add(&present), nullptr);
}

TEST(MemberWatchers, ClosingEndsEveryWait) {
  FakeMembers members;
  MemberWatchers watchers(members);
  std::vector<MemberRecord> present;
  const auto watcher = watchers.add(&present);
  std::thread closes([&] { watchers.close(); });
  std::vector<MemberChange> changes;
  EXPECT_EQ(watcher->wait(std::chrono::seconds(20), &changes), Outcome::kClosed);
  closes.join();
  EXPECT_EQ(watchers.add(&present), nullptr);
}

TEST(MemberNews, EveryChangeReachesTheLoopInOrderAlsoThroughAMailboxThatIsFull) {
  TestLoop loop;
  Mailbox mailbox(loop.get(), 4, 2);
  FakeMembers members;
  std::vector<InstanceId> heard;
  MemberNews news(members, mailbox, [&](const MemberChange& change) {
    CHECK_ON_LOOP(*loop);
    heard.push_back(change.member.instance);
  });
  std::thread provider([&] {
    for (InstanceId instance = 1; instance <= 100; ++instance) members.table.put(record(1, instance));
  });
  EXPECT_TRUE(loop.run_until([&] { return heard.size() == 100; }));
  provider.join();
  EXPECT_TRUE(std::is_sorted(heard.begin(), heard.end()));
  mailbox.close();
}

TEST(MemberNews, EndsWhileTheProviderWaitsForAMailboxThatIsClosed) {
  TestLoop loop;
  Mailbox mailbox(loop.get(), 1, 1);
  FakeMembers members;
  auto news = std::make_unique<MemberNews>(members, mailbox, [](const MemberChange&) {});
  std::thread provider([&] {
    for (InstanceId instance = 1; instance <= 100; ++instance) members.table.put(record(1, instance));
  });
  std::this_thread::sleep_for(milliseconds(20));
  mailbox.close();
  news.reset();
  provider.join();
}

}  // namespace
}  // namespace sidecar
