#include "core/pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <vector>

namespace sidecar {
namespace {

struct Item {
  int value = 0;
  std::string text;
};

TEST(Pool, FindsAnObjectByItsHandleUntilItIsReleased) {
  Pool<Item> pool;
  Item* item = pool.acquire(7, "seven");
  const Handle handle = pool.handle_of(item);
  EXPECT_EQ(pool.find(handle), item);
  EXPECT_EQ(item->text, "seven");
  pool.release(item);
  EXPECT_EQ(pool.find(handle), nullptr);
  EXPECT_TRUE(pool.empty());
}

TEST(Pool, AHandleOfARecycledCellFindsNothing) {
  Pool<Item> pool;
  Item* first = pool.acquire();
  const Handle stale = pool.handle_of(first);
  pool.release(first);
  Item* second = pool.acquire();
  ASSERT_EQ(second, first) << "the test needs the same cell";
  EXPECT_EQ(pool.find(stale), nullptr);
  EXPECT_EQ(pool.find(pool.handle_of(second)), second);
  pool.release(second);
}

TEST(Pool, InvalidAndMadeUpHandlesFindNothing) {
  Pool<Item> pool;
  EXPECT_EQ(pool.find(Handle{}), nullptr);
  Item* item = pool.acquire();
  const Handle handle = pool.handle_of(item);
  EXPECT_EQ(pool.find(Handle{}), nullptr);
  EXPECT_EQ(pool.find({handle.index + 1, handle.generation}), nullptr);
  EXPECT_EQ(pool.find({handle.index + 1, 0}), nullptr) << "a cell that was never used";
  EXPECT_EQ(pool.find({handle.index, handle.generation + 1}), nullptr);
  EXPECT_EQ(pool.find({1'000'000, 1}), nullptr);
  pool.release(item);
}

TEST(Pool, GivesNothingBeyondItsCapacityUntilSomethingComesBack) {
  Pool<Item> pool(3);
  Item* items[3] = {pool.acquire(), pool.acquire(), pool.acquire()};
  EXPECT_EQ(pool.acquire(), nullptr);
  EXPECT_EQ(pool.size(), 3u);
  pool.release(items[1]);
  items[1] = pool.acquire();
  EXPECT_NE(items[1], nullptr);
  EXPECT_EQ(pool.acquire(), nullptr);
  for (Item* item : items) pool.release(item);
}

TEST(Pool, SteadyStateReusesTheSameMemory) {
  Pool<Item> pool;
  std::set<Item*> before;
  for (int i = 0; i < 1000; ++i) before.insert(pool.acquire());
  ASSERT_EQ(before.size(), 1000u);
  std::mt19937 random(1);
  std::vector<Item*> live(before.begin(), before.end());
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t at = random() % live.size();
    pool.release(live[at]);
    live[at] = pool.acquire();
    ASSERT_TRUE(before.contains(live[at]));
  }
  for (Item* item : live) pool.release(item);
}

TEST(Pool, AddressesStayWhenThePoolGrows) {
  Pool<Item> pool;
  std::vector<Item*> items;
  for (int i = 0; i < 500; ++i) items.push_back(pool.acquire(i, std::to_string(i)));
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(items[static_cast<std::size_t>(i)]->text, std::to_string(i));
    pool.release(items[static_cast<std::size_t>(i)]);
  }
}

TEST(Pool, ObjectsAreDestroyedWhenReleased) {
  struct Counted {
    int* alive;
    explicit Counted(int* counter) : alive(counter) { ++*alive; }
    ~Counted() { --*alive; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
  };
  int alive = 0;
  Pool<Counted> pool;
  Counted* a = pool.acquire(&alive);
  Counted* b = pool.acquire(&alive);
  EXPECT_EQ(alive, 2);
  pool.release(a);
  EXPECT_EQ(alive, 1);
  pool.release(b);
  EXPECT_EQ(alive, 0);
}

TEST(Pool, ForEachVisitsTheLiveOnesAndMayReleaseThem) {
  Pool<Item> pool;
  std::vector<Item*> items;
  for (int i = 0; i < 200; ++i) items.push_back(pool.acquire(i, ""));
  for (std::size_t i = 0; i < 200; i += 2) pool.release(items[i]);
  int visited = 0;
  pool.for_each([&](Item& item) {
    EXPECT_EQ(item.value % 2, 1);
    ++visited;
    pool.release(&item);
  });
  EXPECT_EQ(visited, 100);
  EXPECT_TRUE(pool.empty());
}

TEST(Pool, RandomTrafficAgreesWithAModel) {
  std::mt19937 random(20);
  Pool<Item> pool(300);
  std::vector<std::pair<Handle, int>> live;
  std::vector<Handle> dead;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0) {
      Item* item = pool.acquire(i, "");
      ASSERT_EQ(item == nullptr, live.size() == 300);
      if (item != nullptr) live.emplace_back(pool.handle_of(item), i);
    } else if (!live.empty()) {
      const std::size_t at = random() % live.size();
      Item* item = pool.find(live[at].first);
      ASSERT_NE(item, nullptr);
      ASSERT_EQ(item->value, live[at].second);
      pool.release(item);
      dead.push_back(live[at].first);
      live[at] = live.back();
      live.pop_back();
    }
    if (!dead.empty()) {
      ASSERT_EQ(pool.find(dead[random() % dead.size()]), nullptr);
    }
    ASSERT_EQ(pool.size(), live.size());
  }
  for (const auto& [handle, value] : live) pool.release(pool.find(handle));
}

TEST(PoolDeathTest, ReleasingTwiceAborts) {
  Pool<Item> pool;
  Item* item = pool.acquire();
  pool.release(item);
  EXPECT_DEATH(pool.release(item), "CHECK failed: cell.live");
}

TEST(PoolDeathTest, ReleasingIntoAnotherPoolAborts) {
  Pool<Item> ours;
  Pool<Item> other;
  Item* item = ours.acquire();
  Item* twin = other.acquire();
  EXPECT_DEATH(other.release(item), "CHECK failed: cell ==");
  other.release(twin);
  ours.release(item);
}

TEST(PoolDeathTest, EndingWithAnObjectOutAborts) {
  EXPECT_DEATH(
      {
        Pool<Item> pool;
        pool.acquire();
      },
      "CHECK failed: live_ == 0");
}

}  // namespace
}  // namespace sidecar
