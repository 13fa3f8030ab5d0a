// What a copy is when all goes well: contents, pieces, events, several at once, and its cache.
#include "core/cuda_copier.h"

#include <algorithm>

#include "tests/core/cuda_copier_fixture.h"

namespace sidecar {
namespace {

TEST_F(CudaCopierTest, BringsEveryByteFromOneToManyPieces) {
  const auto content = pattern(10 * kPiece);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, content);
  Token token = 0;
  for (const std::size_t bytes : {1ul, 2ul, 999ul, 1000ul, 1001ul, 2000ul, 9999ul, 10000ul}) {
    for (const std::size_t offset : {0ul, 1ul, 500ul}) {
      if (offset + bytes > content.size()) continue;
      std::vector<std::byte> into(bytes + 2, std::byte{0xEE});
      ASSERT_TRUE(copy_all(cuda_.source(0, memory, offset), Bytes(into).subspan(1, bytes), ++token));
      EXPECT_TRUE(std::equal(into.begin() + 1, into.end() - 1, content.begin() + static_cast<long>(offset)));
      EXPECT_EQ(into.front(), std::byte{0xEE});
      EXPECT_EQ(into.back(), std::byte{0xEE});
    }
  }
}

TEST_F(CudaCopierTest, NoBytesAreThereAtOnceAndOpenNothing) {
  DeviceSource source;
  source.has_event = true;
  EXPECT_TRUE(copy_all(source, {}, 1));
  EXPECT_EQ(reports_.reports.at(1).counts, std::vector<std::uint64_t>{0});
  EXPECT_EQ(cuda_.calls(), 0u);
}

TEST_F(CudaCopierTest, NeverBeginsBeforeTheProducersEvent) {
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(3 * kPiece));
  const CudaIpcHandle event = cuda_.foreign_event(0);
  DeviceSource source = cuda_.source(0, memory);
  source.event = event;
  source.has_event = true;
  std::vector<std::byte> into(3 * kPiece, std::byte{0});
  copy(source, into, 1);
  ASSERT_TRUE(wait_until([&] { return cuda_.calls("event_done") > 3; }));
  EXPECT_EQ(cuda_.calls("copy_to_host"), 0u);
  EXPECT_TRUE(reports_.reports.empty());
  cuda_.finish(event);
  ASSERT_TRUE(wait_for(1, into.size()));
  EXPECT_EQ(into, pattern(3 * kPiece));
  EXPECT_EQ(cuda_.calls("open_event"), 1u);
}

TEST_F(CudaCopierTest, AProducerThatIsSlowHoldsUpNobodyElse) {
  const auto content = pattern(2 * kPiece);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, content);
  DeviceSource slow = cuda_.source(0, memory);
  slow.event = cuda_.foreign_event(0);
  slow.has_event = true;
  std::vector<std::byte> late(2 * kPiece);
  std::vector<std::byte> soon(2 * kPiece);
  copy(slow, late, 1);
  EXPECT_TRUE(copy_all(cuda_.source(0, memory), soon, 2));
  EXPECT_EQ(soon, content);
  EXPECT_EQ(reports_.reports.count(1), 0u);
  cuda_.finish(slow.event);
  ASSERT_TRUE(wait_for(1, late.size()));
  EXPECT_EQ(late, content);
}

TEST_F(CudaCopierTest, TellsOfEachPieceAsItComes) {
  cuda_.set_automatic(false);
  const auto content = pattern(4 * kPiece + 17);
  const CudaIpcHandle memory = cuda_.foreign_memory(1, content);
  std::vector<std::byte> into(content.size());
  copy(cuda_.source(1, memory), into, 7);
  for (std::uint64_t piece = 1; piece <= 5; ++piece) {
    ASSERT_TRUE(wait_until([&] { return cuda_.queued(1) >= 2; }));
    cuda_.run(1, 1);  // the copy without its event: nobody may believe it yet
    wait_a_while();
    ASSERT_EQ(reports_.count(7), (piece - 1) * kPiece);
    cuda_.run(1, 1);
    const std::uint64_t there = std::min<std::uint64_t>(piece * kPiece, content.size());
    ASSERT_TRUE(wait_until([&] { return reports_.count(7) == there; }));
    EXPECT_TRUE(std::equal(into.begin(), into.begin() + static_cast<long>(there), content.begin()));
  }
  EXPECT_EQ(reports_.reports.at(7).counts.size(), 5u);
}

TEST_F(CudaCopierTest, GivesAGpuOnlyAFewPiecesAtATime) {
  start({.pieces_max = 2});
  cuda_.set_automatic(false);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(10 * kPiece));
  std::vector<std::byte> into(10 * kPiece);
  copy(cuda_.source(0, memory), into, 1);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4; }));  // each with its event
  wait_a_while();
  EXPECT_EQ(cuda_.queued(0), 4u);
  cuda_.set_automatic(true);
  cuda_.run(0, 100);
  EXPECT_TRUE(wait_for(1, into.size()));
}

TEST_F(CudaCopierTest, ASmallCopyDoesNotWaitForALargeOneToEnd) {
  start({.pieces_max = 2});
  cuda_.set_automatic(false);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(50 * kPiece));
  std::vector<std::byte> large(50 * kPiece);
  std::vector<std::byte> small(10);
  copy(cuda_.source(0, memory), large, 1);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4; }));
  copy(cuda_.source(0, memory), small, 2);
  wait_a_while();  // it is in the queue now
  const auto small_is_there = [&] { return reports_.over(2, small.size()); };
  for (int turns = 0; turns < 6 && !small_is_there(); ++turns) {
    ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) >= 2 || small_is_there(); }));
    cuda_.run(0, 2);
    wait_a_while();
  }
  EXPECT_TRUE(small_is_there());
  EXPECT_LT(reports_.count(1), large.size() / 2);
  cuda_.set_automatic(true);
  cuda_.run(0, 100);
  EXPECT_TRUE(wait_for(1, large.size()));
}

TEST_F(CudaCopierTest, CopiesFromSeveralGpusAtOnceEachOnItsOwn) {
  cuda_.set_automatic(false);
  std::vector<std::vector<std::byte>> into(3, std::vector<std::byte>(2 * kPiece));
  for (int device = 0; device < 3; ++device) {
    const auto content = pattern(2 * kPiece, static_cast<unsigned>(device));
    const CudaIpcHandle memory = cuda_.foreign_memory(device, content);
    copy(cuda_.source(device, memory), into[static_cast<std::size_t>(device)], static_cast<Token>(device));
  }
  ASSERT_TRUE(
      wait_until([&] { return cuda_.queued(0) == 4 && cuda_.queued(1) == 4 && cuda_.queued(2) == 4; }));
  // In an order of the test's choice, and one of them not yet.
  cuda_.run(2, 4);
  ASSERT_TRUE(wait_for(2, 2 * kPiece));
  cuda_.run(0, 4);
  ASSERT_TRUE(wait_for(0, 2 * kPiece));
  EXPECT_EQ(reports_.count(1), 0u);
  cuda_.run(1, 4);
  ASSERT_TRUE(wait_for(1, 2 * kPiece));
  for (unsigned device = 0; device < 3; ++device) EXPECT_EQ(into[device], pattern(2 * kPiece, device));
  EXPECT_EQ(cuda_.live().streams, 3u);
}

TEST_F(CudaCopierTest, TwoShardsOfOneGpuComeFromTheSameMemory) {
  const auto content = pattern(4 * kPiece);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, content);
  std::vector<std::byte> into(4 * kPiece);
  copy(cuda_.source(0, memory, 0), Bytes(into).first(2 * kPiece), 1);
  copy(cuda_.source(0, memory, 2 * kPiece), Bytes(into).last(2 * kPiece), 2);
  ASSERT_TRUE(wait_for(1, 2 * kPiece));
  ASSERT_TRUE(wait_for(2, 2 * kPiece));
  EXPECT_EQ(into, content);
  EXPECT_EQ(cuda_.calls("open_memory"), 1u);
}

TEST_F(CudaCopierTest, ManySmallCopiesAllComeAndUseFewEvents) {
  const auto content = pattern(kPiece);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, content);
  constexpr std::size_t kCopies = 5000;
  std::vector<std::byte> into(kCopies);
  for (std::size_t i = 0; i < kCopies; ++i) {
    copy(cuda_.source(0, memory, i % kPiece), Bytes(into).subspan(i, 1), i);
  }
  ASSERT_TRUE(wait_until([&] { return reports_.reports.size() == kCopies; }));
  for (std::size_t i = 0; i < kCopies; ++i) ASSERT_EQ(into[i], content[i % kPiece]);
  EXPECT_LE(cuda_.calls("create_event"), CudaCopierOptions{}.pieces_max);
  EXPECT_EQ(cuda_.calls("create_stream"), 1u);
}

TEST_F(CudaCopierTest, KeepsMemoryOpenAndClosesTheLeastRecentlyUsed) {
  start({.open_max = 2});
  std::vector<CudaIpcHandle> memory;
  for (unsigned i = 0; i < 3; ++i) memory.push_back(cuda_.foreign_memory(0, pattern(10, i)));
  std::vector<std::byte> into(10);
  Token token = 0;
  const auto use = [&](std::size_t which) {
    ASSERT_TRUE(copy_all(cuda_.source(0, memory[which]), into, ++token));
    EXPECT_EQ(into, pattern(10, static_cast<unsigned>(which)));
  };
  use(0);
  use(1);
  use(0);
  EXPECT_EQ(cuda_.calls("open_memory"), 2u) << "the second use of 0 opened nothing";
  use(2);  // closes 1
  use(0);
  EXPECT_EQ(cuda_.calls("open_memory"), 3u);
  use(1);
  EXPECT_EQ(cuda_.calls("open_memory"), 4u);
  EXPECT_EQ(cuda_.most_open(), 2u);
}

TEST_F(CudaCopierTest, NeverClosesWhatIsInUseAndOthersWaitForRoom) {
  start({.pieces_max = 8, .open_max = 2});
  cuda_.set_automatic(false);
  std::vector<std::vector<std::byte>> into(4, std::vector<std::byte>(10));
  for (unsigned i = 0; i < 4; ++i) {
    copy(cuda_.source(0, cuda_.foreign_memory(0, pattern(10, i))), into[i], i);
  }
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4; }));
  wait_a_while();
  EXPECT_EQ(cuda_.queued(0), 4u) << "two are open, and two wait";
  EXPECT_EQ(cuda_.live().memory, 2u);
  for (unsigned i = 0; i < 4; ++i) {
    ASSERT_TRUE(wait_until([&] { return cuda_.run(0, 2) > 0; }));
    ASSERT_TRUE(wait_for(i, 10));
    EXPECT_EQ(into[i], pattern(10, i));
  }
  EXPECT_EQ(cuda_.most_open(), 2u);
}

TEST_F(CudaCopierTest, MemoryThatWasFreedAndAllocatedAgainIsOpenedAgain) {
  std::vector<std::byte> into(10);
  const CudaIpcHandle first = cuda_.foreign_memory(0, pattern(10, 1));
  ASSERT_TRUE(copy_all(cuda_.source(0, first), into, 1));
  const CudaIpcHandle second = cuda_.foreign_memory_instead(first, pattern(10, 2));
  ASSERT_TRUE(copy_all(cuda_.source(0, second), into, 2));
  EXPECT_EQ(into, pattern(10, 2));
  // And while the old one is still being read it waits.
  cuda_.set_automatic(false);
  std::vector<std::byte> other(10);
  const CudaIpcHandle third = cuda_.foreign_memory_instead(second, pattern(10, 3));
  copy(cuda_.source(0, second), into, 3);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 2; }));
  copy(cuda_.source(0, third), other, 4);
  wait_a_while();
  EXPECT_EQ(cuda_.queued(0), 2u);
  cuda_.set_automatic(true);
  cuda_.run(0, 2);
  ASSERT_TRUE(wait_for(3, 10));
  ASSERT_TRUE(wait_for(4, 10));
  EXPECT_EQ(other, pattern(10, 3));
  EXPECT_EQ(reports_.errors, 0u);
}

TEST_F(CudaCopierTest, GivesBackMemoryThatNobodyUsesForAWhile) {
  start({.idle_close = 20 * kMillisecond});
  std::vector<std::byte> into(10);
  ASSERT_TRUE(copy_all(cuda_.source(0, cuda_.foreign_memory(0, pattern(10))), into, 1));
  ASSERT_TRUE(copy_all(cuda_.source(1, cuda_.foreign_memory(1, pattern(10))), into, 2));
  EXPECT_TRUE(wait_until([&] { return cuda_.live().memory == 0; }));
}

}  // namespace
}  // namespace sidecar
