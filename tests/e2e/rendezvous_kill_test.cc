// A sidecar killed while the bytes of a rendezvous are moving: not before they do, and not after.
#include <signal.h>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

constexpr std::size_t kBytes = std::size_t{192} << 20;

class KilledInARendezvous : public ::testing::Test {
 protected:
  // Bytes move for some tens of milliseconds; more than one try may be needed to hit those.
  static constexpr int kTries = 10;

  // Kills `victim` as soon as rank 1 has taken slots for what is on its way. Whether it was on its way still.
  bool kill_in_the_middle(Rank victim, Rank survivor, const std::string& id) {
    Executor producer(cluster_, 0);
    Client consumer = cluster_.client(1);
    Future<View> waiting = consumer.recv_async(id, 0, kForever);
    producer.tell("send " + id + " 1 0 1 " + std::to_string(kBytes) + " arena");
    EXPECT_TRUE(eventually([&] { return cluster_.status(1).memory[1].used_bytes >= kBytes; }, seconds(20)));
    cluster_.kill(victim);
    const std::string sent = producer.answer(seconds(40));
    const auto got = waiting.get();
    const bool in_the_middle = sent != "ok" && !got.has_value();
    if (in_the_middle) {
      EXPECT_EQ(got.code(), Errc::kPeerLost) << to_string(got.error());
      EXPECT_EQ(got.error().rank, victim);
      EXPECT_NE(sent.find("PeerLost"), std::string::npos) << sent;
      EXPECT_NE(sent.find("rank " + std::to_string(victim)), std::string::npos) << sent;
    }
    if (survivor == 1) {
      EXPECT_TRUE(consumer.mark_done(id));
    }
    EXPECT_TRUE(cluster_.becomes_empty(survivor)) << "slots of a transfer that was cut off";
    cluster_.restart(victim);
    return in_the_middle;
  }
  void expect_hit_and_goes_on(Rank victim, Rank survivor) {
    int tries = 0;
    while (tries < kTries && !kill_in_the_middle(victim, survivor, "x" + std::to_string(tries))) ++tries;
    EXPECT_LT(tries, kTries) << "never in the middle";
    // The one that lived and the one that came back work together.
    Executor producer(cluster_, 0);
    ASSERT_EQ(producer.ask("send after 1 0 1 5000000 arena"), "ok");
    Executor consumer(cluster_, 1);
    EXPECT_EQ(consumer.ask("recv after 0 5000").substr(0, 15), "ok 5000000 good");
    EXPECT_EQ(consumer.ask("done after 0"), "ok");
  }

  Cluster cluster_{{.nodes = {"a", "b"}, .arena = "450M", .flags = {"--peer-timeout", "3s"}}};
};

TEST_F(KilledInARendezvous, TheReceivingSidecar) { expect_hit_and_goes_on(1, 0); }
TEST_F(KilledInARendezvous, TheSendingSidecar) { expect_hit_and_goes_on(0, 1); }

}  // namespace
}  // namespace sidecar::e2e
