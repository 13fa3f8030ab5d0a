// The defects that comparable services were found to have, each shown between real processes not to be here.
// R4 and R5 are in stream_test.cc, R8 in send_recv_test.cc, R12, C4 and C6 in quota_test.cc, C3 in
// leave_test.cc.
#include <signal.h>

#include <thread>

#include "tests/e2e/paths_fixture.h"

namespace sidecar::e2e {
namespace {

class Regressions : public BothPaths {
 protected:
  Regressions() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M", .flags = {"--peer-timeout", "2s"}}) {}

  [[nodiscard]] Groups to() const { return {{consumer()}}; }
  Expected<void> send(std::string_view id, std::size_t bytes, ChunkIndex chunk = 0,
                      ChunkIndex num_chunks = 1) {
    const auto data = contents(id, chunk, bytes);
    return producer_.send(tensor_of(data), id, to(), chunk, num_chunks);
  }
  void send_ok(std::string_view id, std::size_t bytes, ChunkIndex chunk = 0, ChunkIndex num_chunks = 1) {
    const auto sent = send(id, bytes, chunk, num_chunks);
    ASSERT_TRUE(sent) << id << ": " << to_string(sent.error());
  }
  [[nodiscard]] std::uint64_t counter(Rank rank, const std::string& name) const {
    return cluster_.counter(rank, name);
  }
  // The memory that a consumer's data lie in, at the sidecar that owns it.
  [[nodiscard]] std::uint64_t bytes_held() const {
    if (GetParam() == Path::kSameNode) return cluster_.status(0).memory[0].used_bytes;
    return cluster_.status(consumer()).memory[1].used_bytes;
  }

  Client producer_ = cluster_.client(0);
  Client consumer_ = cluster_.client(consumer());
};

using RegressionR1 = Regressions;
using RegressionR1b = Regressions;
using RegressionR2 = Regressions;
using RegressionR3 = Regressions;
using RegressionR6 = Regressions;
using RegressionR7 = Regressions;
using RegressionR9 = Regressions;
using RegressionC5 = Regressions;
using RegressionC8 = Regressions;
SIDECAR_BOTH_PATHS(RegressionR1);
SIDECAR_BOTH_PATHS(RegressionR1b);
SIDECAR_BOTH_PATHS(RegressionR2);
SIDECAR_BOTH_PATHS(RegressionR3);
SIDECAR_BOTH_PATHS(RegressionR6);
SIDECAR_BOTH_PATHS(RegressionR7);
SIDECAR_BOTH_PATHS(RegressionR9);
SIDECAR_BOTH_PATHS(RegressionC5);
SIDECAR_BOTH_PATHS(RegressionC8);

constexpr std::size_t kBytes = 500'000;

TEST_P(RegressionR1, MarkDoneTwiceDoesNotFreeWhatLiesThereNow) {
  send_ok("x", kBytes, 0, 2);
  ASSERT_TRUE(consumer_.mark_done("x", 0));
  ASSERT_TRUE(cluster_.becomes_empty(0));  // so that the next one gets the same slots
  send_ok("y", kBytes);
  const auto view = consumer_.recv("y");
  ASSERT_TRUE(view);
  ASSERT_TRUE(consumer_.mark_done("x", 0)) << "the second time";
  for (int i = 0; i < 5; ++i) send_ok("z" + std::to_string(i), kBytes);  // would land on y
  EXPECT_TRUE(matches(view->bytes(), "y", 0));
  EXPECT_TRUE(matches(consumer_.recv("y").value().bytes(), "y", 0));
  for (int i = 0; i < 5; ++i) {
    const std::string id = "z" + std::to_string(i);
    EXPECT_TRUE(matches(consumer_.recv(id).value().bytes(), id, 0));
    EXPECT_TRUE(consumer_.mark_done(id));
  }
  EXPECT_TRUE(consumer_.mark_done("y"));
  EXPECT_TRUE(consumer_.mark_done("x", 1));
}

TEST_P(RegressionR1b, RecvAfterMarkDoneNeverShowsFreedMemory) {
  send_ok("x", kBytes, 0, 2);
  ASSERT_TRUE(consumer_.recv("x", 0));
  ASSERT_TRUE(consumer_.mark_done("x", 0));
  Client other = cluster_.client(consumer());
  for (Client* client : {&consumer_, &other}) {
    const auto again = client->recv("x", 0, seconds(5));
    EXPECT_EQ(again.code(), Errc::kAlreadyDone);
  }
  EXPECT_TRUE(consumer_.mark_done("x", 1));
}

TEST_P(RegressionR2, TheLastChunkDoneFirstLeavesTheOthersReadableAndFreesEverything) {
  for (ChunkIndex chunk = 0; chunk < 4; ++chunk) send_ok("x", kBytes, chunk, 4);
  const std::uint64_t all = bytes_held();
  ASSERT_TRUE(consumer_.mark_done("x", 3));
  for (ChunkIndex chunk = 0; chunk < 3; ++chunk) {
    const auto view = consumer_.recv("x", chunk, seconds(5));
    ASSERT_TRUE(view) << chunk << ": " << to_string(view.error());
    EXPECT_TRUE(matches(view->bytes(), "x", chunk)) << chunk;
    EXPECT_TRUE(consumer_.mark_done("x", chunk));
  }
  EXPECT_GE(all, 4 * kBytes);
  EXPECT_TRUE(cluster_.becomes_empty(consumer()));
  EXPECT_EQ(counter(consumer(), "data"), 0u);
}

TEST_P(RegressionR3, RecvOfAFinishedIdAnswersAtOnceAndLeavesNoPlaceholder) {
  send_ok("x", kBytes);
  ASSERT_TRUE(consumer_.mark_done("x"));
  for (int i = 0; i < 20; ++i) {
    auto done = consumer_.recv_async("x", 0, kForever);
    auto past = consumer_.recv_async("x", 1, kForever);
    ASSERT_TRUE(done.wait(seconds(10)));
    ASSERT_TRUE(past.wait(seconds(10)));
    EXPECT_EQ(done.get().code(), Errc::kAlreadyDone);
    EXPECT_TRUE(past.get().value().end_of_stream());
  }
  EXPECT_EQ(counter(consumer(), "data"), 0u);
  EXPECT_EQ(cluster_.counter(consumer(), "chunks"), 0u);
}

TEST_P(RegressionR6, ASizeThatIsNoMultipleOfTheReceiversSlotArrivesForEveryReader) {
  ClientOptions odd;
  odd.recv_unit_bytes = 7168;
  Client reader = cluster_.client(consumer(), odd);
  for (const std::size_t bytes : {1u, 7167u, 7169u, 99'991u, 700'001u}) {
    const std::string id = "x" + std::to_string(bytes);
    auto waiting = consumer_.recv_async(id);
    send_ok(id, bytes);
    EXPECT_TRUE(matches(reader.recv(id, 0, seconds(10)).value().bytes(), id, 0)) << bytes;
    EXPECT_TRUE(matches(waiting.get().value().bytes(), id, 0)) << bytes;
    EXPECT_TRUE(reader.mark_done(id));
  }
}

TEST_P(RegressionR7, ADuplicateSendLeaksNoBufferAtEitherEnd) {
  send_ok("x", kBytes);
  const std::uint64_t first = bytes_held();
  for (int i = 0; i < 60; ++i) {  // 30 MB: a leak of each would not fit
    EXPECT_EQ(send("x", kBytes).code(), Errc::kAlreadyExists);
  }
  EXPECT_EQ(bytes_held(), first);
  EXPECT_TRUE(matches(consumer_.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(consumer_.mark_done("x"));
}

TEST_P(RegressionR9, ADestinationThatFailsLeaksNoSlot) {
  const Rank other = consumer() == 1 ? 2 : 1;
  cluster_.kill(consumer());
  Client receiver = cluster_.client(other);
  for (int i = 0; i < 2; ++i) {
    const std::string id = "x" + std::to_string(i);
    const auto data = contents(id, 0, 5 << 20);
    const auto sent = producer_.send(tensor_of(data), id, {{1}, {2}}, 0, 1, {.deadline = seconds(15)});
    ASSERT_FALSE(sent);
    ASSERT_EQ(sent.error().failed.size(), 1u) << to_string(sent.error());
    EXPECT_EQ(sent.error().failed[0].rank, consumer());
    EXPECT_TRUE(matches(receiver.recv(id).value().bytes(), id, 0));
    EXPECT_TRUE(receiver.mark_done(id));
    EXPECT_TRUE(cluster_.becomes_empty(0)) << "round " << i;
  }
}

TEST_P(RegressionC5, ATransferThatCannotComeDoesNotLeaveItsReadersHanging) {
  Client second = cluster_.client(consumer());
  send_ok("x", kBytes, 0, 2);  // so that it is known whose loss it would be
  std::vector<Future<View>> readers;
  for (int i = 0; i < 5; ++i) {
    readers.push_back(consumer_.recv_async("x", 1, kForever));
    readers.push_back(second.recv_async("x", 1, kForever));
  }
  cluster_.kill(0);
  for (auto& reader : readers) {
    ASSERT_TRUE(reader.wait(seconds(20))) << "hangs";
    const auto lost = reader.get();
    EXPECT_EQ(lost.code(), Errc::kPeerLost);
    EXPECT_EQ(lost.error().rank, 0);
  }
  for (const ChunkIndex chunk : {0u, 1u}) EXPECT_TRUE(consumer_.mark_done("x", chunk));
}

TEST_P(RegressionC8, TheCallerLearnsOfErrorsOfBackPressureAndOfTime) {
  const auto data = contents("x", 0, 5 << 20);
  EXPECT_EQ(producer_.send(tensor_of(data), "x", {{77}}).code(), Errc::kInvalidArgument);
  // Back-pressure: what the arena cannot take is not captured.
  auto all = producer_.allocate({12 << 20}, Dtype::kU8);
  ASSERT_TRUE(all) << to_string(all.error());
  SendHandle pressed = producer_.send_async(tensor_of(data), "x", to());
  EXPECT_FALSE(pressed.captured.wait(milliseconds(300)));
  EXPECT_TRUE(cluster_.status(0).memory_pressure);
  *all = Buffer();
  EXPECT_TRUE(pressed.captured.get());
  EXPECT_TRUE(pressed.delivered.get());
  // Time: a destination that does not answer ends the call, and the error names it.
  cluster_.process(consumer()).signal(SIGSTOP);
  const auto late = contents("late", 0, 100'000);
  const auto sent = producer_.send(tensor_of(late), "late", to(), 0, 1, {.deadline = milliseconds(500)});
  cluster_.process(consumer()).signal(SIGCONT);
  EXPECT_EQ(sent.code(), Errc::kTimeout);
  EXPECT_EQ(sent.error().rank, consumer());
  EXPECT_TRUE(consumer_.mark_done("x"));
  EXPECT_TRUE(consumer_.mark_done("late")) << "whether it came or not";
}

}  // namespace
}  // namespace sidecar::e2e
