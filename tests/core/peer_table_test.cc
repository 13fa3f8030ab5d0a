#include "core/peer_table.h"

#include <gtest/gtest.h>

#include <chrono>

namespace sidecar {
namespace {

TEST(PeerTableTest, FindsEachRankAndNoOther) {
  PeerTable peers;
  for (Rank rank = 0; rank < 1'000; rank += 2) peers.make(rank);
  for (Rank rank = 0; rank < 1'000; ++rank) {
    const Peer* const found = peers.find(rank);
    EXPECT_EQ(found == nullptr ? kNoRank : found->rank, rank % 2 == 0 ? rank : kNoRank);
  }
}

TEST(PeerTableTest, ARankIsFoundAsFastAmongManyAsAmongFew) {
  const auto time_among = [](Rank count) {
    PeerTable peers;
    for (Rank rank = 0; rank < count; ++rank) peers.make(rank);
    const auto begin = std::chrono::steady_clock::now();
    for (Rank i = 0; i < 20'000; ++i) EXPECT_NE(peers.find(i * 37 % count), nullptr);
    return std::chrono::steady_clock::now() - begin;
  };
  time_among(8);
  EXPECT_LT(time_among(4'096), 20 * time_among(8) + std::chrono::milliseconds(20));
}

}  // namespace
}  // namespace sidecar
