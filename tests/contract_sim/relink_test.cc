// A peer that has a new link while its old one still counts as up here, and a rank that comes back as another
// process: what is said on the old link, and about the old process, must reach nobody else.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Relink : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add({.rank = 1, .node = "b", .adjust = [](EngineOptions& options) {
           options.parked_max = 1;
           options.ping_timeout = 60 * kSecond;  // the old link stays
         }});
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  RequestId start(const std::string& id, std::uint64_t bytes) {
    const RequestId request =
        producer_->send({.id = id, .bytes = bytes, .to = each({1}), .eager = bytes <= kEagerBytesMax});
    settle();
    return request;
  }
  // Rank 0 gives up its link and makes a new one; rank 1 does not learn of the end of the old one for a
  // minute.
  void relink() {
    const std::uint64_t links = sidecar(0).transport().links_made();
    world_.network().slow_bulk(sidecar(0), sidecar(1), 60 * kSecond);
    start("straggler", 30'000);
    world_.network().slow_bulk(sidecar(0), sidecar(1), 0);
    world_.cut_off(sidecar(1), sidecar(0));
    world_.run_until([&] { return world_.network().links_up(sidecar(0), sidecar(1)) == 0; }, 20 * kSecond);
    world_.heal();
    EXPECT_TRUE(world_.run_until([&] { return world_.network().links_up(sidecar(0), sidecar(1)) > 0; }));
    EXPECT_GT(sidecar(0).transport().links_made(), links);
    settle();
  }
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

TEST_F(Relink, AnArrivalThatWasParkedOnTheOldLinkIsAcknowledgedOnTheNewOne) {
  EXPECT_THAT(wait(*producer_, start("held", 448 * kKiB)), IsOk());
  const RequestId parked = start("parked", 30'000);
  EXPECT_EQ(sidecar(1).stats().parked_chunks, 1u);
  relink();
  EXPECT_GT(sidecar(1).stats().counters.duplicates, 0u) << "it was sent again, and that copy ignored";
  EXPECT_THAT(done(*consumer_, "held"), IsOk());
  EXPECT_THAT(wait(*producer_, parked, 5 * kSecond), IsOk());
}

TEST_F(Relink, WhatWasRefusedIsAskedForOnTheNewLink) {
  EXPECT_THAT(wait(*producer_, start("held", 448 * kKiB)), IsOk());
  const RequestId parked = start("parked", 30'000);
  const RequestId refused = start("refused", 30'000);
  EXPECT_EQ(sidecar(1).stats().counters.refusals, 1u);
  relink();
  EXPECT_GT(sidecar(1).stats().counters.refusals, 1u) << "it was sent again, and refused again";
  EXPECT_THAT(done(*consumer_, "held"), IsOk());
  EXPECT_THAT(wait(*producer_, refused, 5 * kSecond), IsOk());
  EXPECT_THAT(wait(*producer_, parked, 5 * kSecond), IsOk());
}

TEST_F(Relink, GivingBackASlotOfALostProcessDoesNotTakeOneFromTheProcessThatHasItsRankNow) {
  NEEDS_MAPPED_ARENAS();
  // Whose end nobody can watch: they only see it fall silent.
  const SidecarSpec unwatched{
      .rank = 2, .node = "a", .adjust = [](EngineOptions& options) { options.pid = 0; }};
  add(unwatched);
  SimClient& reader = *producer_;
  EXPECT_THAT(send(client(2), {.id = "old", .num_chunks = 2, .bytes = 5'000, .to = each({0})}), IsOk());
  EXPECT_THAT(recv(reader, "old"), IsOk());
  world_.kill(sidecar(2));
  EXPECT_THAT(wait(reader, reader.recv("old", 1)), IsError(Errc::kPeerLost));
  EXPECT_THAT(done(reader, "old"), IsOk());

  add(unwatched);
  SimClient& writer = client(2);
  EXPECT_THAT(send(writer, {.id = "new", .bytes = 5'000, .to = each({0})}), IsOk());
  EXPECT_THAT(recv(reader, "new"), IsOk());
  world_.run_for(2 * kSecond);
  EXPECT_EQ(sidecar(2).stats().lent, 1u) << "rank 0 still refers to it";
  allocate(writer, 5'000);  // not the same memory
  reader.check_views();
}

TEST_F(Relink, AGoodbyeThatIsNotFinalEndsOnlyItsLink) {
  add(3, "d");
  const auto to_3 = [&](const char* id) {
    return send(*producer_, {.id = id, .num_chunks = 2, .bytes = 5'000, .to = each({3})});
  };
  EXPECT_THAT(to_3("x"), IsOk());
  const LinkId only_link{0, 1};
  ASSERT_FALSE(sidecar(3).transport().facts(only_link).transports.empty());
  sidecar(3).engine().on_message(only_link, Goodbye{false}, {});
  sidecar(3).touch();
  settle();
  EXPECT_THAT(to_3("y"), IsOk());
  EXPECT_EQ(sidecar(3).stats().counters.peers_lost, 0u);
  leaves_data(2);
}

}  // namespace
}  // namespace sidecar::sim
