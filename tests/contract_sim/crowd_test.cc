// Many peers to connect to at once: a few at a time, the others in line.
#include "core/limits.h"
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

class Crowd : public Faults {
 protected:
  // Ranks from 3 on, each on a node of its own.
  std::vector<std::vector<Rank>> add_many(Rank count) {
    std::vector<std::vector<Rank>> all;
    for (Rank rank = 3; rank < 3 + count; ++rank) {
      add(rank, "node" + std::to_string(rank));
      all.push_back({rank});
    }
    return all;
  }
  std::size_t peers_that_are(const std::string& state) {
    std::size_t count = 0;
    for (const PeerInfo& peer : sidecar(0).engine().peers()) count += peer.state == state ? 1 : 0;
    return count;
  }
};

TEST_F(Crowd, ItsMembersAreConnectedToAFewAtATime) {
  const auto all = add_many(40);
  const RequestId request = start("x", 5'000, all);
  std::size_t connecting = 0;
  std::size_t in_line = 0;
  EXPECT_TRUE(world_.run_until([&] {
    connecting = std::max(connecting, peers_that_are("connecting"));
    in_line = std::max(in_line, peers_that_are("in line"));
    return producer_->over(request);
  }));
  EXPECT_THAT(wait(*producer_, request), IsOk());
  EXPECT_EQ(connecting, kConnectingMax);
  EXPECT_EQ(in_line, 40 - kConnectingMax);
  EXPECT_EQ(peers_that_are("connected"), 40u);
  for (const auto& to : all) EXPECT_THAT(recv(client(to.front()), "x"), IsOk());
}

TEST_F(Crowd, TheTimeInLineIsNotHeldAgainstAnybody) {
  const auto silent = add_many(4 * kConnectingMax);
  world_.conditions().resolve_timeout = 20 * kSecond;  // so that the line takes longer than the peer time-out
  for (const auto& to : silent) world_.stop(sidecar(to.front()));
  const RequestId lost = start("x", 5'000, silent);
  const RequestId last = start("y", 5'000, each({1}));
  EXPECT_THAT(wait(*producer_, last, 300 * kSecond), IsOk()) << "it was there all the time";
  EXPECT_THAT(wait(*producer_, lost, 300 * kSecond), IsError(Errc::kPeerLost)) << "and they never were";
}

TEST_F(Crowd, OneThatNobodyNeedsAnyMoreLeavesTheLine) {
  auto silent = add_many(2 * kConnectingMax);
  for (const auto& to : silent) world_.stop(sidecar(to.front()));
  const RequestId request = start("x", 5'000, silent);
  EXPECT_TRUE(world_.run_until([&] { return peers_that_are("in line") == kConnectingMax; }));
  producer_->cancel(request);
  EXPECT_THAT(wait(*producer_, request), IsError(Errc::kCancelled));
  world_.run_for(2 * kSecond);
  EXPECT_EQ(peers_that_are("in line"), 0u);
}

TEST_F(Crowd, AllSendToAllAtOnce) {
  const auto all = add_many(24);
  std::map<Rank, SimClient*> clients;
  for (const auto& to : all) clients[to.front()] = &client(to.front());
  std::map<Rank, RequestId> sends;
  for (const auto& [rank, sender] : clients) {
    std::vector<std::vector<Rank>> others = all;
    std::erase(others, std::vector<Rank>{rank});
    sends[rank] = sender->send({.id = "from " + std::to_string(rank), .bytes = 5'000, .to = others});
  }
  for (const auto& [rank, request] : sends) {
    const std::string id = "from " + std::to_string(rank);
    EXPECT_THAT(wait(*clients[rank], request), IsOk());
    for (const auto& [other, receiver] : clients) {
      if (other == rank) continue;
      EXPECT_THAT(recv(*receiver, id), IsOk());
      EXPECT_THAT(done(*receiver, id), IsOk());
    }
  }
}

}  // namespace
}  // namespace sidecar::sim
