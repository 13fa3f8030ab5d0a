// Rows and rules about calls and the clients that make them, between real processes: 14, 16, 17, 18 and
// memory pressure, each end of it by itself.
#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

constexpr std::size_t kMiB = 1 << 20;

class Calls : public BothPaths {
 protected:
  // 16 MiB to send from, 14 to receive into, 2 in reserve.
  Calls() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M"}) {}
  [[nodiscard]] bool same_node() const { return GetParam() == Path::kSameNode; }
  [[nodiscard]] Groups to() const { return {{consumer()}}; }
};
using MemoryPressure = Calls;
using Rule14Streams = Calls;
using Rule16Bounds = Calls;
using Rule17AClientThatDies = Calls;
using Rule18ArrivalBeforeRegistration = Calls;
SIDECAR_BOTH_PATHS(MemoryPressure);
SIDECAR_BOTH_PATHS(Rule14Streams);
SIDECAR_BOTH_PATHS(Rule16Bounds);
SIDECAR_BOTH_PATHS(Rule17AClientThatDies);
SIDECAR_BOTH_PATHS(Rule18ArrivalBeforeRegistration);

TEST_P(MemoryPressure, AFullSenderMakesItsClientsWaitInTurnAndClears) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  auto all = producer.allocate({15 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(all);
  const auto large = contents("large", 0, 8 * kMiB), small = contents("small", 0, 2 * kMiB);
  SendHandle first = producer.send_async(tensor_of(large), "large", to());
  SendHandle second = producer.send_async(tensor_of(small), "small", to());
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 2; }));
  EXPECT_TRUE(cluster_.status(0).memory_pressure);
  EXPECT_FALSE(cluster_.status(consumer()).memory_pressure);
  EXPECT_FALSE(first.captured.ready());
  EXPECT_FALSE(second.captured.ready());
  *all = Buffer();
  EXPECT_TRUE(first.delivered.get());
  EXPECT_TRUE(second.delivered.get());
  EXPECT_FALSE(cluster_.status(0).memory_pressure);
  EXPECT_TRUE(matches(receiver.recv("large").value().bytes(), "large", 0));
  for (const char* id : {"large", "small"}) EXPECT_TRUE(receiver.mark_done(id));
}

// On one node data lie at their producer, so it is the producer that is full of what was not released.
TEST_P(MemoryPressure, AFullHolderMakesSendersWaitUntilSomethingIsReleased) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const Rank holder = same_node() ? 0 : consumer();
  const auto bytes = contents("held", 0, 12 * kMiB);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "held", to()));
  const auto next = contents("next", 0, 8 * kMiB);
  SendHandle waiting = producer.send_async(tensor_of(next), "next", to());
  ASSERT_TRUE(eventually([&] { return cluster_.status(holder).memory_pressure; }));
  EXPECT_FALSE(waiting.delivered.wait(milliseconds(300)));
  EXPECT_TRUE(matches(receiver.recv("held").value().bytes(), "held", 0));
  EXPECT_TRUE(receiver.mark_done("held"));
  EXPECT_TRUE(waiting.delivered.get());
  EXPECT_FALSE(cluster_.status(holder).memory_pressure);
  EXPECT_TRUE(matches(receiver.recv("next").value().bytes(), "next", 0));
  EXPECT_TRUE(receiver.mark_done("next"));
}

TEST_P(MemoryPressure, WhatCanNeverFitAtTheDestinationFailsAtOnceWithBothSizes) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  constexpr std::size_t kSize = 15 * kMiB;  // fits what is for sending, not what is for receiving
  const auto bytes = contents("x", 0, kSize);
  const auto sent = producer.send(tensor_of(bytes), "x", to());
  if (same_node()) {  // takes no room there
    ASSERT_TRUE(sent) << to_string(sent.error());
    EXPECT_TRUE(receiver.mark_done("x"));
    return;
  }
  ASSERT_EQ(sent.code(), Errc::kNoSpace);
  EXPECT_EQ(sent.error().rank, consumer());
  const std::string text = to_string(sent.error());
  EXPECT_NE(text.find(std::to_string(kSize)), std::string::npos) << text;
  const std::uint64_t quota = cluster_.status(consumer()).memory[1].bytes;
  EXPECT_NE(text.find(std::to_string(quota)), std::string::npos) << quota << ": " << text;
  EXPECT_TRUE(cluster_.becomes_empty(0));
}

TEST_P(Rule14Streams, AnotherProducerIsRefusedAndChangesNothing) {
  const Rank rival_rank = consumer() == 1 ? 2 : 1;
  Client producer = cluster_.client(0);
  Client rival = cluster_.client(rival_rank);
  Client receiver = cluster_.client(consumer());
  const auto bytes = contents("s", 0, 50'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "s", to(), 0, 0, {.stream = true}));
  const auto other = contents("other", 0, 50'000);
  EXPECT_EQ(rival.send(tensor_of(other), "s", to(), 1, 0, {.stream = true}).code(), Errc::kInvalidArgument);
  EXPECT_EQ(rival.close_stream("s", 5, to()).code(), Errc::kInvalidArgument);
  ASSERT_TRUE(producer.close_stream("s", 1, to()));
  EXPECT_TRUE(matches(receiver.recv("s", 0).value().bytes(), "s", 0));
  EXPECT_TRUE(receiver.recv("s", 1).value().end_of_stream());
  EXPECT_TRUE(receiver.mark_done("s"));
}

TEST_P(Rule16Bounds, SixteenDimensionsGoAndSeventeenAreRefused) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const auto bytes = contents("x", 0, 64);
  std::vector<std::uint64_t> shape(16, 1);
  shape[3] = shape[9] = 8;
  ASSERT_TRUE(producer.send(Tensor{bytes.data(), Dtype::kU8, shape}, "x", to()));
  EXPECT_EQ(receiver.recv("x").value().shape(), shape);
  EXPECT_TRUE(receiver.mark_done("x"));
  shape.push_back(1);
  const auto sent = producer.send(Tensor{bytes.data(), Dtype::kU8, shape}, "y", to());
  EXPECT_EQ(sent.code(), Errc::kInvalidArgument);
  EXPECT_NE(to_string(sent.error()).find("shape"), std::string::npos) << to_string(sent.error());
  Groups many;
  for (Rank rank = 1; rank <= 257; ++rank) many.push_back({rank});
  const auto crowd = producer.send(Object{"x", 1, 0}, "z", many);
  EXPECT_EQ(crowd.code(), Errc::kInvalidArgument);
  EXPECT_NE(to_string(crowd.error()).find("destinations"), std::string::npos) << to_string(crowd.error());
}

TEST_P(Rule16Bounds, TheLongestIdWithTheLargestInlineObjectFitsAHeader) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const std::string id(255, '\xfe');
  const auto bytes = contents(id, 0, 1024);
  ASSERT_TRUE(
      producer.send(Object{bytes.data(), bytes.size(), ~0u}, id, to(), 4'000'000'000u, 4'000'000'001u));
  EXPECT_TRUE(matches(receiver.recv(id, 4'000'000'000u).value().bytes(), id, 0));
  EXPECT_TRUE(receiver.mark_done(id, 4'000'000'000u));
}

TEST_P(Rule17AClientThatDies, FreesItsAllocationsForThoseWhoWait) {
  Client waiting = cluster_.client(0);
  Executor doomed(cluster_, 0);
  ASSERT_EQ(doomed.ask("allocate 12000000"), "ok");
  auto allocation = waiting.allocate_async({8 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 1; }));
  EXPECT_FALSE(allocation.wait(milliseconds(200)));
  doomed.process().kill();
  EXPECT_TRUE(allocation.wait(seconds(10)));
  auto buffer = allocation.get();
  ASSERT_TRUE(buffer) << to_string(buffer.error());
  fill({buffer->data(), buffer->size_bytes()}, "x", 0);
  ASSERT_TRUE(waiting.send(std::move(*buffer), "x", to()));
  Client receiver = cluster_.client(consumer());
  EXPECT_TRUE(matches(receiver.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(receiver.mark_done("x"));
}

// What it had sent is captured, so it stays where it is until it is taken.
TEST_P(Rule17AClientThatDies, WhatItSentIsHeldAndDeliveredAllTheSame) {
  Client receiver = cluster_.client(consumer());
  Executor doomed(cluster_, 0);
  const std::string to = " " + std::to_string(consumer());
  ASSERT_EQ(doomed.ask("send x" + to + " 0 1 12000000 arena"), "ok");
  if (!same_node()) {  // no room for another there: it stays at the sender
    doomed.tell("send y" + to + " 0 1 12000000 arena");
    ASSERT_TRUE(eventually([&] { return cluster_.counter(consumer(), "parked_chunks") == 1; }));
  }
  doomed.process().kill();
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "clients") == 0; }));
  EXPECT_GE(cluster_.status(0).memory[0].used_bytes, 12'000'000u);
  for (const std::string id : {"x", "y"}) {
    if (id == "y" && same_node()) continue;
    EXPECT_TRUE(matches(receiver.recv(id, 0, seconds(10)).value().bytes(), id, 0)) << id;
    EXPECT_TRUE(receiver.mark_done(id));
  }
}

TEST_P(Rule17AClientThatDies, ASendThatWaitsForRoomDiesWithIt) {
  Client other = cluster_.client(0);
  auto all = other.allocate({15 * kMiB}, Dtype::kU8);
  ASSERT_TRUE(all);
  Executor doomed(cluster_, 0);
  doomed.tell("send x " + std::to_string(consumer()) + " 0 1 8000000 private");
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 1; }));
  doomed.process().kill();
  EXPECT_TRUE(eventually([&] { return cluster_.counter(0, "waiting_sends") == 0; }));
  EXPECT_TRUE(eventually([&] { return cluster_.counter(0, "outgoing") == 0; }));
  *all = Buffer();
  EXPECT_EQ(cluster_.client(consumer()).recv("x", 0, milliseconds(0)).code(), Errc::kPeerLost)
      << "it was never captured, so nobody has it, and whoever waits is told so";
}

TEST_P(Rule18ArrivalBeforeRegistration, IsHeldWithTheProducersUnitAndFoundLater) {
  ClientOptions options;
  options.send_unit_bytes = 5000;
  Client producer = cluster_.client(0, options);
  EXPECT_EQ(cluster_.counter(consumer(), "clients"), 0u);
  const auto bytes = contents("x", 0, 50'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "x", to()));
  const Rank holder = same_node() ? 0 : consumer();
  EXPECT_EQ(cluster_.status(holder).memory[same_node() ? 0 : 1].used_bytes, 10u * 5056)
      << "slots of the producer's unit, rounded up to 64 bytes";
  Client late = cluster_.client(consumer());
  EXPECT_TRUE(matches(late.recv("x", 0, milliseconds(0)).value().bytes(), "x", 0)) << "it is there already";
  EXPECT_TRUE(late.mark_done("x"));
}

}  // namespace
}  // namespace sidecar::e2e
