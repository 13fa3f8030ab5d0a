#include "core/memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace sidecar {
namespace {

class MemoryTest : public ::testing::Test {
 protected:
  // A region is dealt out in whole pages: half for sending, 1/16 in reserve, the rest for receiving.
  static constexpr std::uint64_t kArena = 1 << 20;
  MemoryTest() : storage_(kArena), memory_({.arena = storage_, .instance = 7}) {}
  void TearDown() override { memory_.check_invariants(); }

  std::vector<std::byte> storage_;
  Memory memory_;
};

TEST_F(MemoryTest, SendAndReceiveHaveRegionsOfTheirOwn) {
  Slot* const send = memory_.take_send(kArena / 2, 64);
  ASSERT_NE(send, nullptr);
  EXPECT_EQ(memory_.take_send(64, 64), nullptr) << "the send region is full";
  Slot* const receive = memory_.take_unwanted(kArena / 2 - kArena / 16, 64, 0);
  ASSERT_NE(receive, nullptr) << "which is nothing to the receive region";
  EXPECT_GE(receive->offset, send->offset + send->bytes);
  EXPECT_EQ(memory_.take_unwanted(64, 64, 0), nullptr);
  EXPECT_FALSE(memory_.release(send));
  EXPECT_FALSE(memory_.release(receive));
  EXPECT_TRUE(memory_.empty());
}

TEST_F(MemoryTest, OnlyTheWantedMayUseTheReserve) {
  Slot* const all = memory_.take_unwanted(kArena / 2 - kArena / 16, 64, 0);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(memory_.take_unwanted(1'000, 64, 0), nullptr);
  Slot* const wanted = memory_.take_wanted(1'000, 64);
  ASSERT_NE(wanted, nullptr);
  EXPECT_EQ(memory_.reserve_stats().runs, 1u);
  EXPECT_FALSE(memory_.release(wanted));
  EXPECT_EQ(memory_.reserve_stats().runs, 0u);
  EXPECT_FALSE(memory_.release(all));
}

TEST_F(MemoryTest, TheWantedUseTheReceiveRegionWhileThereIsRoom) {
  Slot* const slot = memory_.take_wanted(1'000, 64);
  EXPECT_EQ(memory_.reserve_stats().runs, 0u);
  EXPECT_EQ(memory_.receive_stats().runs, 1u);
  EXPECT_FALSE(memory_.release(slot));
}

TEST_F(MemoryTest, TheUnwantedLeaveTheRoomThatTheyAreAskedToLeave) {
  const std::uint64_t region = memory_.receive_limit(), piece = region / 4;
  Slot* const first = memory_.take_unwanted(piece, 64, 2 * piece);
  Slot* const second = memory_.take_unwanted(piece, 64, 2 * piece);
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(memory_.take_unwanted(piece, 64, 2 * piece), nullptr);
  EXPECT_EQ(memory_.receive_stats().runs, 2u) << "nothing is kept of what did not fit";
  Slot* const small = memory_.take_unwanted(piece, 64, memory_.reserve_limit());
  ASSERT_NE(small, nullptr) << "so much room is in the reserve";
  Slot* const wanted = memory_.take_wanted(piece, 64);
  ASSERT_NE(wanted, nullptr);
  for (Slot* slot : {first, second, small, wanted}) EXPECT_FALSE(memory_.release(slot));
}

TEST_F(MemoryTest, TheLastReferenceFreesAndSaysSo) {
  Slot* const slot = memory_.take_send(100, 64);
  memory_.retain(slot);
  EXPECT_FALSE(memory_.release(slot));
  EXPECT_FALSE(memory_.take_send_freed());
  EXPECT_FALSE(memory_.empty());
  EXPECT_FALSE(memory_.release(slot));
  EXPECT_TRUE(memory_.take_send_freed());
  EXPECT_FALSE(memory_.take_send_freed()) << "said once";
  EXPECT_FALSE(memory_.take_receive_freed());
  EXPECT_TRUE(memory_.empty());
}

TEST_F(MemoryTest, AFreedReserveCountsAsFreedReceiveMemory) {
  Slot* const all = memory_.take_unwanted(kArena / 2 - kArena / 16, 64, 0);
  Slot* const wanted = memory_.take_wanted(1'000, 64);
  EXPECT_FALSE(memory_.release(wanted));
  EXPECT_TRUE(memory_.take_receive_freed());
  EXPECT_FALSE(memory_.release(all));
  EXPECT_TRUE(memory_.take_receive_freed());
}

TEST_F(MemoryTest, ASlotLiesInTheArenaAtItsOffset) {
  Slot* const slot = memory_.take_unwanted(5'000, 64, 0);
  EXPECT_EQ(slot->data, storage_.data() + slot->offset);
  EXPECT_EQ(slot->bytes, 5'000u);
  EXPECT_EQ(slot->arena, 7u);
  EXPECT_FALSE(slot->foreign);
  EXPECT_FALSE(memory_.release(slot));
}

TEST_F(MemoryTest, AForeignSlotIsGivenBackByItsUserAndTakesNoRoom) {
  std::vector<std::byte> theirs(1'000);
  Slot* const slot = memory_.take_foreign(theirs.data(), 64, 500, 99, 3, 42);
  EXPECT_TRUE(memory_.empty());
  EXPECT_EQ(memory_.foreign_count(), 1u);
  memory_.retain(slot);
  EXPECT_FALSE(memory_.release(slot));
  EXPECT_TRUE(memory_.release(slot)) << "the last one: its owner is to be told";
  EXPECT_EQ(slot->owner, 3);
  EXPECT_EQ(slot->chunk_ref, 42u);
  memory_.drop_foreign(slot);
  EXPECT_EQ(memory_.foreign_count(), 0u);
}

TEST_F(MemoryTest, KnowsWhatCanNeverFit) {
  EXPECT_TRUE(memory_.send_can_fit(memory_.send_limit(), 64));
  EXPECT_FALSE(memory_.send_can_fit(memory_.send_limit() + 1, 64));
  EXPECT_TRUE(memory_.receive_can_fit(memory_.receive_limit(), 64));
  EXPECT_FALSE(memory_.receive_can_fit(memory_.receive_limit() + 1, 64));
}

using MemoryDeathTest = MemoryTest;

TEST_F(MemoryDeathTest, AbortsWhenAReferenceIsGivenBackTwice) {
  Slot* const slot = memory_.take_send(100, 64);
  EXPECT_DEATH(
      {
        slot->references = 0;
        (void)memory_.release(slot);
      },
      "references");
  EXPECT_FALSE(memory_.release(slot));
}

}  // namespace
}  // namespace sidecar
