// Rules about links, room and time, between real processes: 6, 8, 9, 10, 11 and 13.
#include <signal.h>

#include <list>
#include <utility>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

constexpr std::size_t kMiB = 1 << 20;

class FlowRules : public BothPaths {
 protected:
  FlowRules() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M"}) {}
  [[nodiscard]] Groups to() const { return {{consumer()}}; }
  Expected<void> send(std::string_view id, std::size_t bytes, ChunkIndex chunk = 0,
                      ChunkIndex num_chunks = 1) {
    const auto data = contents(id, chunk, bytes);
    return producer_.send(tensor_of(data), id, to(), chunk, num_chunks);
  }
  // Stops a sidecar until the other side has given the link between them up, which takes the ping time-out
  // (5 s) and is far from the peer time-out (30 s).
  void stop_until_the_link_is_down(Rank rank, Rank seen_from) {
    ASSERT_EQ(cluster_.peer(seen_from, rank).state, "connected");
    cluster_.process(rank).signal(SIGSTOP);
    EXPECT_TRUE(eventually([&] { return cluster_.peer(seen_from, rank).state != "connected"; }, seconds(15)));
  }

  Client producer_ = cluster_.client(0);
  Client consumer_ = cluster_.client(consumer());
};
using Rule06Retransmission = FlowRules;
using Rule08PeerLost = FlowRules;
using Rule09NoEndlessWaits = FlowRules;
using Rule10ReceiveQuota = FlowRules;
SIDECAR_BOTH_PATHS(Rule06Retransmission);
SIDECAR_BOTH_PATHS(Rule08PeerLost);
SIDECAR_BOTH_PATHS(Rule09NoEndlessWaits);
SIDECAR_BOTH_PATHS(Rule10ReceiveQuota);

TEST_P(Rule06Retransmission, WhatWasUnderWayOnADeadLinkIsSentAgainAndArrivesOnce) {
  ASSERT_TRUE(send("warm", 1000));
  stop_until_the_link_is_down(consumer(), 0);
  std::vector<std::vector<std::byte>> data;
  std::vector<SendHandle> sends;
  for (const std::size_t size : {std::size_t{100}, std::size_t{30'000}, 2 * kMiB}) {
    const auto chunk = static_cast<ChunkIndex>(data.size());
    data.push_back(contents("x", chunk, size));
    sends.push_back(producer_.send_async(tensor_of(data.back()), "x", to(), chunk, 3));
  }
  EXPECT_FALSE(sends[0].delivered.wait(milliseconds(200))) << "delivered means that the Ack came";
  cluster_.process(consumer()).signal(SIGCONT);
  for (auto& each : sends) EXPECT_TRUE(each.delivered.get());
  EXPECT_EQ(cluster_.counter(consumer(), "chunks_received"), 4u) << "each once";
  for (ChunkIndex chunk = 0; chunk < 3; ++chunk) {
    EXPECT_TRUE(matches(consumer_.recv("x", chunk).value().bytes(), "x", chunk));
    EXPECT_TRUE(consumer_.mark_done("x", chunk));
  }
  EXPECT_TRUE(consumer_.mark_done("warm"));
}

TEST_P(Rule06Retransmission, ANewSequenceForAnOldChunkIsAlreadyExists) {
  for (const std::size_t size : {100ul, 30'000ul, 2'000'000ul}) {
    const std::string id = "x" + std::to_string(size);
    ASSERT_TRUE(send(id, size));
    EXPECT_EQ(send(id, size).code(), Errc::kAlreadyExists);
    ASSERT_TRUE(consumer_.mark_done(id));
    EXPECT_EQ(send(id, size).code(), Errc::kAlreadyExists) << "also when it is done";
  }
  EXPECT_EQ(cluster_.counter(consumer(), "duplicates"), 0u) << "these were no repeated transfers";
}

TEST_P(Rule08PeerLost, ALinkThatBreaksIsNoLossAndWhoWaitsGoesOnWaiting) {
  ASSERT_TRUE(send("x", 100'000, 0, 2));
  const auto back = contents("back", 0, 100);
  ASSERT_TRUE(consumer_.send(tensor_of(back), "back", {{0}}))
      << "so that the consumer's side has a link of its own";
  ASSERT_TRUE(producer_.mark_done("back"));
  auto waiting = consumer_.recv_async("x", 1);
  stop_until_the_link_is_down(0, consumer());
  cluster_.process(0).signal(SIGCONT);
  EXPECT_FALSE(waiting.wait(milliseconds(300)));
  ASSERT_TRUE(send("x", 100'000, 1, 2));
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "x", 1));
  for (const Rank rank : {0, consumer()}) EXPECT_EQ(cluster_.counter(rank, "peers_lost"), 0u) << rank;
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("x", chunk));
}

// Both long before the peer time-out, which is 30 s here.
TEST_P(Rule08PeerLost, AGoodbyeEndsTheWaitsAtOnce) {
  ASSERT_TRUE(send("x", 100'000, 0, 2));
  auto waiting = consumer_.recv_async("x", 1, kForever);
  producer_.close();
  cluster_.process(0).signal(SIGTERM);
  ASSERT_TRUE(waiting.wait(seconds(10)));
  const auto lost = waiting.get();
  EXPECT_EQ(lost.code(), Errc::kPeerLost);
  EXPECT_EQ(lost.error().rank, 0);
  EXPECT_TRUE(matches(consumer_.recv("x", 0).value().bytes(), "x", 0)) << "what came whole stays readable";
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("x", chunk));
  cluster_.restart(0);
}

TEST_P(Rule08PeerLost, ANewInstanceOfTheRankEndsTheWaitsForGood) {
  ASSERT_TRUE(send("x", 100'000, 0, 2));
  auto waiting = consumer_.recv_async("x", 1, kForever);
  cluster_.restart(0);
  ASSERT_TRUE(waiting.wait(seconds(15)));
  const auto lost = waiting.get();
  EXPECT_EQ(lost.code(), Errc::kPeerLost);
  EXPECT_EQ(lost.error().rank, 0);
  EXPECT_TRUE(matches(consumer_.recv("x", 0).value().bytes(), "x", 0));
  EXPECT_EQ(consumer_.recv("x", 1, seconds(5)).code(), Errc::kPeerLost) << "final";
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("x", chunk));
}

TEST_P(Rule09NoEndlessWaits, ACallWithoutADeadlineHasItsClientsAndForEverMustBeAskedFor) {
  ClientOptions options;
  options.deadline = milliseconds(300);
  Client brief = cluster_.client(0, options);
  Client reader = cluster_.client(consumer(), options);
  EXPECT_EQ(ClientOptions().deadline, seconds(600));
  EXPECT_EQ(reader.recv("never").code(), Errc::kTimeout);
  auto for_ever = reader.recv_async("never", 0, kForever);
  auto all = brief.allocate({15 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(all);
  EXPECT_EQ(brief.allocate({4 * kMiB}, Dtype::kU8).code(), Errc::kTimeout);
  const auto bytes = contents("x", 0, 4 * kMiB);
  EXPECT_EQ(brief.send(tensor_of(bytes), "x", to()).code(), Errc::kTimeout) << "it waited for room";
  *all = Buffer();
  cluster_.process(consumer()).signal(SIGSTOP);
  const auto sent = brief.send(tensor_of(bytes), "x", to());
  EXPECT_EQ(sent.code(), Errc::kTimeout) << "it waited for the destination";
  EXPECT_EQ(sent.error().rank, consumer());
  cluster_.process(consumer()).signal(SIGCONT);
  EXPECT_FALSE(for_ever.wait(milliseconds(600))) << "twice the client's deadline";
  for_ever.cancel();
  EXPECT_EQ(for_ever.get().code(), Errc::kCancelled);
  EXPECT_TRUE(reader.mark_done("x")) << "whether it came or not";
}

TEST_P(Rule10ReceiveQuota, WhoWaitsForRoomDelaysNoOtherCall) {
  ASSERT_TRUE(send("there", 100'000));
  const auto bytes = contents("back", 0, 100'000);
  ASSERT_TRUE(consumer_.send(tensor_of(bytes), "back", {{0}}));
  auto all = producer_.allocate({15 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(all);
  std::vector<std::vector<std::byte>> data;
  std::vector<SendHandle> parked;
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) {
    data.push_back(contents("late", chunk, 3 * kMiB));
    parked.push_back(producer_.send_async(tensor_of(data.back()), "late", to(), chunk, 4));
  }
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 4; }));
  EXPECT_TRUE(matches(producer_.recv("back", 0, seconds(5)).value().bytes(), "back", 0));
  EXPECT_TRUE(producer_.mark_done("back"));
  EXPECT_TRUE(producer_.close_stream("empty", 0, to(), seconds(5)));
  EXPECT_TRUE(consumer_.recv("empty", 0, seconds(5)).value().end_of_stream());
  EXPECT_TRUE(consumer_.mark_done("there"));
  EXPECT_EQ(cluster_.counter(0, "waiting_sends"), 4u) << "all that time";
  *all = Buffer();
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) {
    EXPECT_TRUE(parked[chunk].delivered.get());
    EXPECT_TRUE(matches(consumer_.recv("late", chunk).value().bytes(), "late", chunk));
    EXPECT_TRUE(consumer_.mark_done("late", chunk));
  }
}

// --- over the network only: on one node nothing takes room at the receiver

class OverTheNetwork : public ::testing::Test {
 protected:
  explicit OverTheNetwork(const std::string& arena = "32M")
      : cluster_({.nodes = {"a", "b"}, .arena = arena}) {}
  SendHandle start(std::string_view id, std::size_t bytes, ChunkIndex chunk, ChunkIndex num_chunks) {
    data_.push_back(contents(id, chunk, bytes));
    return producer_.send_async(tensor_of(data_.back()), id, {{1}}, chunk, num_chunks);
  }
  void take(std::string_view id, ChunkIndex chunk) {
    {
      const auto view = consumer_.recv(id, chunk, seconds(20));
      ASSERT_TRUE(view) << chunk << ": " << to_string(view.error());
      EXPECT_TRUE(matches(view->bytes(), id, chunk)) << chunk;
    }
    EXPECT_TRUE(consumer_.mark_done(id, chunk));
  }

  Cluster cluster_;
  Client producer_ = cluster_.client(0);
  Client consumer_ = cluster_.client(1);
  std::list<std::vector<std::byte>> data_;
};

class Rule10Reserve : public OverTheNetwork, public ::testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(Wanted, Rule10Reserve, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "BeforeItIsSent" : "WhenItIsParkedAlready");
});

// 14 MiB to receive into and 2 in reserve: the chunks that nobody waits for fill the one, and chunk 0 gets in
// all the same.
TEST_P(Rule10Reserve, ChunkZeroIsNotBlockedByTheOthers) {
  constexpr ChunkIndex kChunks = 20;
  std::vector<SendHandle> sends;
  for (ChunkIndex chunk = 1; chunk < kChunks; ++chunk)
    sends.push_back(start("x", kMiB - 4096, chunk, kChunks));
  ASSERT_TRUE(eventually([&] { return cluster_.counter(1, "parked_chunks") == 5; })) << "14 of 19 fit";
  EXPECT_TRUE(cluster_.status(1).memory_pressure);
  const std::uint64_t parked = cluster_.counter(1, "parked_chunks");
  Future<View> wanted;
  if (GetParam()) wanted = consumer_.recv_async("x", 0);
  sends.push_back(start("x", kMiB - 4096, 0, kChunks));
  if (!GetParam()) {
    ASSERT_TRUE(eventually([&] { return cluster_.counter(1, "parked_chunks") == parked + 1; }));
    wanted = consumer_.recv_async("x", 0);
  }
  ASSERT_TRUE(wanted.wait(seconds(10))) << "nothing was marked done, and nothing had to be";
  EXPECT_TRUE(matches(wanted.get().value().bytes(), "x", 0));
  EXPECT_EQ(cluster_.counter(1, "parked_chunks"), parked) << "the others wait on";
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) take("x", chunk);
  for (auto& each : sends) EXPECT_TRUE(each.delivered.get());
  EXPECT_FALSE(cluster_.status(1).memory_pressure);
}

class Rule11HeadOfLine : public OverTheNetwork {
 protected:
  Rule11HeadOfLine() : OverTheNetwork("1100M") {}
};

TEST_F(Rule11HeadOfLine, SmallMessagesDoNotWaitBehindALargeTransfer) {
  // Behind it a small one could never be first. On a busy machine the large one may be over before the small
  // one is sent, which says nothing.
  int rounds = 0, passed = 0;
  for (; rounds < 20 && passed == 0; ++rounds) {
    const std::string big = "big" + std::to_string(rounds), small = "small" + std::to_string(rounds);
    auto buffer = producer_.allocate({480 * kMiB}, Dtype::kU8);
    ASSERT_TRUE(buffer);
    SendHandle sending = producer_.send_async(std::move(*buffer), big, {{1}});
    ASSERT_TRUE(eventually([&] { return cluster_.status(1).memory[1].used_bytes > 0; }));
    ASSERT_TRUE(producer_.send(Object{"small", 5, 0}, small, {{1}}));
    passed += sending.delivered.ready() ? 0 : 1;
    ASSERT_TRUE(sending.delivered.get());
    for (const std::string& id : {big, small}) EXPECT_TRUE(consumer_.mark_done(id));
    ASSERT_TRUE(cluster_.becomes_empty(0));
  }
  EXPECT_EQ(passed, 1) << "of " << rounds << " rounds";
}

using Rule13Credits = OverTheNetwork;

TEST_F(Rule13Credits, EagerBytesThatNobodyTakesAreBoundedAndNobodyPolls) {
  constexpr ChunkIndex kChunks = 450;  // 27 MB into 14 MiB
  ASSERT_TRUE(start("x", 60'000, 0, kChunks).delivered.get());
  std::vector<SendHandle> sends;
  const std::uint64_t before = private_kib(cluster_.process(1).pid());
  for (ChunkIndex chunk = 1; chunk < kChunks; ++chunk) sends.push_back(start("x", 60'000, chunk, kChunks));
  ASSERT_TRUE(eventually([&] { return cluster_.counter(1, "parked_chunks") > 0; }));
  std::uint64_t sent = 0, sent_before = 0;  // until as much was sent as may be
  do {
    sent_before = std::exchange(sent, cluster_.counter(0, "bytes_sent"));
    std::this_thread::sleep_for(milliseconds(500));
  } while (sent != sent_before);
  EXPECT_LE(private_kib(cluster_.process(1).pid()), before + 16 * 1024)
      << "a window of 4 MiB, and what UCX puts around it";
  const auto sender = cluster_.status(0).counters, receiver = cluster_.status(1).counters;
  std::this_thread::sleep_for(seconds(1));
  for (const auto& [name, value] : sender) {
    if (name == "resends" || name == "bytes_sent") {
      EXPECT_EQ(cluster_.counter(0, name), value) << name;
    }
  }
  for (const auto& [name, value] : receiver) {
    if (name == "refusals" || name == "duplicates" || name == "parked") {
      EXPECT_EQ(cluster_.counter(1, name), value) << name;
    }
  }
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) take("x", chunk);
  for (auto& each : sends) EXPECT_TRUE(each.delivered.get());
}

}  // namespace
}  // namespace sidecar::e2e
