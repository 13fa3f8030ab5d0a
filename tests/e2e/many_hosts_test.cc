// Sidecars on hosts of their own: over real interfaces, bad links, links that are cut and healed, and hosts
// that go.
#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "tests/e2e/cluster.h"
#include "tests/e2e/hosts.h"

namespace sidecar::e2e {
namespace {

class ManyHosts : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Hosts::unable(); !why.empty()) GTEST_SKIP() << why;
  }
  // One sidecar and one executor on each.
  void start(int count, std::vector<std::string> flags = {}, int interface = 0) {
    hosts_.emplace(count);
    ClusterOptions options{.arena = "32M", .flags = std::move(flags)};
    options.flags.emplace_back("--insecure");
    for (int host = 0; host < count; ++host) {
      options.nodes.push_back("host" + std::to_string(host));
      options.places.push_back(hosts_->place(host, interface));
    }
    cluster_.emplace(std::move(options));
    executors_.resize(static_cast<std::size_t>(count));
    for (Rank rank = 0; rank < count; ++rank) renew(rank);
  }
  void renew(Rank rank) {
    executors_[static_cast<std::size_t>(rank)].reset();
    executors_[static_cast<std::size_t>(rank)] = std::make_unique<Executor>(*cluster_, rank);
  }
  Executor& executor(Rank rank) { return *executors_.at(static_cast<std::size_t>(rank)); }

  static std::string send_line(const std::string& id, const std::vector<Rank>& to, std::size_t bytes) {
    std::string groups;
    for (const Rank rank : to) groups += (groups.empty() ? "" : "/") + std::to_string(rank);
    return "send " + id + " " + groups + " 0 1 " + std::to_string(bytes) + " private";
  }
  void expect_there(Rank rank, const std::string& id, std::size_t bytes) {
    const std::string got = executor(rank).ask("recv " + id + " 0 60000", seconds(70));
    EXPECT_EQ(got.rfind("ok " + std::to_string(bytes) + " good", 0), 0u) << rank << ", " << id << ": " << got;
    EXPECT_EQ(executor(rank).ask("done " + id + " 0"), "ok");
  }
  // Each of them to each other.
  void expect_all_works(const std::vector<Rank>& ranks, const std::string& id, std::size_t bytes = 300'000) {
    for (const Rank from : ranks) {
      std::vector<Rank> to = ranks;
      std::erase(to, from);
      const std::string name = id + "-" + std::to_string(from);
      EXPECT_EQ(executor(from).ask(send_line(name, to, bytes), seconds(90)), "ok") << name;
      for (const Rank rank : to) expect_there(rank, name, bytes);
    }
  }

  std::optional<Hosts> hosts_;
  std::optional<Cluster> cluster_;
  std::vector<std::unique_ptr<Executor>> executors_;
};

class Interfaces : public ManyHosts, public testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Over, Interfaces, testing::Values(0, 1), testing::PrintToStringParamName());

TEST_P(Interfaces, DataGoFromHostToHost) {
  start(3, {}, GetParam());
  expect_all_works({0, 1, 2}, "small", 100);
  expect_all_works({0, 1, 2}, "large", 5'000'000);
  EXPECT_EQ(cluster_->peer(0, 1).path, "network");
}

TEST_F(ManyHosts, LossAndANarrowLinkMakeItSlowAndNothingElse) {
  start(2);
  for (int host = 0; host < 2; ++host) {
    hosts_->lose(host, 1);
    hosts_->limit(host, 200);
  }
  for (int round = 0; round < 5; ++round) {
    expect_all_works({0, 1}, "small" + std::to_string(round), 5'000);
    expect_all_works({0, 1}, "large" + std::to_string(round), 4'000'000);
  }
}

class Cut : public ManyHosts, public testing::WithParamInterface<Hosts::Way> {};
std::string way_name(const testing::TestParamInfo<Hosts::Way>& way) {
  return way.param == Hosts::Way::kIn ? "In" : way.param == Hosts::Way::kOut ? "Out" : "Both";
}
INSTANTIATE_TEST_SUITE_P(Over, Cut, testing::Values(Hosts::Way::kBoth, Hosts::Way::kIn, Hosts::Way::kOut),
                         way_name);

TEST_P(Cut, ALinkThatIsCutForHalfAMinuteAndHealedLosesNothing) {
  start(3, {"--peer-timeout", "120s"});
  expect_all_works({0, 1, 2}, "before");
  // What is on its way at that moment, in both directions.
  Executor others[] = {Executor(*cluster_, 0), Executor(*cluster_, 1)};
  for (const Rank from : {0, 1})
    others[from].tell(send_line("under-way" + std::to_string(from), {1 - from}, 10'000'000));
  hosts_->cut(1, GetParam());
  expect_all_works({0, 2}, "meanwhile");
  std::this_thread::sleep_for(seconds(30));
  hosts_->heal(1);
  for (const Rank from : {0, 1}) {
    EXPECT_EQ(others[from].answer(seconds(90)), "ok");
    expect_there(1 - from, "under-way" + std::to_string(from), 10'000'000);
  }
  expect_all_works({0, 1, 2}, "after");
}

TEST_F(ManyHosts, ALinkThatIsCutForLongerThanThePeerTimeoutIsALossAndWorksAgainOnceHealed) {
  start(3, {"--peer-timeout", "3s"});
  expect_all_works({0, 1, 2}, "before");
  hosts_->cut(1, Hosts::Way::kBoth);
  executor(1).tell(send_line("void", {0, 2}, 100'000));
  const std::string lost = executor(0).ask(send_line("void2", {1}, 100'000), seconds(60));
  EXPECT_NE(lost.find("PeerLost"), std::string::npos) << lost;
  EXPECT_NE(lost.find("rank 1"), std::string::npos) << lost;
  EXPECT_NE(executor(1).answer(seconds(60)).find("PeerLost"), std::string::npos);
  hosts_->heal(1);
  expect_all_works({0, 1, 2}, "after");
}

TEST_F(ManyHosts, AHostThatIsGoneForGoodEndsWhatDependsOnIt) {
  start(3, {"--peer-timeout", "3s"});
  expect_all_works({0, 1, 2}, "before");
  EXPECT_EQ(executor(2).ask("send half 1 0 2 100000 private"), "ok");
  executor(0).tell(send_line("to-the-dead", {1, 2}, 10'000'000));
  hosts_->cut(2, Hosts::Way::kBoth);
  cluster_->kill(2);
  executors_[2].reset();
  const std::string lost = executor(0).answer(seconds(60));
  EXPECT_NE(lost.find("rank 2"), std::string::npos) << lost;
  EXPECT_NE(executor(1).ask("recv half 1 30000", seconds(40)).find("PeerLost"), std::string::npos);
  EXPECT_EQ(executor(1).ask("recv half 0 1000").rfind("ok 100000 good", 0), 0u) << "what came stays";
  EXPECT_EQ(executor(1).ask("done half 0"), "ok");
  expect_there(1, "to-the-dead", 10'000'000);
  expect_all_works({0, 1}, "after");
}

TEST_F(ManyHosts, ASidecarThatStandsStillForTwentySecondsGoesOn) {
  start(2, {"--peer-timeout", "60s"});
  expect_all_works({0, 1}, "before");
  cluster_->process(1).signal(SIGSTOP);
  executor(0).tell(send_line("still", {1}, 10'000'000));
  executor(1).tell("recv still 0 60000");
  std::this_thread::sleep_for(seconds(20));
  cluster_->process(1).signal(SIGCONT);
  EXPECT_EQ(executor(0).answer(seconds(60)), "ok");
  EXPECT_EQ(executor(1).answer(seconds(60)).rfind("ok 10000000 good", 0), 0u);
  EXPECT_EQ(executor(1).ask("done still 0"), "ok");
  expect_all_works({0, 1}, "after");
}

TEST_F(ManyHosts, EightSidecarsAreRestartedOneAfterTheOtherAndOnlyWhatWasOnThemIsLost) {
  constexpr Rank kCount = 8;
  constexpr std::size_t kBytes = 200'000;
  start(kCount, {"--peer-timeout", "20s"});
  for (Rank restarted = 0; restarted < kCount; ++restarted) {
    std::vector<Rank> others;
    for (Rank rank = 0; rank < kCount; ++rank) {
      if (rank != restarted) others.push_back(rank);
    }
    const auto id_of = [&](const std::string& wave, Rank from) {
      return wave + std::to_string(restarted) + "-" + std::to_string(from);
    };
    // All to all, the one that goes included.
    const auto begin = [&](const std::string& wave) {
      for (const Rank from : others) {
        std::vector<Rank> to = others;
        std::erase(to, from);
        to.push_back(restarted);
        executor(from).tell(send_line(id_of(wave, from), to, kBytes));
      }
    };
    const auto finish = [&](const std::string& wave) {
      for (const Rank from : others) {
        const std::string answer = executor(from).answer(seconds(90));
        const bool blames_it = answer.find("rank " + std::to_string(restarted)) != std::string::npos;
        EXPECT_TRUE(answer == "ok" || blames_it) << id_of(wave, from) << ": " << answer;
      }
      for (const Rank from : others) {
        for (const Rank rank : others) {
          if (rank != from) expect_there(rank, id_of(wave, from), kBytes);
        }
      }
    };
    executors_[static_cast<std::size_t>(restarted)].reset();
    begin("leaving");
    cluster_->process(restarted).signal(SIGTERM);
    EXPECT_EQ(cluster_->process(restarted).wait(seconds(30)), (perf::Ending{.code = 0}))
        << cluster_->log(restarted);
    finish("leaving");
    begin("away");
    EXPECT_EQ(cluster_->start(restarted), "");
    finish("away");
    renew(restarted);
    expect_all_works({restarted, (restarted + 1) % kCount, (restarted + 5) % kCount},
                     "back" + std::to_string(restarted));
    // What reached it for an executor that is no more.
    for (const Rank from : others) {
      EXPECT_EQ(executor(restarted).ask("done " + id_of("away", from) + " 0"), "ok");
      EXPECT_EQ(executor(restarted).ask("done " + id_of("leaving", from) + " 0"), "ok");
    }
  }
}

}  // namespace
}  // namespace sidecar::e2e
