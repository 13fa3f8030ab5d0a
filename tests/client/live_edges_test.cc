// The client library at its edges, against real sidecars: a control plane that is slow, threads that race
// with close(), callbacks that end other calls.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <future>
#include <thread>

#include "client/registration.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

class LiveEdges : public ::testing::Test {
 protected:
  Cluster cluster_{{.nodes = {"a", "a"}, .arena = "32M"}};
};

// Nothing was heard of it, or that whoever was sending it has gone.
bool did_not_come(const Expected<View>& view) {
  return view.code() == Errc::kTimeout || view.code() == Errc::kPeerLost;
}

TEST_F(LiveEdges, ASidecarThatIsSlowToAnswerIsWaitedFor) {
  cluster_.process(0).signal(SIGSTOP);
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(700));
    cluster_.process(0).signal(SIGCONT);
  });
  const auto status = client_internal::ask_status(cluster_.address(0), seconds(10));
  later.join();
  EXPECT_TRUE(status) << to_string(status.error());
}

// A sidecar that was stopped finds the request when it goes on, and reads the memory of a process that lives.
TEST_F(LiveEdges, WhatASendThatTimedOutHadToldIsNotReadWhenItsMemoryHasChanged) {
  Client consumer = cluster_.client(1);
  ClientOptions impatient;
  impatient.deadline = milliseconds(100);
  impatient.grace = milliseconds(100);
  for (int round = 0; round < 5; ++round) {
    const std::string id = "old " + std::to_string(round);
    Client sender = cluster_.client(0, impatient);
    std::vector<std::byte> source(4 << 20, std::byte{1});
    cluster_.process(0).signal(SIGSTOP);
    EXPECT_EQ(sender.send({source.data(), Dtype::kU8, {source.size()}}, id, {{1}}).code(), Errc::kTimeout);
    std::ranges::fill(source, std::byte{2});  // it is the caller's again
    cluster_.process(0).signal(SIGCONT);
    EXPECT_TRUE(did_not_come(consumer.recv(id, 0, milliseconds(300))));
  }
}

// What says so stands far behind the requests.
TEST_F(LiveEdges, ManySendsThatTimedOutAreNotReadWhenTheirMemoryHasChanged) {
  Client consumer = cluster_.client(1);
  ClientOptions impatient;
  impatient.deadline = milliseconds(100);
  impatient.grace = milliseconds(100);
  Client sender = cluster_.client(0, impatient);
  std::vector<std::byte> source(256 << 10, std::byte{1});
  cluster_.process(0).signal(SIGSTOP);
  std::vector<SendHandle> sends;
  for (ChunkIndex i = 0; i < 300; ++i)
    sends.push_back(sender.send_async({source.data(), Dtype::kU8, {source.size()}}, "old", {{1}}, i, 300));
  for (SendHandle& send : sends) EXPECT_FALSE(send.delivered.get());
  std::ranges::fill(source, std::byte{2});
  cluster_.process(0).signal(SIGCONT);
  for (ChunkIndex i = 0; i < 300; ++i)
    EXPECT_TRUE(did_not_come(consumer.recv("old", i, milliseconds(i == 0 ? 300 : 1)))) << i;
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

TEST_F(LiveEdges, ACancelInACallbackReachesACallThatWasOnlyJustMade) {
  Client client = cluster_.client(1);
  std::promise<void> in_callback;
  std::promise<Future<View>*> made;
  client.recv_async("never", 0, seconds(0)).then([&](const Expected<View>&) {
    in_callback.set_value();
    made.get_future().get()->cancel();  // no callback should block; this one keeps the call from being seen
  });
  in_callback.get_future().wait();
  Future<View> waiting = client.recv_async("never", 0, kForever);
  made.set_value(&waiting);
  ASSERT_TRUE(waiting.wait(seconds(10)));
  EXPECT_EQ(waiting.get().code(), Errc::kCancelled);
}

class LiveCallbacks : public ::testing::TestWithParam<Progress> {
 protected:
  Client client() const {
    ClientOptions options;
    options.progress = GetParam();
    options.polling = Polling::kEvent;
    return cluster_.client(1, options);
  }
  Cluster cluster_{{.nodes = {"a", "a"}, .arena = "32M"}};
};
INSTANTIATE_TEST_SUITE_P(Modes, LiveCallbacks, ::testing::Values(Progress::kThread, Progress::kCaller),
                         [](const auto& mode) {
                           return mode.param == Progress::kThread ? "Thread" : "Caller";
                         });

TEST_P(LiveCallbacks, ACallCanBeCancelledAfterItWasGivenACallback) {
  Client client = this->client();
  std::atomic<Errc> code = Errc::kOk;
  Future<View> future = client.recv_async("never", 0, kForever);
  future.then([&](const Expected<View>& view) { code = view.code(); });
  EXPECT_FALSE(future.valid());
  future.cancel();
  for (int i = 0; i < 1000 && code == Errc::kOk; ++i) {
    client.poll(milliseconds(10));
    if (GetParam() == Progress::kThread) std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(code, Errc::kCancelled);
}

TEST_P(LiveCallbacks, WaitingInACallbackOfCloseFailsInsteadOfHanging) {
  const auto start = std::chrono::steady_clock::now();
  {
    Client client = this->client();
    // Some of these end after the callback has returned.
    auto others = std::make_shared<std::vector<Future<View>>>();
    for (ChunkIndex i = 0; i < 10; ++i) others->push_back(client.recv_async("never", i, seconds(60)));
    client.recv_async("never", 10, seconds(60)).then([others](const Expected<View>&) {
      for (Future<View>& other : *others) other.wait();
    });
    for (ChunkIndex i = 11; i < 20; ++i) others->push_back(client.recv_async("never", i, seconds(60)));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(20));
}

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
