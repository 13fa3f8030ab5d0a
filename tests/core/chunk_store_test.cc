#include "core/chunk_store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace sidecar {
namespace {

class ChunkStoreTest : public ::testing::Test {
 protected:
  Datum* make(const std::string& id) { return store_.make(DataId(id), store_.hash(DataId(id)), 5); }
  Datum* find(const std::string& id) { return store_.find(DataId(id), store_.hash(DataId(id))); }
  ChunkStore store_{1, 2};
};

TEST_F(ChunkStoreTest, FindsDataByIdWhateverBytesItHas) {
  const std::string a("a\0b", 3), b("a\0c", 3);
  Datum* const first = make(a);
  Datum* const second = make(b);
  EXPECT_EQ(find(a), first);
  EXPECT_EQ(find(b), second);
  EXPECT_EQ(find(std::string("a\0", 2)), nullptr);
  EXPECT_EQ(find("a"), nullptr);
  store_.erase(first);
  EXPECT_EQ(find(a), nullptr);
  EXPECT_EQ(find(b), second);
  store_.erase(second);
}

TEST_F(ChunkStoreTest, FindsChunksByDatumAndNumber) {
  Datum* const x = make("x");
  Datum* const y = make("y");
  for (ChunkIndex chunk = 0; chunk < 100; ++chunk) {
    store_.make(*x, chunk);
    store_.make(*y, chunk * 2);
  }
  for (ChunkIndex chunk = 0; chunk < 100; ++chunk) {
    ASSERT_NE(store_.find(*x, chunk), nullptr);
    EXPECT_EQ(store_.find(*x, chunk)->chunk, chunk);
    EXPECT_EQ(store_.find(*x, chunk)->datum, x);
    EXPECT_EQ(store_.find(*y, chunk) != nullptr, chunk % 2 == 0);
  }
  EXPECT_EQ(store_.chunk_count(), 200u);
  for (Datum* datum : {x, y}) {
    while (ChunkEntry* entry = datum->chunks.front()) store_.erase(entry);
    store_.erase(datum);
  }
  EXPECT_EQ(store_.chunk_count(), 0u);
}

TEST_F(ChunkStoreTest, AReusedEntryRemembersNothing) {
  Datum* const x = make("x");
  ChunkEntry* const entry = store_.make(*x, 3);
  entry->bytes = 77;
  entry->done = true;
  entry->state = ChunkState::kReceiving;
  store_.erase(entry);
  ChunkEntry* const again = store_.make(*x, 4);
  EXPECT_EQ(again->bytes, 0u);
  EXPECT_FALSE(again->done);
  EXPECT_EQ(again->state, ChunkState::kAbsent);
  store_.erase(again);
  store_.erase(x);
}

TEST_F(ChunkStoreTest, KnowsInWhichLineAParkedChunkStands) {
  Datum* const x = make("x");
  ChunkEntry* const wanted = store_.make(*x, 0);
  ChunkEntry* const other = store_.make(*x, 1);
  store_.parked_wanted().push_back(wanted);
  store_.parked().push_back(other);
  EXPECT_EQ(store_.parked_count(), 2u);
  store_.unpark(wanted);
  EXPECT_TRUE(store_.parked_wanted().empty());
  store_.unpark(other);
  EXPECT_EQ(store_.parked_count(), 0u);
  store_.erase(wanted);
  store_.erase(other);
  store_.erase(x);
}

TEST_F(ChunkStoreTest, ADatumIsCompleteWhenEveryChunkOfAKnownCountIsDone) {
  Datum datum;
  EXPECT_FALSE(datum.complete());
  datum.done.add(0);
  EXPECT_FALSE(datum.complete()) << "the count is not known";
  datum.count_known = true;
  datum.num_chunks = 2;
  EXPECT_FALSE(datum.complete());
  EXPECT_FALSE(datum.past_end(1));
  EXPECT_TRUE(datum.past_end(2));
  datum.done.add(1);
  EXPECT_TRUE(datum.complete());
}

TEST_F(ChunkStoreTest, ChunkNumbersThatWereChosenToCollideAreFoundAsFastAsAnyOthers) {
  Datum* const datum = make("x");
  const auto time_of = [&](auto&& chosen) {
    std::vector<ChunkIndex> chunks;
    for (ChunkIndex chunk = 0; chunks.size() < 10'000; ++chunk) {
      if (chosen(chunk)) chunks.push_back(chunk);
    }
    const auto begin = std::chrono::steady_clock::now();
    for (const ChunkIndex chunk : chunks) {
      EXPECT_EQ(store_.find(*datum, chunk), nullptr);
      store_.make(*datum, chunk);
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    while (ChunkEntry* entry = datum->chunks.front()) store_.erase(entry);
    return took;
  };
  const auto any = [](ChunkIndex) { return true; };
  time_of(any);  // the pool and the table grow
  const auto usual = time_of(any);
  // All in one place of a table whose hash is not secret.
  const auto hostile = time_of([](ChunkIndex chunk) { return (mix(0, chunk) & 0x3fff) == 7; });
  EXPECT_LT(hostile, 10 * usual + std::chrono::milliseconds(20));
  store_.erase(datum);
}

using ChunkStoreDeathTest = ChunkStoreTest;

TEST_F(ChunkStoreDeathTest, AbortsWhenADatumIsErasedWithItsChunks) {
  Datum* const x = make("x");
  ChunkEntry* const entry = store_.make(*x, 0);
  EXPECT_DEATH(store_.erase(x), "empty");
  store_.erase(entry);
  store_.erase(x);
}

}  // namespace
}  // namespace sidecar
