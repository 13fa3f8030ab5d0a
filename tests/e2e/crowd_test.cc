// Many small sidecars on one host that begin at the same time.
#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

// Eight nodes of eight: each sends by shared memory to 7 and over the network to 56.
TEST(Crowd, SixtyFourSidecarsJoinAtOnceAndEachSendsToEveryOther) {
  constexpr Rank kCount = 64;
  constexpr std::size_t kBytes = 5'000;
  ClusterOptions options{.arena = "4M"};
  for (Rank rank = 0; rank < kCount; ++rank) options.nodes.push_back("node" + std::to_string(rank / 8));
  Cluster cluster(std::move(options));
  std::vector<Client> clients;
  for (Rank rank = 0; rank < kCount; ++rank) {
    clients.push_back(cluster.client(rank, {.node = "node" + std::to_string(rank / 8)}));
    EXPECT_EQ(cluster.counter(rank, "peers_connected"), 0u) << "connections are made when they are needed";
  }
  std::vector<std::vector<std::byte>> data;
  std::vector<SendHandle> sends;
  for (Rank from = 0; from < kCount; ++from) {
    const std::string id = "from " + std::to_string(from);
    data.push_back(contents(id, 0, kBytes));
    Groups to;
    for (Rank rank = 0; rank < kCount; ++rank) {
      if (rank != from) to.push_back({rank});
    }
    const Tensor tensor{data.back().data(), Dtype::kU8, {kBytes}};
    sends.push_back(
        clients[static_cast<std::size_t>(from)].send_async(tensor, id, to, 0, 1, {.deadline = seconds(120)}));
  }
  for (SendHandle& send : sends) {
    const auto sent = send.delivered.get();
    EXPECT_TRUE(sent) << to_string(sent.error());
  }
  for (Rank rank = 0; rank < kCount; ++rank) {
    Client& client = clients[static_cast<std::size_t>(rank)];
    for (Rank from = 0; from < kCount; ++from) {
      if (from == rank) continue;
      const std::string id = "from " + std::to_string(from);
      const auto view = client.recv(id, 0, seconds(60));
      ASSERT_TRUE(view) << rank << ": " << to_string(view.error());
      EXPECT_TRUE(matches(view->bytes(), id, 0));
      EXPECT_TRUE(client.mark_done(id));
    }
  }
}

}  // namespace
}  // namespace sidecar::e2e
