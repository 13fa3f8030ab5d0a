// The client library at its edges, against real sidecars: a control plane that is slow, threads that race
// with close(), callbacks that end other calls.
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace sidecar::e2e
