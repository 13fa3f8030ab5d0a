// What is answered of a datum whose producer was lost, after its last chunk here was marked done; and
// of ids of which nothing ever came.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class LostData : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    consumer_ = &client(1);
  }
  void send_done_and_lose(std::initializer_list<ChunkIndex> chunks) {
    SimClient& producer = client(0);
    for (const ChunkIndex chunk : chunks) {
      EXPECT_THAT(
          send(producer, {.id = "x", .chunk = chunk, .num_chunks = 5, .bytes = 2'000, .to = each({1})}),
          IsOk());
      EXPECT_THAT(done(*consumer_, "x", chunk), IsOk());
    }
    const RequestId waiting = consumer_->recv("x", 4);
    world_.kill(sidecar(0));
    EXPECT_THAT(wait(*consumer_, waiting), IsError(Errc::kPeerLost));
  }
  SimClient* consumer_ = nullptr;
};

TEST_F(LostData, ItsEndIsStillItsEnd) {
  send_done_and_lose({0, 1});
  EXPECT_THAT(recv(*consumer_, "x", 0), IsError(Errc::kAlreadyDone));
  EXPECT_THAT(recv(*consumer_, "x", 2), IsError(Errc::kPeerLost));
  EXPECT_THAT(recv(*consumer_, "x", 5), IsError(Errc::kEndOfStream));
  EXPECT_THAT(done(*consumer_, "x", 5), IsError(Errc::kInvalidArgument));
}

TEST_F(LostData, WhatWasMarkedDoneOutOfOrderIsStillDone) {
  send_done_and_lose({3, 1});
  for (const ChunkIndex chunk : {1, 3})
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsError(Errc::kAlreadyDone));
  for (const ChunkIndex chunk : {0, 2, 4})
    EXPECT_THAT(recv(*consumer_, "x", chunk), IsError(Errc::kPeerLost));
  EXPECT_THAT(recv(*consumer_, "x", 5), IsError(Errc::kEndOfStream));
  leaves_data(1);
}

TEST_F(LostData, IdsThatWereOnlyEverMarkedDoneAreForgottenHoweverManyThereAre) {
  constexpr int kCount = 240'000;
  std::vector<RequestId> dones;
  for (int i = 0; i < kCount; ++i) {
    dones.push_back(consumer_->mark_done(std::to_string(i)));
    if (i % 500 == 0) world_.run_for(kMillisecond);
  }
  wait(*consumer_, dones.back());
  EXPECT_EQ(sidecar(1).stats().data, static_cast<std::uint64_t>(kCount)) << "for ten minutes at least";
  world_.run_for((600 + 700) * kSecond);
  EXPECT_EQ(sidecar(1).stats().data, 0u);
}

}  // namespace
}  // namespace sidecar::sim
