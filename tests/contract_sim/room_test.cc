// Room to receive: who stands in line for it, who may pass, and that nobody is forgotten there.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

// With 1 MiB of arena: half for sending, 7/16 for receiving, 1/16 in reserve.
constexpr std::uint64_t kReceiveRegion = 448 * kKiB;
constexpr std::uint64_t kReserve = 64 * kKiB;

class Room : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  RequestId start(const std::string& id, std::uint64_t bytes) {
    const RequestId request = producer_->send({.id = id, .bytes = bytes, .to = each({1})});
    settle();
    return request;
  }
  void hold(std::uint64_t bytes) { EXPECT_THAT(wait(*producer_, start("held", bytes)), IsOk()); }

  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
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

}  // namespace
}  // namespace sidecar::sim
