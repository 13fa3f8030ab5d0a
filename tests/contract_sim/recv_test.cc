// What `recv` and `mark_done` promise.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class ContractRecv : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  void send_ok(const std::string& id, ChunkIndex chunk = 0, ChunkIndex num_chunks = 1,
               std::uint64_t bytes = 2'000) {
    EXPECT_THAT(send(*producer_,
                     {.id = id, .chunk = chunk, .num_chunks = num_chunks, .bytes = bytes, .to = each({1})}),
                IsOk());
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};
using ContractMarkDone = ContractRecv;

TEST_F(ContractRecv, WaitsForTheArrival) {
  const RequestId request = consumer_->recv("x");
  expect_waits(*consumer_, request, 30 * kSecond);
  send_ok("x");
  EXPECT_THAT(wait(*consumer_, request), IsOk());
}

TEST_F(ContractRecv, FindsWhatCameBefore) {
  send_ok("x");
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, 0)), IsOk());
}

TEST_F(ContractRecv, IsIdempotentAndEveryProcessSeesTheSameMemory) {
  NEEDS_MAPPED_ARENAS();
  const RequestId early = consumer_->recv("x");
  send_ok("x");
  const Outcome& first = wait(*consumer_, early);
  for (int i = 0; i < 3; ++i) {
    SimClient& other = client(1);
    for (int again = 0; again < 2; ++again) {
      const Outcome& got = recv(other, "x");
      EXPECT_THAT(got, IsOk());
      EXPECT_EQ(got.reply.arena.instance, first.reply.arena.instance);
      EXPECT_EQ(got.reply.offset, first.reply.offset);
    }
  }
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
  EXPECT_EQ(sidecar(1).stats().views, 4u);
}

TEST_F(ContractRecv, AChunkPastTheEndIsTheEndOfTheStreamAndNoError) {
  send_ok("x", 0, 2);
  EXPECT_THAT(recv(*consumer_, "x", 2), IsError(Errc::kEndOfStream));
  EXPECT_THAT(recv(*consumer_, "x", 4'000'000'000), IsError(Errc::kEndOfStream));
  send_ok("x", 1, 2);
  for (const ChunkIndex chunk : {0, 1}) {
    recv(*consumer_, "x", chunk);
    done(*consumer_, "x", chunk);
  }
  EXPECT_THAT(recv(*consumer_, "x", 2), IsError(Errc::kEndOfStream)) << "also when all of it is done";
}

TEST_F(ContractRecv, SomeoneWhoWaitsPastTheEndIsToldWhenTheEndIsKnown) {
  const RequestId request = consumer_->recv("x", 3);
  expect_waits(*consumer_, request);
  send_ok("x", 0, 3);
  EXPECT_THAT(wait(*consumer_, request), IsError(Errc::kEndOfStream));
  leaves_data(1);
}

TEST_F(ContractRecv, ChunksMayBeTakenInAnyOrder) {
  for (const ChunkIndex chunk : {4, 1, 3, 0, 2}) send_ok("x", chunk, 5, 100 * (chunk + 1));
  for (const ChunkIndex chunk : {2, 0, 4, 3, 1}) {
    const Outcome& got = recv(*consumer_, "x", chunk);
    EXPECT_THAT(got, IsOk());
    EXPECT_EQ(got.reply.meta.chunk, chunk);
    EXPECT_EQ(got.reply.meta.bytes, 100 * (chunk + 1));
  }
}

TEST_F(ContractRecv, AfterMarkDoneItIsAlreadyDoneAtOnce) {
  send_ok("x", 0, 2);
  recv(*consumer_, "x", 0);
  done(*consumer_, "x", 0);
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0), kSecond), IsError(Errc::kAlreadyDone));
  send_ok("x", 1, 2);
  recv(*consumer_, "x", 1);
  done(*consumer_, "x", 1);
  for (const ChunkIndex chunk : {0, 1}) {
    EXPECT_THAT(wait(*consumer_, consumer_->recv("x", chunk), kSecond), IsError(Errc::kAlreadyDone));
  }
}

TEST_F(ContractRecv, WhoWaitsIsToldWhenAnotherMarksItDone) {
  const RequestId request = consumer_->recv("x");
  expect_waits(*consumer_, request, kSecond);
  SimClient& other = client(1);
  done(other, "x");
  EXPECT_THAT(wait(*consumer_, request, kSecond), IsError(Errc::kAlreadyDone));
  send_ok("x");
}

TEST_F(ContractRecv, TheDeadlineEndsTheWaitAndNothingElse) {
  const TimeNs asked = world_.now();
  const RequestId brief = consumer_->recv("x", 0, 500 * kMillisecond);
  const RequestId patient = consumer_->recv("x", 0, 100 * kSecond);
  const Outcome& outcome = wait(*consumer_, brief);
  EXPECT_THAT(outcome, IsError(Errc::kTimeout));
  EXPECT_GE(outcome.at - asked, 500 * kMillisecond);
  EXPECT_LE(outcome.at - asked, 510 * kMillisecond);
  send_ok("x");
  EXPECT_THAT(wait(*consumer_, patient), IsOk());
}

TEST_F(ContractRecv, ADeadlineOfZeroAnswersAtOnce) {
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, 0), 10 * kMillisecond), IsError(Errc::kTimeout));
  settle();
  EXPECT_EQ(sidecar(1).stats().data, 0u) << "nothing is remembered of it";
}

TEST_F(ContractRecv, CancelEndsTheOneWaitAndNothingLeaks) {
  const RequestId one = consumer_->recv("x");
  const RequestId two = consumer_->recv("x");
  settle();
  consumer_->cancel(one);
  EXPECT_THAT(wait(*consumer_, one, kSecond), IsError(Errc::kCancelled));
  expect_waits(*consumer_, two);
  consumer_->cancel(two);
  EXPECT_THAT(wait(*consumer_, two, kSecond), IsError(Errc::kCancelled));
  consumer_->cancel(two);    // over already
  consumer_->cancel(12345);  // never was
  settle();
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_EQ(sidecar(1).stats().chunks, 0u);
}

TEST_F(ContractRecv, AClientThatCannotMapGetsTheBytesFromItsOwnSidecar) {
  for (const std::uint64_t bytes : {1ul, 5'000ul, 65'536ul, 200'000ul}) {
    const std::string id = "chunk of " + std::to_string(bytes);
    send_ok(id, 0, 1, bytes);
    const Outcome& got = wait(*consumer_, consumer_->recv(id, 0, kSecond, true));
    EXPECT_THAT(got, IsOk());
    EXPECT_EQ(got.reply.where, Where::kPayload);
    EXPECT_TRUE(got.salt) << "the right bytes";
    EXPECT_THAT(done(*consumer_, id), IsOk());
    settle();
    EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  }
}

TEST_F(ContractRecv, ManyCopiesForClientsThatCannotMapAreAllRight) {
  const std::uint64_t bytes = 60'000;
  send_ok("x", 0, 1, bytes);
  std::vector<RequestId> requests;
  for (int i = 0; i < 200; ++i) requests.push_back(consumer_->recv("x", 0, kSecond, true));
  for (const RequestId request : requests) EXPECT_THAT(wait(*consumer_, request), IsOk());
}

// --- mark_done
// ---------------------------------------------------------------------------------------------------------------

TEST_F(ContractMarkDone, FreesTheMemory) {
  send_ok("x", 0, 1, 10'000);
  EXPECT_EQ(sidecar(1).stats().receive.runs, 1u);
  recv(*consumer_, "x");
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
  EXPECT_EQ(sidecar(1).stats().tombstones, 1u);
}

TEST_F(ContractMarkDone, IsIdempotentBeforeAndAfterTheDatumIsOver) {
  send_ok("x", 0, 2);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(done(*consumer_, "x", 0), IsOk());
  send_ok("x", 1, 2);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(done(*consumer_, "x", 1), IsOk());
  for (int i = 0; i < 3; ++i) EXPECT_THAT(done(*consumer_, "x", 0), IsOk());
  EXPECT_EQ(sidecar(1).stats().counters.dones, 2u);
}

TEST_F(ContractMarkDone, ChunksMayBeDoneInAnyOrder) {
  const ChunkIndex count = 8;
  for (ChunkIndex chunk = 0; chunk < count; ++chunk) send_ok("x", chunk, count, 1'000);
  std::uint64_t left = count;
  for (const ChunkIndex chunk : {7, 0, 3, 5, 1, 6, 2, 4}) {
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
    EXPECT_EQ(sidecar(1).stats().receive.runs, --left);
  }
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(ContractMarkDone, DataIsHeldUntilThen) {
  send_ok("x");
  world_.run_for(3600 * kSecond);
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, 0)), IsOk());
}

TEST_F(ContractMarkDone, WhileTheBytesAreOnTheirWayDropsThemAndAcknowledges) {
  world_.conditions().bytes_per_ns = 0.0001;  // 100 kB take a second
  const RequestId sent = producer_->send({.id = "x", .bytes = 100'000, .to = each({1})});
  ASSERT_TRUE(world_.run_until([&] { return sidecar(1).stats().receive.runs == 1; }, 10 * kSecond));
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  EXPECT_THAT(recv(*consumer_, "x"), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(wait(*producer_, sent), IsOk());
  settle();
  EXPECT_EQ(sidecar(1).stats().receive.runs, 0u);
}

TEST_F(ContractMarkDone, WhileTheBytesWaitForRoomDropsThemAndAcknowledges) {
  SidecarSpec small{.rank = 2, .node = "c", .arena_bytes = 64 * kKiB};
  add(small);
  SimClient& consumer = client(2);
  EXPECT_THAT(send(*producer_, {.id = "filler", .bytes = 20'000, .to = each({2})}), IsOk());
  const RequestId parked = producer_->send({.id = "x", .bytes = 20'000, .to = each({2})});
  expect_waits(*producer_, parked);
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 1u);
  EXPECT_THAT(done(consumer, "x"), IsOk());
  EXPECT_THAT(wait(*producer_, parked), IsOk());
  EXPECT_EQ(sidecar(2).stats().parked_chunks, 0u);
}

}  // namespace
}  // namespace sidecar::sim
