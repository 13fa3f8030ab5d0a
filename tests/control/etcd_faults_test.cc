// An etcd that is away, slow, compacted or silent must never make members disappear that are there.
#include <arpa/inet.h>
#include <sys/socket.h>

#include "core/fd.h"
#include "tests/control/etcd_fixture.h"

namespace sidecar {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class EtcdFaults : public EtcdMembersTest {
 protected:
  void SetUp() override {
    one_ = join(1, 11);
    two_ = join(2, 22);
    ASSERT_TRUE(eventually([&] { return one_->knows(2); }));
  }
  // That news still travel, and that there were no others before.
  void expect_well(HeardChanges& heard, const std::string& before = "") {
    put(9, 99);
    EXPECT_TRUE(heard.hears("+9:99"));
    EXPECT_EQ(heard.text(), before + (before.empty() ? "" : " ") + "+9:99");
  }

  std::unique_ptr<EtcdMembers> one_;
  std::unique_ptr<EtcdMembers> two_;
};

TEST_F(EtcdFaults, WhileItIsAwayTheMembersStayAndAfterwardsChangesAreTold) {
  HeardChanges heard(*one_);
  etcd_.stop();
  std::this_thread::sleep_for(seconds(3));  // longer than the leases
  EXPECT_EQ(one_->summary(), "ranks 1, 2");
  put(3, 33);  // by others, who reach another of its servers
  etcd_.start();
  EXPECT_TRUE(heard.hears("+3:33"));
  expect_well(heard, "+3:33");
  EXPECT_TRUE(one_->knows(2));
}

TEST_F(EtcdFaults, WhoWentWhileItWasAwayIsGoneAfterTheNextList) {
  put(3, 33);
  ASSERT_TRUE(eventually([&] { return one_->knows(3); }));
  HeardChanges heard(*one_);
  etcd_.stop();
  etcd_.erase(key(3));
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_TRUE(one_->knows(3)) << "as far as is known";
  etcd_.start();
  EXPECT_TRUE(heard.hears("-3:33"));
  expect_well(heard, "-3:33");
}

TEST_F(EtcdFaults, WhoWasReplacedWhileItWasAwayIsReplaced) {
  put(3, 33);
  ASSERT_TRUE(eventually([&] { return one_->knows(3); }));
  HeardChanges heard(*one_);
  etcd_.stop();
  put(3, 34);
  etcd_.start();
  EXPECT_TRUE(heard.hears("3:33>34"));
  expect_well(heard, "3:33>34");
}

TEST_F(EtcdFaults, ACompactedWatchIsFollowedByAListAndAnotherWatch) {
  HeardChanges heard(*one_);
  etcd_.be_mute(true);
  put(3, 33);
  put(4, 44);
  etcd_.erase(key(4));
  const int watches = etcd_.watches();
  etcd_.compact_watches();
  etcd_.be_mute(false);
  EXPECT_TRUE(heard.hears("+3:33"));
  EXPECT_TRUE(eventually([&] { return etcd_.watches() == watches + 2; })) << "one for each of us";
  expect_well(heard, "+3:33");
}

TEST_F(EtcdFaults, AWatchThatIsCanceledForAnotherReasonIsMadeAgain) {
  HeardChanges heard(*one_);
  for (int i = 0; i < 3; ++i) {
    const int watches = etcd_.watches();
    etcd_.cancel_watches("etcdserver: no leader");
    EXPECT_TRUE(eventually([&] { return etcd_.watches() >= watches + 2; }));
  }
  expect_well(heard);
}

TEST_F(EtcdFaults, AServerThatAnswersTooSlowlyCountsAsAway) {
  HeardChanges heard(*one_);
  etcd_.be_slow(seconds(5));
  std::this_thread::sleep_for(seconds(3));
  EXPECT_EQ(one_->summary(), "ranks 1, 2");
  EXPECT_EQ(heard.text(), "");
  etcd_.be_slow(milliseconds(0));
  EXPECT_TRUE(eventually([&] { return !etcd_.get(key(1)).empty() && !etcd_.get(key(2)).empty(); }));
  put(9, 99);
  EXPECT_TRUE(heard.hears("+9:99"));
}

TEST_F(EtcdFaults, AWatchThatIsNeverCreatedIsGivenUp) {
  HeardChanges heard(*one_);
  etcd_.be_mute(true);
  etcd_.cancel_watches("again");
  etcd_.be_mute(true);
  const int watches = etcd_.watches();
  EXPECT_TRUE(eventually([&] { return etcd_.watches() >= watches + 4; })) << "each of us tried it again";
  etcd_.be_mute(false);
  expect_well(heard);
}

TEST_F(EtcdFaults, RefusedTransactionsAreTriedAgain) {
  etcd_.refuse_transactions(4);
  const auto three = join(3, 33);
  EXPECT_TRUE(eventually([&] { return one_->knows(3); }));
}

TEST_F(EtcdFaults, OfSeveralServersOneThatIsThereIsFound) {
  const FakeEtcd other;
  // A port where nobody listens, and one where somebody does who never says a word.
  const Fd silent(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(silent.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(silent.get(), 8), 0);
  ASSERT_EQ(getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  for (int i = 0; i < 4; ++i) {  // whichever each asks first
    const auto members =
        make(30 + i, {"127.0.0.1:1", fmt::format("127.0.0.1:{}", ntohs(address.sin_port)), etcd_.endpoint()});
    auto joined = start_joining(*members, 30 + i, 3);
    const Joined result = wait(joined, seconds(5));
    EXPECT_TRUE(result) << result.error();
    EXPECT_TRUE(members->knows(1));
    members->leave();
    EXPECT_EQ(etcd_.get(key(30 + i)), "");
  }
}

TEST_F(EtcdFaults, ItMayComeLaterThanItsMembers) {
  etcd_.stop();
  const auto three = make(3);
  auto joined = start_joining(*three, 3, 33);
  EXPECT_EQ(joined.wait_for(seconds(1)), std::future_status::timeout);
  EXPECT_TRUE(three->knows(3)) << "itself it always knows";
  etcd_.start();
  EXPECT_TRUE(wait(joined));
  EXPECT_TRUE(three->knows(1) && three->knows(2));
}

TEST_F(EtcdFaults, EndingDoesNotWaitForIt) {
  etcd_.be_slow(seconds(60));
  std::this_thread::sleep_for(seconds(1));
  const auto begin = std::chrono::steady_clock::now();
  one_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(1));
  two_->leave();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(3));
}

}  // namespace
}  // namespace sidecar
