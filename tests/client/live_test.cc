// What is the client library's own, against real sidecars: progress modes, lifetimes, bytes by value, a
// sidecar that hangs.
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

ClusterOptions one_node() { return {.nodes = {"a", "a"}, .arena = "64M"}; }

class LiveClient : public ::testing::TestWithParam<Progress> {
 protected:
  ClientOptions options() const {
    ClientOptions options;
    options.progress = GetParam();
    options.polling = Polling::kEvent;
    options.deadline = seconds(20);
    return options;
  }
  Cluster cluster_{one_node()};
};
INSTANTIATE_TEST_SUITE_P(Modes, LiveClient, ::testing::Values(Progress::kThread, Progress::kCaller),
                         [](const auto& mode) {
                           return mode.param == Progress::kThread ? "Thread" : "Caller";
                         });

std::uint64_t clients_of(const Cluster& cluster, Rank rank) { return cluster.counter(rank, "clients"); }

bool clients_become(const Cluster& cluster, Rank rank, std::uint64_t count) {
  for (int i = 0; i < 100; ++i) {
    if (clients_of(cluster, rank) == count) return true;
    std::this_thread::sleep_for(milliseconds(50));
  }
  return false;
}

// As the kernel sees it: "r--s" is shared and read-only.
std::string protection_of(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::size_t used = 0;
    const std::uintptr_t begin = std::stoull(line, &used, 16);
    const std::uintptr_t end = std::stoull(line.substr(used + 1), nullptr, 16);
    if (begin <= wanted && wanted < end) return line.substr(line.find(' ') + 1, 4);
  }
  return "unmapped";
}

TEST_P(LiveClient, EverythingThatCanBeSentArrives) {
  Client producer = cluster_.client(0, options());
  Client consumer = cluster_.client(1, options());
  EXPECT_TRUE(producer.shares_memory());
  const auto bytes = contents("t", 0, 100'000);
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, {100'000}}, "t", {{1}}));
  ASSERT_TRUE(producer.send(Object{"small", 5, 9}, "s", {{1}}));
  ASSERT_TRUE(producer.send(Object{bytes.data(), 5000}, "o", {{1}}));
  auto buffer = producer.allocate({1000, 100}, Dtype::kU8);
  ASSERT_TRUE(buffer) << to_string(buffer.error());
  std::copy(bytes.begin(), bytes.end(), buffer->data());
  ASSERT_TRUE(producer.send(std::move(*buffer), "b", {{1}}));
  EXPECT_FALSE(buffer->valid());
  for (const char* id : {"t", "s", "o", "b"}) {
    const auto view = consumer.recv(id);
    ASSERT_TRUE(view) << id << ": " << to_string(view.error());
    if (std::strcmp(id, "s") == 0) {
      EXPECT_EQ(view->codec(), 9u);
      EXPECT_EQ(std::memcmp(view->data(), "small", 5), 0);
    } else {
      EXPECT_TRUE(view->is_shared());
      EXPECT_EQ(std::memcmp(view->data(), bytes.data(), view->size_bytes()), 0) << id;
    }
    EXPECT_TRUE(consumer.mark_done(id));
  }
}

TEST_P(LiveClient, AStridedTensorArrivesPacked) {
  Client producer = cluster_.client(0, options());
  Client consumer = cluster_.client(1, options());
  std::vector<std::int32_t> matrix(300 * 200);
  std::iota(matrix.begin(), matrix.end(), 0);
  ASSERT_TRUE(producer.send(Tensor{matrix.data(), Dtype::kI32, {200, 300}, {1, 200}}, "t", {{1}}));
  const auto view = consumer.recv("t");
  ASSERT_TRUE(view);
  EXPECT_EQ(view->shape(), (std::vector<std::uint64_t>{200, 300}));
  const auto* const got = reinterpret_cast<const std::int32_t*>(view->data());
  for (std::int32_t row = 0; row < 200; ++row) {
    for (std::int32_t column = 0; column < 300; ++column)
      ASSERT_EQ(got[row * 300 + column], column * 200 + row);
  }
  EXPECT_TRUE(consumer.mark_done("t"));
}

TEST_P(LiveClient, WithoutSharedMemoryTheBytesAreSent) {
  ClientOptions apart = options();
  apart.map_arenas = false;
  Client producer = cluster_.client(0, apart);
  Client consumer = cluster_.client(1, apart);
  EXPECT_FALSE(producer.shares_memory());
  for (const std::size_t size : {std::size_t{100}, std::size_t{60'000}, std::size_t{3'000'000}}) {
    const std::string id = std::to_string(size);
    auto buffer = producer.allocate({size}, Dtype::kU8);
    ASSERT_TRUE(buffer);
    EXPECT_FALSE(buffer->in_arena());
    fill({buffer->data(), size}, id, 0);
    ASSERT_TRUE(producer.send(std::move(*buffer), id, {{1}}));
    const auto view = consumer.recv(id);
    ASSERT_TRUE(view) << to_string(view.error());
    EXPECT_FALSE(view->is_shared());
    EXPECT_TRUE(matches(view->bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
    EXPECT_TRUE(matches(view->bytes(), id, 0));  // these bytes are the view's own
  }
}

TEST_P(LiveClient, WritableViewsCanBeWrittenAndOthersAreReadOnly) {
  ClientOptions writable = options();
  writable.writable_views = true;
  Client producer = cluster_.client(0, options());
  Client writer = cluster_.client(1, writable);
  Client reader = cluster_.client(1, options());
  const auto bytes = contents("t", 0, 100'000);
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, {100'000}}, "t", {{1}}));
  {
    const auto mine = writer.recv("t");
    const auto theirs = reader.recv("t");
    ASSERT_TRUE(mine && theirs);
    EXPECT_EQ(theirs->writable_data(), nullptr);
    ASSERT_NE(mine->writable_data(), nullptr);
    mine->writable_data()[5] = std::byte{0x5a};
    EXPECT_EQ(theirs->bytes()[5], std::byte{0x5a});  // the same memory
    EXPECT_EQ(protection_of(theirs->data()), "r--s");
  }
  EXPECT_TRUE(writer.mark_done("t"));
}

TEST_P(LiveClient, AViewOutlivesItsClientAndTakesTheConnectionWithIt) {
  Client producer = cluster_.client(0, options());
  const auto bytes = contents("t", 0, 100'000);
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, {100'000}}, "t", {{1}}));
  View kept;
  {
    Client consumer = cluster_.client(1, options());
    const auto view = consumer.recv("t");
    ASSERT_TRUE(view);
    kept = *view;
  }
  EXPECT_EQ(clients_of(cluster_, 1), 1u);
  EXPECT_TRUE(matches(kept.bytes(), "t", 0));
  kept = View();
  EXPECT_TRUE(clients_become(cluster_, 1, 0));
  Client other = cluster_.client(1, options());
  EXPECT_TRUE(other.mark_done("t"));
}

TEST_P(LiveClient, TheLastViewMayGoInsideACallback) {
  Client producer = cluster_.client(0, options());
  const auto bytes = contents("t", 0, 100'000);
  std::atomic<bool> seen = false;
  {
    Client consumer = cluster_.client(1, options());
    // The callback is all that keeps the view; the client closes while it waits or right after it ran.
    consumer.recv_async("t").then([&](Expected<View> view) {
      EXPECT_TRUE(view);
      seen = view && matches(view->bytes(), "t", 0);
    });
    ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, {100'000}}, "t", {{1}}));
    for (int i = 0; i < 500 && !seen; ++i) {
      consumer.poll(milliseconds(10));
      if (GetParam() == Progress::kThread) std::this_thread::sleep_for(milliseconds(10));
    }
  }
  EXPECT_TRUE(seen);
  EXPECT_TRUE(clients_become(cluster_, 1, 0));
  Client other = cluster_.client(1, options());
  EXPECT_TRUE(other.mark_done("t"));
}

TEST_P(LiveClient, ClosingInsideACallbackEndsTheRest) {
  Client client = cluster_.client(1, options());
  std::atomic<int> ended = 0;
  Future<View> waiting = client.recv_async("never");
  client.recv_async("soon", 0, milliseconds(100)).then([&](Expected<View> view) {
    EXPECT_EQ(view.code(), Errc::kTimeout);
    client.close();
    ++ended;
  });
  if (GetParam() == Progress::kThread) {
    EXPECT_EQ(waiting.get().code(), Errc::kCancelled);
  } else {
    for (int i = 0; i < 500 && ended == 0; ++i) client.poll(milliseconds(10));
    EXPECT_EQ(waiting.get().code(), Errc::kCancelled);
  }
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(client.recv("x").code(), Errc::kUnavailable);
  EXPECT_TRUE(clients_become(cluster_, 1, 0));
}

TEST_P(LiveClient, ClosingEndsWhatWaitsWithCancelled) {
  std::vector<Future<View>> waiting;
  {
    Client client = cluster_.client(1, options());
    for (int i = 0; i < 100; ++i) waiting.push_back(client.recv_async("never-" + std::to_string(i)));
  }
  for (Future<View>& future : waiting) EXPECT_EQ(future.get().code(), Errc::kCancelled);
}

TEST_P(LiveClient, CancelEndsAWait) {
  Client client = cluster_.client(1, options());
  Future<View> future = client.recv_async("never", 0, kForever);
  future.cancel();
  EXPECT_EQ(future.get().code(), Errc::kCancelled);
}

TEST_P(LiveClient, AKilledSidecarEndsEveryCallSoon) {
  ClientOptions once = options();
  once.reconnect = false;
  Client client = cluster_.client(1, once);
  std::vector<Future<View>> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(client.recv_async("never", 0, kForever));
  EXPECT_FALSE(waiting[0].wait(milliseconds(50)));
  cluster_.kill(1);
  const auto start = std::chrono::steady_clock::now();
  for (Future<View>& future : waiting) {
    const auto view = future.get();
    EXPECT_EQ(view.code(), Errc::kPeerLost);
    EXPECT_EQ(view.error().rank, 1);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  EXPECT_FALSE(client.connected());
  EXPECT_EQ(client.mark_done("x").code(), Errc::kPeerLost);
  cluster_.restart(1);
  Client again = cluster_.client(1, options());
  EXPECT_TRUE(again.mark_done("x"));
}

TEST_P(LiveClient, AStoppedSidecarDoesNotHangItsClient) {
  ClientOptions impatient = options();
  impatient.deadline = milliseconds(300);
  impatient.grace = milliseconds(300);
  Client client = cluster_.client(0, impatient);
  Client sender = cluster_.client(0, impatient);
  cluster_.process(0).signal(SIGSTOP);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(client.recv("x").code(), Errc::kTimeout);
  EXPECT_TRUE(client.connected());
  // One that the client would copy itself costs the call; one that the sidecar may be reading, the
  // connection.
  for (const std::size_t bytes : {std::size_t{8} << 20, std::size_t{200'000}}) {
    std::vector<std::byte> source(bytes);
    EXPECT_EQ(sender.send(Tensor{source.data(), Dtype::kU8, {source.size()}}, "big", {{1}}).code(),
              Errc::kTimeout);
    EXPECT_EQ(sender.connected(), bytes > 200'000);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  cluster_.process(0).signal(SIGCONT);
  EXPECT_EQ(client.recv("x", 0, seconds(0)).code(), Errc::kTimeout);  // the same connection still works
  EXPECT_TRUE(client.mark_done("x"));
  // The sidecar may have offered it a place after its connection had ended: one that is back lets go of that.
  for (int i = 0; i < 1000 && !sender.connected(); ++i) {
    sender.poll(milliseconds(10));
    if (GetParam() == Progress::kThread) std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(sender.connected());
}

class Clusters : public ::testing::Test {
 protected:
  Cluster cluster_{one_node()};
};
using LiveThreads = Clusters;
using LiveCaller = Clusters;

TEST_F(LiveThreads, ManyThreadsShareOneClient) {
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(1);
  constexpr int kThreads = 4, kEach = 100;
  std::atomic<int> good = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string id = std::to_string(t) + "/" + std::to_string(i);
        const std::size_t size = static_cast<std::size_t>(1 + (i * 7919) % 100'000);
        const auto bytes = contents(id, 0, size);
        Future<View> future = consumer.recv_async(id);
        if (!producer.send(Tensor{bytes.data(), Dtype::kU8, {size}}, id, {{1}})) continue;
        const auto view = future.get();
        if (view && matches(view->bytes(), id, 0) && consumer.mark_done(id)) ++good;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads * kEach);
}

TEST_F(LiveCaller, ALoopOfTheCallersOwnDrivesItThroughItsDescriptor) {
  ClientOptions options;
  options.progress = Progress::kCaller;
  options.polling = Polling::kEvent;
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(1, options);
  ASSERT_GE(consumer.fd(), 0);
  EXPECT_EQ(producer.fd(), -1);
  int seen = 0;
  constexpr int kChunks = 50;
  for (ChunkIndex i = 0; i < kChunks; ++i) {
    consumer.recv_async("d", i).then([&](Expected<View> view) { seen += view ? 1 : 0; });
  }
  std::thread sender([&] {
    for (ChunkIndex i = 0; i < kChunks; ++i)
      EXPECT_TRUE(producer.send(Object{"x", 1}, "d", {{1}}, i, kChunks));
  });
  int sleeps = 0;
  const auto until = std::chrono::steady_clock::now() + seconds(20);
  while (seen < kChunks && std::chrono::steady_clock::now() < until) {
    consumer.poll();
    const auto within = std::min<std::chrono::nanoseconds>(consumer.poll_within(), seconds(1));
    if (within.count() > 0) {
      pollfd entry{consumer.fd(), POLLIN, 0};
      ::poll(&entry, 1, static_cast<int>(std::chrono::duration_cast<milliseconds>(within).count()));
      ++sleeps;
    }
  }
  sender.join();
  EXPECT_EQ(seen, kChunks);
  EXPECT_GT(sleeps, 0);
  for (ChunkIndex i = 0; i < kChunks; ++i) EXPECT_TRUE(consumer.mark_done("d", i));
}

TEST_F(LiveCaller, ManySmallViewsAreGivenUpWithoutTheCallerAskingForAnything) {
  ClientOptions options;
  options.progress = Progress::kCaller;
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(1, options);
  const auto bytes = contents("t", 0, 5000);
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, {5000}}, "t", {{1}}));
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(consumer.recv("t"));
  consumer.poll(milliseconds(10));
  EXPECT_EQ(cluster_.counter(1, "views"), 0u);
  EXPECT_TRUE(consumer.mark_done("t"));
}

}  // namespace
}  // namespace sidecar::e2e
