// What becomes of a copy when something fails: one error for it, nothing for the others, and nothing is left
// behind (FakeCuda's end checks that).
#include <gmock/gmock.h>

#include <set>
#include <thread>

#include "tests/core/cuda_copier_fixture.h"

namespace sidecar {
namespace {

TEST_F(CudaCopierTest, AGpuThatIsNotHereIsNotFound) {
  DeviceSource source;
  source.device.fill(std::byte{0x77});
  std::vector<std::byte> into(10);
  const Status status = copy_all(source, into, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kNotFound);
  EXPECT_EQ(cuda_.calls(), 0u);
}

TEST_F(CudaCopierTest, NeverReadsOutsideOfTheAllocation) {
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(100));
  std::vector<std::byte> into(60);
  Token token = 0;
  for (const std::uint64_t offset : {41ul, 100ul, 101ul, ~0ul, ~0ul - 30}) {
    const Status status = copy_all(cuda_.source(0, memory, offset), into, ++token);
    ASSERT_FALSE(status) << offset;
    EXPECT_EQ(status.error().code, Errc::kInvalidArgument);
  }
  EXPECT_EQ(cuda_.calls("copy_to_host"), 0u);
  EXPECT_TRUE(copy_all(cuda_.source(0, memory, 40), into, ++token));
}

TEST_F(CudaCopierTest, AProducerThatIsGoneBeforeItsMemoryIsOpenedIsOneError) {
  const CudaIpcHandle dead = cuda_.foreign_memory(0, pattern(10));
  const CudaIpcHandle alive = cuda_.foreign_memory(0, pattern(10));
  cuda_.kill_owner(dead);
  std::vector<std::byte> into(10);
  EXPECT_FALSE(copy_all(cuda_.source(0, dead), into, 1));
  EXPECT_TRUE(copy_all(cuda_.source(0, alive), into, 2));
  EXPECT_EQ(reports_.errors, 1u);
}

TEST_F(CudaCopierTest, AProducerThatDiesUnderACopyIsOneErrorAndItsMemoryIsClosed) {
  start({.pieces_max = 8});
  cuda_.set_automatic(false);
  const CudaIpcHandle dies = cuda_.foreign_memory(0, pattern(5 * kPiece));
  const CudaIpcHandle lives = cuda_.foreign_memory(0, pattern(kPiece));
  std::vector<std::byte> into(5 * kPiece);
  std::vector<std::byte> other(kPiece);
  copy(cuda_.source(0, dies), into, 1);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 10; }));
  cuda_.run(0, 2);
  ASSERT_TRUE(wait_until([&] { return reports_.count(1) == kPiece; }));
  cuda_.kill_owner(dies);
  copy(cuda_.source(0, lives), other, 2);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 10; }));
  cuda_.set_automatic(true);
  cuda_.run(0, 100);
  ASSERT_TRUE(wait_until([&] { return reports_.errors == 1; }));
  ASSERT_TRUE(wait_for(2, kPiece));
  EXPECT_EQ(other, pattern(kPiece));
  EXPECT_EQ(reports_.error(1), Errc::kIo);
  EXPECT_EQ(cuda_.live().memory, 1u) << "a dead process's GPU memory is given back at once";
}

TEST_F(CudaCopierTest, AProducerThatDiesBeforeItsEventIsOneError) {
  DeviceSource source = cuda_.source(0, cuda_.foreign_memory(0, pattern(10)));
  source.event = cuda_.foreign_event(0);
  source.has_event = true;
  std::vector<std::byte> into(10);
  copy(source, into, 1);
  ASSERT_TRUE(wait_until([&] { return cuda_.calls("event_done") > 0; }));
  cuda_.kill_owner(source.event);
  ASSERT_TRUE(wait_for(1, 10));
  EXPECT_EQ(reports_.error(1), Errc::kIo);
  EXPECT_EQ(cuda_.live().events, 0u);
}

TEST_F(CudaCopierTest, AnEventThatNeverComesEndsItsCopyInTheEnd) {
  start({.event_timeout = 20 * kMillisecond});
  DeviceSource source = cuda_.source(0, cuda_.foreign_memory(0, pattern(10)));
  source.event = cuda_.foreign_event(0);
  source.has_event = true;
  std::vector<std::byte> into(10);
  const Status status = copy_all(source, into, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Errc::kTimeout);
  EXPECT_EQ(cuda_.live().events, 0u);
}

TEST_F(CudaCopierTest, ACancelledCopyEndsSoonWhereverItIs) {
  start({.pieces_max = 2});
  cuda_.set_automatic(false);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(10 * kPiece));
  std::vector<std::vector<std::byte>> into(3, std::vector<std::byte>(10 * kPiece));
  DeviceSource waits = cuda_.source(0, memory);
  waits.event = cuda_.foreign_event(0);
  waits.has_event = true;
  copy(waits, into[0], 0);                    // waits for its event
  copy(cuda_.source(0, memory), into[1], 1);  // is under way
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4; }));
  copy(cuda_.source(0, memory), into[2], 2);  // waits for its turn
  for (const Token token : {0ul, 1ul, 2ul, 99ul}) copier_->cancel(token);
  ASSERT_TRUE(wait_for(0, 10 * kPiece));
  ASSERT_TRUE(wait_for(2, 10 * kPiece));
  EXPECT_EQ(reports_.error(0), Errc::kCancelled);
  EXPECT_EQ(reports_.error(2), Errc::kCancelled);
  wait_a_while();
  EXPECT_FALSE(reports_.over(1, 10 * kPiece)) << "its two pieces may still be written";
  cuda_.run(0, 100);
  ASSERT_TRUE(wait_for(1, 10 * kPiece));
  EXPECT_EQ(reports_.error(1), Errc::kCancelled);
  EXPECT_EQ(cuda_.queued(0), 0u) << "and no third one was begun";
  EXPECT_EQ(reports_.errors, 3u);
  copier_->cancel(1);  // over already
  wait_a_while();
  EXPECT_EQ(reports_.errors, 3u);
}

TEST_F(CudaCopierTest, MoreCopiesThanThereMayBeAreRefusedLater) {
  start({.copies_max = 2});
  cuda_.set_automatic(false);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(10));
  std::vector<std::byte> into(40);
  for (Token token = 0; token < 4; ++token) {
    copy(cuda_.source(0, memory), Bytes(into).subspan(token * 10, 10), token);
  }
  ASSERT_TRUE(wait_until([&] { return reports_.errors == 2; }));
  EXPECT_EQ(reports_.error(2), Errc::kUnavailable);
  EXPECT_EQ(reports_.error(3), Errc::kUnavailable);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4; }));
  cuda_.run(0, 4);
  EXPECT_TRUE(wait_for(0, 10));
  EXPECT_TRUE(wait_for(1, 10));
}

TEST_F(CudaCopierTest, AFullMailboxLosesNoReport) {
  Mailbox small(loop_.get(), 1);
  CopyReports reports;
  CudaCopier copier(cuda_, small);
  copier.set_events(reports);
  bool ran = false;
  ASSERT_TRUE(small.post([&] { ran = true; }));
  std::vector<std::byte> into(10);
  copier.copy(cuda_.source(0, cuda_.foreign_memory(0, pattern(10))), into, 1);
  while (cuda_.calls("record_event") == 0) std::this_thread::yield();
  EXPECT_TRUE(wait_until([&] { return reports.over(1, 10); }));
  EXPECT_TRUE(ran);
  small.close();
}

// Each call of a copy's whole life, from the first to the last, made to fail in a life of its own.
TEST_F(CudaCopierTest, AnyCallThatFailsIsAtMostOneErrorAndLeaksNothing) {
  std::set<std::string> failed;
  bool all_tried = false;
  for (std::uint64_t nth = 1; !all_tried; ++nth) {
    ASSERT_LT(nth, 200u) << "there are not that many";
    reports_ = {};
    start({.pieces_max = 2});
    DeviceSource source = cuda_.source(0, cuda_.foreign_memory(0, pattern(3 * kPiece, 1)));
    source.event = cuda_.foreign_event(0);
    source.has_event = true;
    cuda_.finish(source.event);
    cuda_.fail_call(nth);
    std::vector<std::byte> into(3 * kPiece);
    const Status first = copy_all(source, into, 1);
    const std::string culprit = cuda_.failed_call();
    const bool early = !culprit.empty();
    EXPECT_TRUE(!first || into == pattern(3 * kPiece, 1)) << culprit;
    EXPECT_TRUE(first || early);
    cuda_.fail_call(0);
    // The next copy does not notice.
    std::vector<std::byte> next(3 * kPiece);
    EXPECT_TRUE(copy_all(cuda_.source(0, cuda_.foreign_memory(0, pattern(3 * kPiece, 2))), next, 2))
        << "after " << culprit;
    EXPECT_EQ(next, pattern(3 * kPiece, 2));
    EXPECT_LE(reports_.errors, 1u);
    if (early) failed.insert(culprit);
    if (!early) cuda_.fail_call(1);  // the calls of the end: closing what is open, one of them fails
    copier_.reset();
    EXPECT_EQ(cuda_.live(), FakeCuda::Live{}) << "after a failed " << culprit;
    all_tried = !early;
  }
  EXPECT_THAT(failed,
              testing::IsSupersetOf({"open_event", "event_done", "destroy_event", "open_memory",
                                     "create_stream", "create_event", "copy_to_host", "record_event"}));
}

TEST_F(CudaCopierTest, AGpuThatFailsForGoodFailsEachCopyOnceAndOtherGpusGoOn) {
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(kPiece));
  cuda_.fail_always("copy_to_host");
  std::vector<std::byte> into(20 * kPiece);
  for (Token token = 0; token < 20; ++token) {
    copy(cuda_.source(0, memory), Bytes(into).subspan(token * kPiece, kPiece), token);
  }
  ASSERT_TRUE(wait_until([&] { return reports_.errors == 20; }));
  EXPECT_EQ(reports_.reports.size(), 20u);
  EXPECT_EQ(reports_.reports.at(7).status.error().a, 999u) << "CUDA's error number is told";
  cuda_.fail_always("");
  EXPECT_TRUE(
      copy_all(cuda_.source(1, cuda_.foreign_memory(1, pattern(kPiece))), Bytes(into).first(kPiece), 99));
}

TEST_F(CudaCopierTest, ItsEndWaitsForWhatIsWrittenAndBeginsNothingMore) {
  start({.pieces_max = 2});
  cuda_.set_automatic(false);
  const auto content = pattern(10 * kPiece);
  const CudaIpcHandle memory = cuda_.foreign_memory(0, content);
  std::vector<std::byte> into(10 * kPiece, std::byte{0});
  std::vector<std::byte> waits(kPiece, std::byte{0});
  DeviceSource source = cuda_.source(1, cuda_.foreign_memory(1, pattern(kPiece)));
  source.event = cuda_.foreign_event(1);
  source.has_event = true;
  copy(cuda_.source(0, memory), into, 1);
  copy(source, waits, 2);
  ASSERT_TRUE(wait_until([&] { return cuda_.queued(0) == 4 && cuda_.calls("open_event") == 1; }));
  copier_.reset();
  EXPECT_EQ(cuda_.queued(0), 0u);
  EXPECT_EQ(cuda_.live(), FakeCuda::Live{});
  EXPECT_EQ(cuda_.calls("copy_to_host"), 2u);
  EXPECT_EQ(waits, std::vector<std::byte>(kPiece, std::byte{0}));
}

TEST_F(CudaCopierTest, ItsEndWithReportsThatNobodyReadIsClean) {
  const CudaIpcHandle memory = cuda_.foreign_memory(0, pattern(kPiece));
  std::vector<std::byte> into(kPiece);
  for (Token token = 0; token < 10; ++token) copy(cuda_.source(0, memory), into, token);
  while (cuda_.calls("record_event") < 10) std::this_thread::yield();
  mailbox_.close();
  copier_.reset();
  EXPECT_EQ(cuda_.live(), FakeCuda::Live{});
}

}  // namespace
}  // namespace sidecar
