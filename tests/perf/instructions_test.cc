// What a sidecar executes for one object and for one chunk, in instructions, which repeat where times do not:
// all that happens between a message's arrival and the next look at UCX (decoding, the engine, encoding, and
// UCX's part of sending). More than a tenth above the baseline fails. There is a baseline for each compiler
// and UCX that it was measured with; elsewhere there is nothing to compare with.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "am_protocol/transport.h"
#include "perf/folder.h"
#include "perf/port.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

struct Baseline {
  double object;  // of 64 bytes, half a round trip to another node: one sent and one received, by two
  double chunk;   // of 1 MiB, likewise
};
// Measured with this test on an otherwise busy machine; repeated runs differ by 2 % at most.
const std::map<std::string, Baseline> kBaselines{
    {"GNU 12.2.0, UCX 1.13.1", {13'100, 19'000}},
};
constexpr double kGrowthMax = 1.10;

class Instructions : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string with = std::string(SIDECAR_COMPILER) + ", UCX " + ucx_version();
    const auto found = kBaselines.find(with);
    if (found == kBaselines.end()) GTEST_SKIP() << "there is no baseline for " << with;
    if (access("/usr/bin/valgrind", X_OK) != 0) GTEST_SKIP() << "valgrind is not installed";
    baseline_ = found->second;
  }

  // Instructions of rank 0's sidecar for half a round trip.
  double measure(const std::string& test, const std::string& size, int round_trips) {
    const std::string out = folder_.path() + "/" + test;
    std::vector<std::string> valgrind{"/usr/bin/valgrind", "--tool=callgrind", "--collect-atstart=no",
                                      "--callgrind-out-file=" + out};
    for (const char* function : {"take_arrivals", "take_received", "take_sent"})
      valgrind.push_back(std::string("--toggle-collect=sidecar::UcxTransportImpl::") + function + "*");
    {
      Cluster cluster(
          {.nodes = {"a", "b"}, .places = {{.enter = valgrind}, {}}, .flags = {"--poll", "event"}});
      const perf::ReservedPort port;
      const auto end = [&](std::vector<std::string> arguments, Rank rank, const char* node) {
        arguments.insert(arguments.begin(), perf::program_path("sidecar-perf"));
        arguments.insert(arguments.end(), {"-p", std::to_string(port.number()), "--sidecar",
                                           std::to_string(rank) + "@" + cluster.address(rank) + "/" + node});
        return perf::Process({.argv = std::move(arguments), .log = folder_.path() + "/log"});
      };
      perf::Process other = end({"--once"}, 1, "b");
      perf::Process measuring = end({"127.0.0.1", "-t", test, "-s", size, "-w", "1", "-n",
                                     std::to_string(round_trips), "--poll", "event"},
                                    0, "a");
      EXPECT_EQ(measuring.wait(seconds(80)), (perf::Ending{0, 0})) << measuring.log_text();
      EXPECT_EQ(other.wait(seconds(10)), (perf::Ending{0, 0}));
    }  // the sidecars have ended, and valgrind has written
    return totals(out) / (2.0 * round_trips);
  }

  static double totals(const std::string& path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("totals: ")) return std::stod(line.substr(8));
    }
    ADD_FAILURE() << path << " has no totals";
    return 0;
  }
  static void expect(double measured, double baseline) {
    EXPECT_LE(measured, kGrowthMax * baseline) << "it grew: find out why, or write down the new baseline";
    std::printf("%.0f instructions, %.3f of the baseline\n", measured, measured / baseline);
  }

  Baseline baseline_{};
  perf::Folder folder_{"/tmp/instructions"};
};

TEST_F(Instructions, OfAnObjectThroughASidecarHaveNotGrown) {
  expect(measure("object_lat", "64", 2000), baseline_.object);
}

TEST_F(Instructions, OfAChunkThroughASidecarHaveNotGrown) {
  expect(measure("chunk_lat", "1M", 300), baseline_.chunk);
}

}  // namespace
}  // namespace sidecar::e2e
