// A process that was killed, or stopped, in the middle of a write to another one's queue in shared memory
// leaves a place there that UCX never reads beyond. The local plane is replaced then, and nothing else ends.
#include <dirent.h>

#include <csignal>

#include "tests/am_protocol/peer_process.h"
#include "tests/am_protocol/transport_fixture.h"
#include "tests/support/fifo_hole.h"

namespace sidecar::testing {
namespace {

constexpr std::size_t kMiB = 1u << 20;
constexpr TimeNs kNoticed = 20 * kSecond;  // little more than a second on an idle machine

class TransportStuck : public ::testing::Test {
 protected:
  static ConnectOptions to(std::string_view address) { return {true, true, Name(address)}; }
  static std::string address_of(const Side& side) {
    return std::string(side.transport->local_address().view());
  }
  static std::uint64_t replaced(const Side& side) { return side.transport->counters().planes_replaced; }
  // Ours: both sides of a connection within this process get one.
  static void make_holes() { ASSERT_GT(make_holes_in_queues_of(getpid()), 0); }
  TestLoop loop_;
  std::vector<std::byte> data_ = pattern(kMiB, 3);
};

TEST_F(TransportStuck, WhoConnectsAgainFindsTheListenerAtTheSameAddress) {
  PeerProcess peer({"local", "listen", "receive"});
  const std::string address = peer.line();
  Side client(client_options(true), *loop_);
  for (std::size_t round = 0; round < 3; ++round) {
    const LinkId link = client.connect(to(address), hello_of(1 + round));
    ASSERT_TRUE(loop_.run_until([&] { return client.ups.size() == round + 1; }));
    client.send(link, chunk_of(kMiB, 1), data_, true);
    ASSERT_TRUE(loop_.run_until([&] { return client.all_completed(); }));
    EXPECT_TRUE(client.sent.rbegin()->second) << to_string(client.sent.rbegin()->second.error());
    if (round == 2) break;
    ASSERT_GT(make_holes_in_queues_of(peer.pid()), 0);
    client.send(link, chunk_of(kMiB, 2), data_, true);
    ASSERT_TRUE(loop_.run_until([&] { return client.downs.size() == round + 1; }, kNoticed));
    ASSERT_TRUE(loop_.run_until([&] { return client.all_completed(); }));
    EXPECT_FALSE(client.sent.rbegin()->second) << "it was behind the hole";
  }
}

TEST_F(TransportStuck, BothSidesHearOfItAndTheLoopSleepsAgain) {
  Side server(server_options(true), *loop_);
  Side client(client_options(true), *loop_);
  const std::string address = address_of(server);
  client.connect(to(address), hello_of(1));
  ASSERT_TRUE(loop_.run_until([&] { return !client.ups.empty(); }));
  make_holes();
  ASSERT_TRUE(loop_.run_until([&] { return !server.downs.empty() && !client.downs.empty(); }, kNoticed));
  ASSERT_TRUE(loop_.run_until([&] { return replaced(server) == 1 && replaced(client) == 1; }, kNoticed));
  const auto noticed = [](const Side& side) { return side.downs[0].second.code == Errc::kPeerLost; };
  EXPECT_TRUE(noticed(server) || noticed(client))
      << "whoever did not notice first hears that the connection broke";
  EXPECT_EQ(address_of(server), address);
  loop_.run_until_idle();

  client.connect(to(address), hello_of(2));
  ASSERT_TRUE(loop_.run_until([&] { return client.ups.size() == 2; }));
  EXPECT_TRUE(loop_.run_until([&] { return loop_->backend_timeout_ms() != 0; }));
  EXPECT_EQ(client.downs.size(), 1u);
}

TEST_F(TransportStuck, WhatWasHeldIsReceivedOrEndsWithAnError) {
  Side server(server_options(true), *loop_);
  PeerProcess peer({"local", "connect", address_of(server), "100", std::to_string(kMiB)});
  ASSERT_TRUE(loop_.run_until([&] { return server.inbox.size() == 100; }));
  make_holes();
  ASSERT_TRUE(loop_.run_until([&] { return !server.downs.empty(); }, kNoticed));
  std::vector<std::byte> into(kMiB);
  for (std::size_t i = 0; i < 100; ++i) {
    if (i % 2 == 0) {
      server.receive(server.inbox[i].incoming, into);
    } else {
      server.discard(server.inbox[i].incoming);
    }
  }
  EXPECT_TRUE(loop_.run_until([&] { return server.all_completed(); }, kSecond));
  EXPECT_EQ(server.received.size(), 50u);

  PeerProcess next({"local", "connect", address_of(server), "1", std::to_string(kMiB)});
  ASSERT_TRUE(loop_.run_until([&] { return server.inbox.size() == 101; }));
  server.receive(server.inbox[100].incoming, into);
  ASSERT_TRUE(loop_.run_until([&] { return server.all_completed(); }));
  EXPECT_TRUE(server.received.rbegin()->second);
}

TEST_F(TransportStuck, DestructionWhileTheOldPlaneIsNotDoneYet) {
  for (int round = 0; round < 3; ++round) {
    Side server(server_options(true), *loop_);
    PeerProcess peer({"local", "connect", address_of(server), "20", std::to_string(kMiB)});
    ASSERT_TRUE(loop_.run_until([&] { return server.inbox.size() == 20; }));
    if (round == 1) peer.signal(SIGSTOP);
    make_holes();
    ASSERT_TRUE(loop_.run_until([&] { return replaced(server) == 1; }, kNoticed));
  }
}

TEST_F(TransportStuck, ManyTimesLeaveNoDescriptors) {
  const auto open_descriptors = [] {
    std::size_t count = 0;
    DIR* const directory = opendir("/proc/self/fd");
    while (readdir(directory) != nullptr) ++count;
    closedir(directory);
    return count;
  };
  Side server(server_options(true), *loop_);
  Side client(client_options(true), *loop_);
  std::size_t before = 0;
  for (std::size_t round = 1; round <= 4; ++round) {
    client.connect(to(address_of(server)), hello_of(round));
    ASSERT_TRUE(loop_.run_until([&] { return client.ups.size() == round; }));
    make_holes();
    ASSERT_TRUE(
        loop_.run_until([&] { return replaced(server) == round && replaced(client) == round; }, kNoticed));
    if (round == 1) loop_.run_until([] { return false; }, 100 * kMillisecond);
    if (round == 1) before = open_descriptors();
  }
  EXPECT_TRUE(loop_.run_until([&] { return open_descriptors() <= before; }, 2 * kSecond))
      << before << " became " << open_descriptors();
}

// Its queue fills up, and we cannot sleep either: that must not be taken for our own queue's hole.
TEST_F(TransportStuck, AStoppedProcessWithAFullQueueStopsNobodyElse) {
  PeerProcess stopped({"local", "listen", "receive"});
  PeerProcess other({"local", "listen", "receive"});
  Side client(client_options(true), *loop_);
  const LinkId to_stopped = client.connect(to(stopped.line()), hello_of(1));
  const LinkId to_other = client.connect(to(other.line()), hello_of(2));
  ASSERT_TRUE(loop_.run_until([&] { return client.ups.size() == 2; }));
  stopped.signal(SIGSTOP);
  for (std::uint64_t i = 1; i <= 2000; ++i) client.send(to_stopped, Ping{i, false});
  loop_.run_until([] { return false; }, 4 * kSecond);
  EXPECT_FALSE(client.all_completed()) << "the queue was to be full";
  EXPECT_EQ(replaced(client), 0u);
  EXPECT_TRUE(client.downs.empty());
  const Token token = client.send(to_other, chunk_of(kMiB, 1), data_, true);
  EXPECT_TRUE(loop_.run_until([&] { return client.sent.contains(token); }));
  stopped.signal(SIGCONT);
  EXPECT_TRUE(loop_.run_until([&] { return client.all_completed(); }));
}

}  // namespace
}  // namespace sidecar::testing
