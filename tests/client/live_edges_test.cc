// The client library at its edges, against real sidecars: a control plane that is slow, threads that race
// with close(), callbacks that end other calls.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "client/registration.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

class LiveEdges : public ::testing::Test {
 protected:
  Cluster cluster_{{.nodes = {"a", "a"}, .shm_size = "32M"}};
};

TEST_F(LiveEdges, ASidecarThatIsSlowToAnswerIsWaitedFor) {
  cluster_.signal(0, SIGSTOP);
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(700));
    cluster_.signal(0, SIGCONT);
  });
  const auto status = client_internal::ask_status(cluster_.address(0), seconds(10));
  later.join();
  EXPECT_TRUE(status) << to_string(status.error());
}

TEST_F(LiveEdges, ThreadsMayCallWhileAnotherCloses) {
  for (int round = 0; round < 20; ++round) {
    Client client = cluster_.client(1);
    std::atomic<bool> other_ending = false;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        Errc code = Errc::kTimeout;
        while (code == Errc::kTimeout) code = client.recv("never", 0, seconds(0)).code();
        if (code != Errc::kUnavailable && code != Errc::kCancelled) other_ending = true;
      });
    }
    std::this_thread::sleep_for(milliseconds(round));
    client.close();
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(other_ending);
    EXPECT_FALSE(client.connected());
  }
}

class LiveCallbacks : public ::testing::TestWithParam<Progress> {
 protected:
  Client client() const {
    ClientOptions options;
    options.progress = GetParam();
    options.polling = Polling::kEvent;
    return cluster_.client(1, options);
  }
  Cluster cluster_{{.nodes = {"a", "a"}, .shm_size = "32M"}};
};
INSTANTIATE_TEST_SUITE_P(Modes, LiveCallbacks, ::testing::Values(Progress::kThread, Progress::kCaller),
                         [](const auto& mode) {
                           return mode.param == Progress::kThread ? "Thread" : "Caller";
                         });

TEST_P(LiveCallbacks, ACallbackOfCloseMayCloseAgain) {
  std::atomic<int> ended = 0;
  Client client = this->client();
  for (ChunkIndex i = 0; i < 3; ++i) {
    client.recv_async("never", i, seconds(60)).then([&](const Expected<View>& view) {
      EXPECT_EQ(view.code(), Errc::kCancelled);
      client.close();
      ++ended;
    });
  }
  client.close();
  for (int i = 0; i < 1000 && ended < 3; ++i) std::this_thread::sleep_for(milliseconds(5));
  EXPECT_EQ(ended, 3);
}

}  // namespace
}  // namespace sidecar::e2e
