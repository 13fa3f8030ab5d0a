// Clients and peers that say what no good one says: nothing of it may hurt anybody else.
#include <gtest/gtest-spi.h>

#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Hostile : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  // What expect_clean() wants to be zero is what these tests are about.
  void TearDown() override {}
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

TEST_F(Hostile, AClientThatSendsAPeersMessageWithAPayloadIsCutOff) {
  for (int i = 0; i < 2; ++i) {
    SimClient& bad = client(0);
    Chunk chunk{};
    chunk.transfer = {1, 1};
    chunk.meta.id.assign("x");
    chunk.meta.num_chunks = 1;
    chunk.meta.bytes = 2'000;
    chunk.meta.shape.dims = 1;
    chunk.meta.shape.extent[0] = 2'000;
    i == 0 ? bad.raw_payload(chunk, 2'000) : bad.raw_payload(Reply{}, 2'000);
    settle();
    EXPECT_FALSE(bad.connected());
  }
  EXPECT_EQ(sidecar(0).stats().counters.protocol_errors, 2u);
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk())
      << "nobody else suffers";
}

TEST_F(Hostile, AClientThatSendsMoreEagerBytesThanItsCreditIsCutOff) {
  NEEDS_MAPPED_ARENAS();
  const std::uint64_t all = allocate(*producer_, 512 * kKiB);  // what comes now has to wait
  SimClient& bad = client(0);
  const auto send_one = [&](std::uint64_t request) {
    Send message{};
    message.request = request;
    message.meta.id.assign("x" + std::to_string(request));
    message.meta.num_chunks = 1;
    message.meta.bytes = kEagerBytesMax;
    message.meta.shape.dims = 1;
    message.meta.shape.extent[0] = kEagerBytesMax;
    message.source = Source::kPayload;
    message.destinations = destinations(each({1}));
    bad.raw_payload(message, kEagerBytesMax);
    settle();
  };
  constexpr std::uint64_t kAllowed = kEagerWindowBytes / kEagerBytesMax;
  for (std::uint64_t i = 0; i < kAllowed; ++i) send_one(i);
  EXPECT_TRUE(bad.connected());
  EXPECT_NONFATAL_FAILURE(send_one(kAllowed), "more eager bytes than the credits allow");  // says the network
  EXPECT_FALSE(bad.connected());
  EXPECT_EQ(sidecar(0).stats().waiting_sends, 0u);
  producer_->release_slot(all);
}

TEST_F(Hostile, AClientWithMoreSendsThanMayWaitForRoomIsToldSoAndHurtsNobody) {
  NEEDS_MAPPED_ARENAS();
  add({.rank = 2, .node = "c", .adjust = [](EngineOptions& options) { options.waiting_sends_max = 3; }});
  SimClient& many = client(2);
  const std::uint64_t all = allocate(many, 512 * kKiB);
  std::vector<RequestId> waiting;
  for (int i = 0; i < 3; ++i)
    waiting.push_back(many.send({.id = "x" + std::to_string(i), .bytes = 100'000, .to = each({1})}));
  settle();
  const Outcome& refused = send(many, {.id = "y", .bytes = 100'000, .to = each({1})});
  EXPECT_THAT(refused, IsError(Errc::kUnavailable));
  EXPECT_FALSE(refused.captured);
  EXPECT_THAT(wait(many, many.allocate(1'000)), IsError(Errc::kUnavailable));
  EXPECT_EQ(sidecar(2).transport().incoming_open(), 3u) << "payloads that nobody has taken";
  many.release_slot(all);
  for (const RequestId request : waiting) EXPECT_THAT(wait(many, request), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
