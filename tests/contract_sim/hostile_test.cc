// Clients and peers that say what no good one says: nothing of it may hurt anybody else.
#include <gtest/gtest-spi.h>

#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Hostile : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a");
    add(1, "b");
    producer_ = &client(0);
    consumer_ = &client(1);
  }
  // What expect_clean() wants to be zero is what these tests are about.
  void TearDown() override {}
  SimClient* producer_ = nullptr;
  SimClient* consumer_ = nullptr;
};

TEST_F(Hostile, AClientThatSendsAPeersMessageWithAPayloadIsCutOff) {
  for (int i = 0; i < 2; ++i) {
    SimClient& bad = client(0);
    Chunk chunk{};
    chunk.transfer = {1, 1};
    chunk.meta.id.assign("x");
    chunk.meta.num_chunks = 1;
    chunk.meta.bytes = 2'000;
    chunk.meta.shape.dims = 1;
    chunk.meta.shape.extent[0] = 2'000;
    i == 0 ? bad.raw_payload(chunk, 2'000) : bad.raw_payload(Reply{}, 2'000);
    settle();
    EXPECT_FALSE(bad.connected());
  }
  EXPECT_EQ(sidecar(0).stats().counters.protocol_errors, 2u);
  EXPECT_THAT(send(*producer_, {.id = "x", .bytes = 5'000, .to = each({1})}), IsOk())
      << "nobody else suffers";
}

}  // namespace
}  // namespace sidecar::sim
