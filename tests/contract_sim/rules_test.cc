// Rules of which the other files show only a part: 3 (what an operator sees), 5, 7 and 16.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

using Rule03MarkDoneAndViews = Cluster;
using Rule05ViewsAreReadOnly = Faults;
using Rule07Tombstones = Faults;
using ContractCancel = Faults;
using Rule16ObjectBounds = Faults;

std::uint32_t holders_of(SimSidecar& at, const std::string& state) {
  std::uint32_t holders = 0;
  for (const ChunkInfo& chunk : at.engine().chunks(0, 100)) {
    if (chunk.state == state) holders += chunk.holders;
  }
  return holders;
}

TEST_F(Rule03MarkDoneAndViews, ChunksShowsWhoLooksBeforeAndAfterMarkDone) {
  NEEDS_MAPPED_ARENAS();
  add(0, "a");
  add(1, "b");
  EXPECT_THAT(send(client(0), {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk());
  SimClient& first = client(1);
  SimClient& second = client(1);
  EXPECT_EQ(holders_of(sidecar(1), "ready"), 0u);
  recv(first, "x");
  recv(first, "x");
  recv(second, "x");
  EXPECT_EQ(holders_of(sidecar(1), "ready"), 2u) << "processes, not calls";
  EXPECT_THAT(done(client(1), "x"), IsOk());
  EXPECT_EQ(holders_of(sidecar(1), "ready"), 0u);
  EXPECT_EQ(holders_of(sidecar(1), "held"), 2u) << "hidden, and still looked at";
  first.release_all_views();
  settle();
  EXPECT_EQ(holders_of(sidecar(1), "held"), 1u);
  second.release_all_views();
  settle();
  EXPECT_EQ(sidecar(1).engine().chunks(0, 100).size(), 0u);
}

// The client library maps what it reads without the right to write; what is left to the engine is that memory
// which was sent is nobody's to write to any more.
TEST_F(Rule05ViewsAreReadOnly, AnAllocationIsNotItsClientsAnyMoreOnceItWasSent) {
  NEEDS_MAPPED_ARENAS();
  SimClient& sender = client(0);
  const std::uint64_t slot = allocate(sender, 50'000);
  const SendSpec spec{.id = "x", .bytes = 50'000, .to = each({1, 2}), .source = Source::kSlot, .slot = slot};
  EXPECT_THAT(send(sender, spec), IsOk());
  Release again;
  again.slots = 1;
  again.slot[0] = slot;
  sender.raw(again, 1'000'000);
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u) << "rank 2 looks at it";
  EXPECT_NE(allocate(sender, 50'000), slot) << "and nobody else gets it";
  EXPECT_THAT(recv(client(2), "x"), IsOk());
  SendSpec other = spec;
  other.id = "y";
  EXPECT_THAT(send(sender, other), IsError(Errc::kInvalidArgument));
  world_.kill(sender);  // with its second allocation
}

TEST_F(Rule05ViewsAreReadOnly, EveryReaderIsToldOfOneAndTheSameMemory) {
  EXPECT_THAT(wait(*producer_, start("x", 50'000, each({1, 2}))), IsOk());
  for (const Rank rank : {1, 2}) {
    const Outcome& first = recv(client(rank), "x");
    const Outcome& second = recv(client(rank), "x");
    EXPECT_EQ(first.reply.arena.instance, second.reply.arena.instance);
    EXPECT_EQ(first.reply.offset, second.reply.offset);
  }
}

TEST_F(Rule07Tombstones, OneForEachDatumWhateverItsChunks) {
  for (ChunkIndex chunk = 0; chunk < 50; ++chunk) {
    EXPECT_THAT(wait(*producer_, start("x", 200, each({1}), chunk, 50)), IsOk());
    EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
  }
  EXPECT_EQ(sidecar(1).stats().tombstones, 1u);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

TEST_F(Rule07Tombstones, IsKeptBeyondItsTimeWhileThereIsRoom) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  EXPECT_THAT(done(*consumer_, "x"), IsOk());
  world_.run_for(10 * kTombstoneNs);
  EXPECT_THAT(wait(*producer_, start("y", 5'000, each({1}))), IsOk());
  EXPECT_THAT(done(*consumer_, "y"), IsOk());
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, 0)), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsError(Errc::kAlreadyExists));
}

// Payloads travel beside control messages and may come later. What was given up by then must not wait for
// room.
TEST_F(ContractCancel, AWithdrawThatOvertakesItsChunkEndsTheTransferAllTheSame) {
  EXPECT_THAT(wait(*producer_, start("filler", 440'000, each({1}))), IsOk());
  for (const std::uint64_t bytes : {30'000ul, 200'000ul}) {  // eager, rendezvous
    world_.network().slow_bulk(sidecar(0), sidecar(1), 5 * kSecond);
    const RequestId request = start("x", bytes, each({1}));
    world_.run_for(100 * kMillisecond);
    producer_->cancel(request);
    EXPECT_THAT(wait(*producer_, request, kSecond), IsError(Errc::kCancelled));
    world_.run_for(10 * kSecond);
    world_.network().slow_bulk(sidecar(0), sidecar(1), 0);
    EXPECT_EQ(sidecar(1).stats().parked_chunks, 0u) << bytes;
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u) << bytes;
    EXPECT_EQ(sidecar(0).stats().send.runs, 0u) << bytes;
  }
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, 0)), IsError(Errc::kTimeout)) << "nobody has it";
  EXPECT_THAT(recv(*consumer_, "filler"), IsOk());
}

TEST_F(Rule16ObjectBounds, ASmallObjectRidesInTheHeaderAndALargerOneIsPayload) {
  for (const std::uint64_t bytes : {kInlineBytesMax, kInlineBytesMax + 1}) {
    const std::string id = "object of " + std::to_string(bytes);
    EXPECT_THAT(send(*producer_, {.id = id, .bytes = bytes, .to = each({1, 2}), .kind = ChunkKind::kObject}),
                IsOk());
    for (const Rank rank : {1, 2}) {
      const Outcome& got = recv(client(rank), id);
      EXPECT_THAT(got, IsOk());
      EXPECT_EQ(got.reply.where == Where::kInline, bytes <= kInlineBytesMax) << rank;
      EXPECT_TRUE(got.salt);
    }
  }
}

}  // namespace
}  // namespace sidecar::sim
