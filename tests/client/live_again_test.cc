// A client whose sidecar was lost finds it again by itself.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

class LiveAgain : public ::testing::TestWithParam<Progress> {
 protected:
  ClientOptions options() const {
    ClientOptions options;
    options.progress = GetParam();
    options.deadline = seconds(30);
    return options;
  }
  void send(const std::string& id, std::size_t size = 300'000) {
    Client producer = cluster_.client(0);
    const auto bytes = contents(id, 0, size);
    const auto sent = producer.send(tensor_of(bytes), id, {{1}});
    ASSERT_TRUE(sent) << to_string(sent.error());
  }
  // Until the client has noticed that its sidecar is not there.
  static void lost(Client& client, Future<View>& waiting) {
    const auto view = waiting.get();
    ASSERT_EQ(view.code(), Errc::kPeerLost);
    EXPECT_EQ(view.error().rank, 1);
    EXPECT_FALSE(client.connected());
  }
  // On two nodes, so that what rank 1's clients look at lies in its own arena.
  Cluster cluster_{{.nodes = {"a", "b"}, .arena = "64M", .flags = {"--peer-timeout", "20s"}}};
};
INSTANTIATE_TEST_SUITE_P(Modes, LiveAgain, ::testing::Values(Progress::kThread, Progress::kCaller),
                         [](const auto& mode) {
                           return mode.param == Progress::kThread ? "Thread" : "Caller";
                         });

TEST_P(LiveAgain, ARestartedSidecarIsFoundAndWhatIsOfBeforeIsOfBefore) {
  Client client = cluster_.client(1, options());
  send("held");
  const auto view = client.recv("held");
  ASSERT_TRUE(view);
  auto old = client.allocate({5000}, Dtype::kU8);
  ASSERT_TRUE(old && old->in_arena());
  fill({old->data(), 5000}, "old", 0);
  auto waiting = client.recv_async("never", 0, kForever);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  cluster_.kill(1);
  lost(client, waiting);
  EXPECT_EQ(client.recv("x", 0, seconds(0)).code(), Errc::kUnavailable) << "the answer as things are now";
  auto after = client.recv_async("after");
  EXPECT_FALSE(after.wait(milliseconds(100)));
  cluster_.restart(1);
  send("after");
  const auto got = after.get();
  ASSERT_TRUE(got) << to_string(got.error());
  EXPECT_TRUE(matches(got->bytes(), "after", 0));
  EXPECT_TRUE(client.connected());
  EXPECT_TRUE(client.shares_memory());
  EXPECT_EQ(cluster_.counter(1, "clients"), 1u);
  EXPECT_TRUE(matches(view->bytes(), "held", 0)) << "views of before stay readable";
  EXPECT_TRUE(matches({old->data(), 5000}, "old", 0));
  EXPECT_EQ(client.send(std::move(*old), "old", {{0}}).code(), Errc::kPeerLost);
  auto fresh = client.allocate({5000}, Dtype::kU8);
  ASSERT_TRUE(fresh) << to_string(fresh.error());
  fill({fresh->data(), 5000}, "fresh", 0);
  EXPECT_TRUE(client.send(std::move(*fresh), "fresh", {{0}}));
  EXPECT_TRUE(client.mark_done("after"));
  EXPECT_TRUE(cluster_.client(0).mark_done("fresh"));
}

TEST_P(LiveAgain, AlsoOverTheNetworkAndAfterAnOrderlyEnd) {
  ClientOptions by_value = options();
  by_value.map_arenas = false;
  Client client = cluster_.client(1, by_value);
  for (int round = 0; round < 2; ++round) {
    const std::string id = "x" + std::to_string(round);
    auto waiting = client.recv_async("never", 0, kForever);
    EXPECT_FALSE(waiting.wait(milliseconds(50)));
    cluster_.process(1).signal(SIGTERM);
    EXPECT_EQ(cluster_.process(1).wait(seconds(20)), (perf::Ending{.code = 0}));
    lost(client, waiting);
    cluster_.restart(1);
    send(id);
    EXPECT_TRUE(matches(client.recv(id).value().bytes(), id, 0));
    EXPECT_TRUE(client.mark_done(id));
  }
}

// And back, when it has shared memory again.
TEST_P(LiveAgain, ASidecarThatComesBackWithoutSharedMemoryIsFoundOverTheNetwork) {
  Client client = cluster_.client(1, options());
  EXPECT_TRUE(client.shares_memory());
  for (const bool shared : {false, true}) {
    const std::string id = shared ? "shared" : "network";
    auto waiting = client.recv_async("never", 0, kForever);
    EXPECT_FALSE(waiting.wait(milliseconds(50)));
    cluster_.kill(1);
    lost(client, waiting);
    const std::vector<std::string> private_arena{"--arena", "host"};
    ASSERT_EQ(cluster_.start(1, shared ? std::vector<std::string>{} : private_arena), "");
    send(id);
    const auto got = client.recv(id);
    ASSERT_TRUE(got) << to_string(got.error());
    EXPECT_TRUE(matches(got->bytes(), id, 0));
    EXPECT_EQ(client.shares_memory(), shared);
    EXPECT_TRUE(client.mark_done(id));
  }
}

TEST_P(LiveAgain, CallsMadeMeanwhileEndByTheirDeadlinesByCancelAndByClose) {
  Client client = cluster_.client(1, options());
  auto waiting = client.recv_async("never", 0, kForever);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  cluster_.kill(1);
  lost(client, waiting);
  const auto start = std::chrono::steady_clock::now();
  const auto late = client.recv("x", 0, milliseconds(300));
  EXPECT_EQ(late.code(), Errc::kTimeout);
  EXPECT_EQ(late.error().rank, 1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(3));
  auto cancelled = client.recv_async("x", 0, kForever);
  EXPECT_FALSE(cancelled.wait(milliseconds(20)));
  cancelled.cancel();
  EXPECT_EQ(cancelled.get().code(), Errc::kCancelled);
  const auto bytes = contents("y", 0, 100'000);
  SendHandle sending = client.send_async(tensor_of(bytes), "y", {{0}});
  auto closed = client.recv_async("x", 0, kForever);
  EXPECT_FALSE(closed.wait(milliseconds(20)));
  client.close();
  EXPECT_EQ(closed.get().code(), Errc::kCancelled);
  EXPECT_EQ(sending.captured.get().code(), Errc::kCancelled);
  EXPECT_EQ(sending.delivered.get().code(), Errc::kCancelled);
}

TEST_P(LiveAgain, SendsMadeMeanwhileAreSentAndCallbacksMayMakeThem) {
  Client client = cluster_.client(1, options());
  const auto bytes = contents("x", 0, 3'000'000);
  std::atomic<bool> called{false};
  SendHandle sending;
  auto waiting = client.recv_async("never", 0, kForever);
  EXPECT_FALSE(waiting.wait(milliseconds(50)));
  waiting.then([&](Expected<View> view) {
    EXPECT_EQ(view.code(), Errc::kPeerLost);
    sending = client.send_async(tensor_of(bytes), "x", {{0}});
    called = true;
  });
  cluster_.kill(1);
  EXPECT_TRUE(eventually([&] {
    client.poll();
    return called.load();
  }));
  cluster_.restart(1);
  EXPECT_TRUE(sending.captured.get());
  const auto sent = sending.delivered.get();
  EXPECT_TRUE(sent) << to_string(sent.error());
  Client consumer = cluster_.client(0);
  EXPECT_TRUE(matches(consumer.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(consumer.mark_done("x"));
}

TEST_P(LiveAgain, ASidecarThatIsRestartedAgainAndAgainUnderTrafficIsFoundEachTime) {
  std::atomic<bool> stop{false};
  std::atomic<int> received{0};
  std::thread user([&] {
    Client client = cluster_.client(1, options());
    for (int i = 0; !stop; ++i) {
      const std::string id = "t" + std::to_string(i);
      const auto bytes = contents(id, 0, 200'000);
      auto buffer = client.allocate({5000}, Dtype::kU8, seconds(5));
      if (buffer) *buffer = Buffer();
      auto out = client.send_async(tensor_of(bytes), id, {{0}}, 0, 1, {.deadline = seconds(5)});
      auto in = client.recv_async("steady", 0, seconds(5));
      const auto got = in.get();
      if (got && matches(got->bytes(), "steady", 0)) ++received;
      static_cast<void>(out.delivered.get());
      static_cast<void>(client.mark_done(id + "?"));
    }
    const auto last = client.recv("last", 0, seconds(20));
    EXPECT_TRUE(last && matches(last->bytes(), "last", 0)) << to_string(last.error());
  });
  for (int round = 0; round < 3; ++round) {
    send("steady");
    const int before = received;
    EXPECT_TRUE(eventually([&] { return received > before + 3; }, seconds(30))) << round;
    cluster_.restart(1);
  }
  send("last");
  stop = true;
  user.join();
  Client janitor = cluster_.client(0);
  for (const auto& row : chunk_rows(cluster_, 0)) {
    if (row.state() != "ready") continue;
    EXPECT_TRUE(janitor.mark_done(row.data_id(), row.chunk()));
  }
  EXPECT_TRUE(cluster_.client(1).mark_done("last"));
}

}  // namespace
}  // namespace sidecar::e2e
