// The contract in bad weather: messages are late and overtake each other, and links break at any message, so
// that it is lost and what was sent before comes twice. A seed is a weather; SIM_SEED replays one.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

class Weather : public Faults, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override {
    Faults::SetUp();
    world_.conditions().spike = 0.1;
    world_.conditions().spike_delay = 50 * kMillisecond;
    world_.conditions().reorder = 0.6;
    world_.conditions().bytes_per_ns = 0.02;
    // Of all messages between sidecars a few are lost, each with the link it was on.
    world_.network().filter([this](SimProcess& from, SimProcess& to, const Message&) {
      const bool peers =
          dynamic_cast<SimSidecar*>(&from) != nullptr && dynamic_cast<SimSidecar*>(&to) != nullptr;
      if (!peers || (++seen_ != first_ && !world_.random().chance(0.05))) return true;
      ++lost_;
      return false;
    });
  }
  void TearDown() override {
    EXPECT_TRUE(lost_ > 0 || IsSkipped()) << "the weather was not bad at all";
    world_.network().filter({});
    Faults::TearDown();
  }
  // Inline, eager and rendezvous.
  std::uint64_t some_size() {
    const std::uint64_t sizes[] = {1, 100, 1'024, 1'025, 15'000, 30'000, 60'000, 65'536};
    return sizes[world_.random().below(std::size(sizes))];
  }
  RequestId send_chunk(const std::string& id, ChunkIndex chunk, ChunkIndex count, bool stream = false) {
    const std::uint64_t bytes = some_size();
    const RequestId request = producer_->send({.id = id,
                                               .chunk = chunk,
                                               .num_chunks = count,
                                               .bytes = bytes,
                                               .to = each({1, 2}),
                                               .stream = stream,
                                               .eager = world_.random().chance(0.5)});
    world_.run_for(world_.random().below(5 * kMillisecond));
    return request;
  }
  // Each chunk is there once, with the bytes that were sent (the simulated client looks), then the end.
  void consume(SimClient& at, const std::string& id, ChunkIndex count) {
    for (ChunkIndex chunk = 0; chunk < count; ++chunk) {
      const Outcome& got = recv(at, id, chunk);
      ASSERT_THAT(got, IsOk()) << chunk;
      EXPECT_TRUE(got.salt) << chunk;
      EXPECT_THAT(done(at, id, chunk), IsOk());
    }
    EXPECT_THAT(recv(at, id, count), IsError(Errc::kEndOfStream));
  }
  void expect_all(const std::vector<RequestId>& requests) {
    for (const RequestId request : requests) EXPECT_THAT(wait(*producer_, request), IsOk());
  }

  std::uint64_t seen_ = 0, lost_ = 0;
  const std::uint64_t first_ = 1 + world_.random().below(5);  // no weather is good
};
INSTANTIATE_TEST_SUITE_P(Seed, Weather, ::testing::Range(1, 9));

constexpr ChunkIndex kChunks = 30;

// More than the arenas hold: back-pressure is at work too.
TEST_P(Weather, ABroadcastReachesEveryGroupExactlyOnce) {
  SimClient& near = client(2);
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) sends.push_back(send_chunk("x", chunk, kChunks));
  for (ChunkIndex chunk = 0; chunk < kChunks; ++chunk) {
    for (SimClient* at : {consumer_, &near}) {
      const Outcome& got = recv(*at, "x", chunk);
      ASSERT_THAT(got, IsOk()) << chunk;
      EXPECT_TRUE(got.salt) << chunk;
      EXPECT_THAT(done(*at, "x", chunk), IsOk());
    }
  }
  expect_all(sends);
  EXPECT_EQ(sidecar(1).stats().counters.chunks_received, kChunks);
  EXPECT_EQ(sidecar(2).stats().counters.chunks_received, kChunks);
  EXPECT_GT(sidecar(0).stats().counters.resends, 0u);
}

TEST_P(Weather, AStreamMayBeClosedAtAnyTime) {
  for (const ChunkIndex close_at : {0u, 3u, 6u}) {
    const std::string id = "closed at " + std::to_string(close_at);
    const RequestId beyond = consumer_->recv(id, 6);
    std::vector<RequestId> calls;
    for (ChunkIndex chunk = 0; chunk <= 6; ++chunk) {
      if (chunk == close_at) calls.push_back(producer_->close_stream(id, 6, each({1, 2})));
      if (chunk < 6) calls.push_back(send_chunk(id, 5 - chunk, 0, true));
    }
    SimClient& near = client(2);
    consume(near, id, 6);
    consume(*consumer_, id, 6);
    expect_all(calls);
    EXPECT_THAT(wait(*consumer_, beyond), IsError(Errc::kEndOfStream));
    EXPECT_THAT(wait(*producer_, producer_->close_stream(id, 6, each({1, 2}))), IsOk()) << "again";
  }
}

TEST_P(Weather, AllocatedMemoryIsSentAndComesBack) {
  NEEDS_MAPPED_ARENAS();
  SimClient& near = client(2);
  for (int i = 0; i < 12; ++i) {
    const std::string id = "x" + std::to_string(i);
    const std::uint64_t slot = allocate(*producer_, 50'000);
    EXPECT_THAT(send(*producer_,
                     {.id = id, .bytes = 50'000, .to = each({1, 2}), .source = Source::kSlot, .slot = slot}),
                IsOk());
    consume(*consumer_, id, 1);
    consume(near, id, 1);
  }
  EXPECT_EQ(sidecar(0).stats().counters.bytes_captured, 0u);
}

TEST_P(Weather, EveryReaderOfAGroupIsAnsweredAndSeesTheSameMemory) {
  SimClient& second = client(1);
  std::vector<RequestId> first_waits, second_waits;
  for (ChunkIndex chunk = 0; chunk < 8; ++chunk) {
    for (int twice = 0; twice < 2; ++twice) {
      first_waits.push_back(consumer_->recv("x", chunk));
      second_waits.push_back(second.recv("x", chunk));
    }
  }
  std::vector<RequestId> sends;
  for (const ChunkIndex chunk : {5, 0, 7, 2, 1, 6, 3, 4}) {
    sends.push_back(producer_->send({.id = "x",
                                     .chunk = static_cast<ChunkIndex>(chunk),
                                     .num_chunks = 8,
                                     .bytes = 20'000,
                                     .to = each({1})}));
  }
  for (std::size_t i = 0; i < first_waits.size(); ++i) {
    const Outcome& one = wait(*consumer_, first_waits[i]);
    const Outcome& other = wait(second, second_waits[i]);
    EXPECT_THAT(one, IsOk());
    EXPECT_THAT(other, IsOk());
    EXPECT_EQ(one.reply.offset, other.reply.offset);
  }
  expect_all(sends);
}

TEST_P(Weather, MarkDoneInAnyOrderTwiceAndBeforeArrival) {
  std::vector<RequestId> sends;
  EXPECT_THAT(done(*consumer_, "x", 3), IsOk()) << "before it arrives";
  for (ChunkIndex chunk = 0; chunk < 6; ++chunk) {
    sends.push_back(producer_->send(
        {.id = "x", .chunk = chunk, .num_chunks = 6, .bytes = 30'000, .to = each({1}), .eager = true}));
  }
  for (const ChunkIndex chunk : {5, 0, 3, 4, 2, 5, 1, 0}) EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  expect_all(sends);
  for (ChunkIndex chunk = 0; chunk < 6; ++chunk) {
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsError(Errc::kAlreadyDone)) << chunk;
  }
  EXPECT_THAT(recv(*consumer_, "x", 6), IsError(Errc::kEndOfStream));
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_EQ(sidecar(1).stats().tombstones, 1u);
}

// A transfer that comes twice is no second send, and a second send is none that comes twice.
TEST_P(Weather, OnlyASecondSendIsToldThatTheChunkExists) {
  for (int i = 0; i < 12; ++i) {
    const std::string id = "x" + std::to_string(i);
    const std::uint64_t bytes = some_size();
    const SendSpec spec{.id = id, .bytes = bytes, .to = each({1, 2}), .eager = bytes <= kEagerBytesMax};
    EXPECT_THAT(send(*producer_, spec), IsOk());
    EXPECT_THAT(send(*producer_, spec), IsError(Errc::kAlreadyExists));
    EXPECT_THAT(recv(*consumer_, id), IsOk());
    EXPECT_THAT(done(*consumer_, id), IsOk());
    EXPECT_THAT(done(client(2), id), IsOk());
    EXPECT_THAT(send(*producer_, spec), IsError(Errc::kAlreadyExists)) << "also when it is done";
  }
}

TEST_P(Weather, DeadlinesAndCancelsLeaveNothing) {
  std::vector<RequestId> requests;
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t bytes = some_size();
    requests.push_back(producer_->send({.id = "x" + std::to_string(i),
                                        .bytes = bytes,
                                        .to = each({1, 2}),
                                        .timeout = world_.random().below(80 * kMillisecond),
                                        .eager = bytes <= kEagerBytesMax}));
    if (world_.random().chance(0.4)) producer_->cancel(requests.back());
    world_.run_for(world_.random().below(5 * kMillisecond));
  }
  for (const RequestId request : requests) {
    const Outcome& outcome = wait(*producer_, request, 5 * kSecond);
    const Errc code = outcome.reply.code;
    EXPECT_TRUE(code == Errc::kOk || code == Errc::kTimeout || code == Errc::kCancelled) << outcome.text();
  }
  EXPECT_TRUE(world_.run_until([&] { return sidecar(0).stats().outgoing == 0; }, 10 * kSecond));
}

TEST_P(Weather, AProducerThatDiesInTheMiddleIsLostAndWhatCameWholeStays) {
  std::vector<RequestId> waits;
  for (ChunkIndex chunk = 0; chunk < 12; ++chunk) waits.push_back(consumer_->recv("x", chunk));
  std::vector<RequestId> sends;
  for (ChunkIndex chunk = 0; chunk < 8; ++chunk) sends.push_back(send_chunk("x", chunk, 12));
  EXPECT_THAT(wait(*producer_, sends[0]), IsOk());
  world_.run_for(world_.random().below(60 * kMillisecond));
  world_.kill(sidecar(0));
  std::size_t lost = 0;
  for (ChunkIndex chunk = 0; chunk < 12; ++chunk) {
    const Outcome& outcome = wait(*consumer_, waits[chunk]);
    lost += outcome.ok() ? 0 : 1;
    EXPECT_TRUE(outcome.ok() || outcome.reply.code == Errc::kPeerLost) << chunk << ": " << outcome.text();
    // What it was told stays true.
    EXPECT_EQ(recv(*consumer_, "x", chunk).reply.code, outcome.reply.code) << chunk;
  }
  EXPECT_THAT(consumer_->outcome(waits[0]), IsOk()) << "delivered, and read";
  EXPECT_GE(lost, 4u) << "the last four were never sent";
  leaves_data(1);
}

}  // namespace
}  // namespace sidecar::sim
