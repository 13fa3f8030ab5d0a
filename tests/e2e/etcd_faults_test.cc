// What becomes of etcd must not become of the sidecars: they go on with the members they know.
#include "tests/e2e/etcd_fixture.h"

namespace sidecar::e2e {
namespace {

class EtcdFaults : public EtcdWorld {
 protected:
  void begin(std::size_t servers) {
    make(servers, {"a", "b"});
    ASSERT_TRUE(eventually([&] { return instance(0, 1) != 0 && instance(1, 0) != 0; }));
    forth_.emplace(*cluster_, 0, 1);
    back_.emplace(*cluster_, 1, 0);
    moves();
  }
  // Traffic goes on right now, in both directions.
  void moves() {
    for (const auto* traffic : {&*forth_, &*back_}) {
      const int before = traffic->count();
      EXPECT_TRUE(eventually([&] { return traffic->count() > before + 5; }, seconds(20)));
    }
  }
  void end() {
    moves();
    EXPECT_GT(forth_->stop(), 0);
    EXPECT_GT(back_->stop(), 0);
    expect_nobody_lost();
  }
  void a_third_joins() {
    const Rank third = cluster_->add("c");
    ASSERT_EQ(cluster_->start(third), "");
    EXPECT_TRUE(eventually([&] { return instance(0, third) != 0 && instance(1, third) != 0; }, seconds(15)));
    const auto sent = send_one(0, third);
    EXPECT_TRUE(sent) << to_string(sent.error()) << "\n" << cluster_->log(0);
  }
  void TearDown() override {
    forth_.reset();
    back_.reset();
    EtcdWorld::TearDown();
  }
  std::optional<Traffic> forth_;
  std::optional<Traffic> back_;
};

TEST_F(EtcdFaults, AwayFor20SecondsAndBackWhileTrafficRuns) {
  NEEDS_ETCD();
  begin(1);
  etcd_->kill(0);
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(seconds(1));
    moves();
    EXPECT_EQ(members(0).size(), 2u);
  }
  etcd_->start(0);
  a_third_joins();
  end();
}

TEST_F(EtcdFaults, SmokeALeaseThatIsRevokedByHandIsMadeAgain) {
  NEEDS_ETCD();
  begin(1);
  const std::uint64_t instance_before = instance(0, 1);
  for (int i = 0; i < 5; ++i) {
    const std::int64_t lease = etcd_->lease_of(1);
    ASSERT_NE(lease, 0);
    etcd_->revoke(lease);
    EXPECT_TRUE(eventually([&] {
      const std::int64_t now = etcd_->lease_of(1);
      return now != 0 && now != lease;
    }));
  }
  EXPECT_TRUE(eventually([&] { return instance(0, 1) == instance_before; }));
  end();
}

TEST_F(EtcdFaults, CompactedHistoryIsNotMissed) {
  NEEDS_ETCD();
  begin(1);
  for (int i = 0; i < 3; ++i) {
    etcd_->compact();
    etcd_->kill(0);
    etcd_->start(0);
    etcd_->compact();
  }
  a_third_joins();
  end();
}

TEST_F(EtcdFaults, AClusterOfThreeWhoseLeaderIsKilledKeepsWorking) {
  NEEDS_ETCD();
  begin(3);
  const std::size_t leader = etcd_->leader();
  ASSERT_LT(leader, etcd_->size());
  etcd_->kill(leader);
  a_third_joins();
  std::this_thread::sleep_for(seconds(5));  // longer than the leases
  EXPECT_EQ(members(0).size(), 3u);
  moves();
  etcd_->start(leader);
  EXPECT_EQ(members(1).size(), 3u);
  end();
}

}  // namespace
}  // namespace sidecar::e2e
