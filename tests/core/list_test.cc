#include "core/list.h"

#include <gtest/gtest.h>

#include <vector>

namespace sidecar {
namespace {

struct Item {
  int value = 0;
  ListHook one, two;
};
using One = List<Item, &Item::one>;
using Two = List<Item, &Item::two>;

std::vector<int> values(const One& list) {
  std::vector<int> found;
  for (const Item* item = list.front(); item != nullptr; item = One::next(item)) found.push_back(item->value);
  return found;
}

class ListTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 5; ++i) items_[i].value = i;
  }
  void TearDown() override {
    while (list_.pop_front() != nullptr) {
    }
  }
  Item items_[5];
  One list_;
};

TEST_F(ListTest, KeepsTheOrderOfPushing) {
  for (Item& item : items_) list_.push_back(&item);
  EXPECT_EQ(values(list_), (std::vector{0, 1, 2, 3, 4}));
  EXPECT_EQ(list_.size(), 5u);
}

TEST_F(ListTest, PushesToTheFrontToo) {
  for (Item& item : items_) list_.push_front(&item);
  EXPECT_EQ(values(list_), (std::vector{4, 3, 2, 1, 0}));
}

TEST_F(ListTest, RemovesFromTheFrontTheMiddleAndTheBack) {
  for (Item& item : items_) list_.push_back(&item);
  list_.remove(&items_[0]);
  list_.remove(&items_[2]);
  list_.remove(&items_[4]);
  EXPECT_EQ(values(list_), (std::vector{1, 3}));
  EXPECT_FALSE(items_[2].one.linked());
  list_.push_back(&items_[2]);
  EXPECT_EQ(values(list_), (std::vector{1, 3, 2}));
}

TEST_F(ListTest, PopsInOrderAndThenNothing) {
  list_.push_back(&items_[1]);
  list_.push_back(&items_[0]);
  EXPECT_EQ(list_.pop_front(), &items_[1]);
  EXPECT_EQ(list_.pop_front(), &items_[0]);
  EXPECT_EQ(list_.pop_front(), nullptr);
  EXPECT_TRUE(list_.empty());
}

TEST_F(ListTest, AnElementMaySitInSeveralListsAndKnowsWhich) {
  Two other;
  One third;
  list_.push_back(&items_[0]);
  other.push_back(&items_[0]);
  EXPECT_TRUE(list_.contains(&items_[0]));
  EXPECT_TRUE(other.contains(&items_[0]));
  EXPECT_FALSE(third.contains(&items_[0]));
  EXPECT_FALSE(list_.contains(&items_[1]));
  other.remove(&items_[0]);
  EXPECT_TRUE(list_.contains(&items_[0]));
}

using ListDeathTest = ListTest;

TEST_F(ListDeathTest, AbortsWhenAnElementIsLinkedTwiceOrRemovedFromAnotherList) {
  list_.push_back(&items_[0]);
  EXPECT_DEATH(list_.push_back(&items_[0]), "linked");
  One other;
  EXPECT_DEATH(other.remove(&items_[0]), "owner");
}

TEST_F(ListDeathTest, AbortsWhenAnElementDiesInAList) {
  EXPECT_DEATH(
      {
        One list;
        Item item;
        list.push_back(&item);
      },
      "linked");
}

}  // namespace
}  // namespace sidecar
