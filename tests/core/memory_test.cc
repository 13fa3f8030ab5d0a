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
  Slot* const receive = memory_.take_receive(kArena / 2 - kArena / 16, 64, false);
  ASSERT_NE(receive, nullptr) << "which is nothing to the receive region";
  EXPECT_GE(receive->offset, send->offset + send->bytes);
  EXPECT_EQ(memory_.take_receive(64, 64, false), nullptr);
  EXPECT_FALSE(memory_.release(send));
  EXPECT_FALSE(memory_.release(receive));
  EXPECT_TRUE(memory_.empty());
}

TEST_F(MemoryTest, OnlyTheWantedMayUseTheReserve) {
  Slot* const all = memory_.take_receive(kArena / 2 - kArena / 16, 64, false);
  ASSERT_NE(all, nullptr);
  EXPECT_EQ(memory_.take_receive(1'000, 64, false), nullptr);
  Slot* const wanted = memory_.take_receive(1'000, 64, true);
  ASSERT_NE(wanted, nullptr);
  EXPECT_EQ(memory_.reserve_stats().runs, 1u);
  EXPECT_FALSE(memory_.release(wanted));
  EXPECT_EQ(memory_.reserve_stats().runs, 0u);
  EXPECT_FALSE(memory_.release(all));
}

TEST_F(MemoryTest, TheWantedUseTheReceiveRegionWhileThereIsRoom) {
  Slot* const slot = memory_.take_receive(1'000, 64, true);
  EXPECT_EQ(memory_.reserve_stats().runs, 0u);
  EXPECT_EQ(memory_.receive_stats().runs, 1u);
  EXPECT_FALSE(memory_.release(slot));
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
  Slot* const all = memory_.take_receive(kArena / 2 - kArena / 16, 64, false);
  Slot* const wanted = memory_.take_receive(1'000, 64, true);
  EXPECT_FALSE(memory_.release(wanted));
  EXPECT_TRUE(memory_.take_receive_freed());
  EXPECT_FALSE(memory_.release(all));
  EXPECT_TRUE(memory_.take_receive_freed());
}

TEST_F(MemoryTest, ASlotLiesInTheArenaAtItsOffset) {
  Slot* const slot = memory_.take_receive(5'000, 64, false);
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
