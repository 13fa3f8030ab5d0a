// Room to receive: who stands in line for it, who may pass, and that nobody is forgotten there.
#include "tests/contract_sim/room_fixture.h"

namespace sidecar::sim {
namespace {

class Room : public RoomCluster {
 protected:
  Room() : RoomCluster(4 * kMiB) {}
  RequestId start(const std::string& id, std::uint64_t bytes) {
    const RequestId request = RoomCluster::start(id, bytes);
    settle();
    return request;
  }
  void hold(std::uint64_t bytes) { EXPECT_THAT(wait(*producer_, start("held", bytes)), IsOk()); }
};

TEST_F(Room, WhoStandsBehindAChunkThatIsMarkedDoneInTheLineIsServed) {
  hold(kReceiveRegion - 64 * kKiB);
  const RequestId large = start("large", 300 * kKiB);
  const RequestId small = start("small", 2'000);
  EXPECT_FALSE(producer_->over(small));
  EXPECT_THAT(done(*consumer_, "large"), IsOk());
  EXPECT_THAT(wait(*producer_, large, kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, small, kSecond), IsOk()) << "there was room for it all along";
}

TEST_F(Room, WhoStandsBehindAChunkThatMovesToTheReserveIsServed) {
  hold(kReceiveRegion - 16 * kKiB);
  const RequestId first = start("first", 40 * kKiB);
  const RequestId second = start("second", 2'000);
  EXPECT_FALSE(producer_->over(second));
  EXPECT_THAT(recv(*consumer_, "first"), IsOk());
  EXPECT_THAT(wait(*producer_, first, kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, second, kSecond), IsOk()) << "there was room for it all along";
}

TEST_F(Room, WhoWasRefusedComesBackWhenAChunkIsMarkedDoneInTheLine) {
  add({.rank = 2, .node = "c", .adjust = [](EngineOptions& options) { options.parked_max = 1; }});
  const auto to_2 = [&](const char* id, std::uint64_t bytes) {
    const RequestId request = producer_->send({.id = id, .bytes = bytes, .to = each({2})});
    settle();
    return request;
  };
  SimClient& consumer = client(2);
  to_2("held", kReceiveRegion - 64 * kKiB);
  to_2("parked", 300 * kKiB);
  const RequestId refused = to_2("refused", 2'000);
  EXPECT_EQ(sidecar(2).stats().counters.refusals, 1u);
  EXPECT_THAT(done(consumer, "parked"), IsOk());
  EXPECT_THAT(wait(*producer_, refused, kSecond), IsOk());
}

TEST_F(Room, AChunkThatNobodyWaitsForAnyMoreKeepsNobodyFromTheReserve) {
  hold(kReceiveRegion);
  for (const int way : {0, 1, 2}) {  // how the wait ends: deadline, cancel, death
    const std::string round = std::to_string(way);
    SimClient& fickle = client(1);
    // Most of the reserve is taken, so that the next one that is wanted stands in line.
    const RequestId in_reserve = consumer_->recv("a" + round);
    start("a" + round, 40 * kKiB);
    EXPECT_THAT(wait(*consumer_, in_reserve, kSecond), IsOk());
    start("b" + round, 40 * kKiB);
    const RequestId gives_up = fickle.recv("b" + round, 0, way == 0 ? 100 * kMillisecond : kNever);
    settle();
    if (way == 1) fickle.cancel(gives_up);
    if (way == 2) world_.kill(fickle);
    world_.run_for(kSecond);
    const RequestId waiting = consumer_->recv("c" + round);
    start("c" + round, 16 * kKiB);
    EXPECT_THAT(wait(*consumer_, waiting, kSecond), IsOk()) << "way " << way;
    for (const char* id : {"a", "b", "c"}) EXPECT_THAT(done(*consumer_, id + round), IsOk());
    settle();
    EXPECT_EQ(sidecar(1).stats().reserve.runs, 0u);
  }
}

}  // namespace
}  // namespace sidecar::sim
