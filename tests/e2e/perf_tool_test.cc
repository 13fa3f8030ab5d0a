// sidecar-perf as its user runs it: every test on both paths, contents compared, and what it says when
// something is wrong. What it measures here means nothing.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "perf/folder.h"
#include "perf/port.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

using perf::Process;

struct Ended {
  std::optional<perf::Ending> ending;
  std::vector<std::string> lines;  // standard output
  std::string log;                 // standard error
};

// What --sidecar takes.
std::string beside(const Cluster& cluster, Rank rank) {
  return std::to_string(rank) + "@" + cluster.address(rank) + "/" + cluster.client_options(rank).node;
}

class PerfTool : public ::testing::Test {
 protected:
  [[nodiscard]] std::string log() const { return folder_.path() + "/log"; }
  Process start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), perf::program_path("sidecar-perf"));
    return Process({.argv = std::move(arguments), .log = log(), .talk = true});
  }
  Ended run(std::vector<std::string> arguments) {
    Process process = start(std::move(arguments));
    Ended ended;
    while (auto line = process.read_line(seconds(50))) ended.lines.push_back(*line);
    ended.ending = process.wait(seconds(10));
    ended.log = process.log_text();
    return ended;
  }
  // As JSON; fails the test where it is not.
  std::vector<nlohmann::json> results(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const Ended ended = run(std::move(arguments));
    EXPECT_EQ(ended.ending, (perf::Ending{0, 0})) << perf::to_string(ended.ending) << ended.log;
    std::vector<nlohmann::json> results;
    for (const std::string& line : ended.lines) {
      results.push_back(nlohmann::json::parse(line, nullptr, false));
      EXPECT_TRUE(results.back().is_object()) << line;
    }
    return results;
  }
  perf::Folder folder_{"/tmp/perf-tool"};
};

using PathAndTest = std::tuple<std::string, std::string>;
class PerfTests : public PerfTool, public ::testing::WithParamInterface<PathAndTest> {};
INSTANTIATE_TEST_SUITE_P(
    Over, PerfTests,
    ::testing::Combine(::testing::Values("net", "local"),
                       ::testing::Values("am_lat", "am_bw", "object_lat", "object_rate", "object_cpu",
                                         "chunk_lat", "chunk_bw", "allocate_send", "fanout", "stream",
                                         "manytoone", "sharded")),
    [](const auto& about) { return std::get<0>(about.param) + "_" + std::get<1>(about.param); });

TEST_P(PerfTests, EveryTestMeasuresWhatItWasAskedForAndChecksTheContents) {
  const auto& [path, test] = GetParam();
  const bool raw = test.starts_with("am_");
  const auto all = results({"--local", "--path", path, "-t", test, "-n", "30", "-s", "64,200000", "--check",
                            "--groups", "3", "--poll", "event"});
  ASSERT_EQ(all.size(), 2u);
  for (const auto& result : all) {
    EXPECT_EQ(result.at("test"), test);
    EXPECT_EQ(result.at("path"), path);
    const bool several = test == "manytoone";
    EXPECT_EQ(result.at("iterations"), several ? 90 : 30);
    EXPECT_GT(result.at("bandwidth_mib_s").at("overall"), 0);
    EXPECT_GT(result.at("latency_us").at("p50"), 0);
    EXPECT_LE(result.at("latency_us").at("p50"), result.at("latency_us").at("p99"));
    EXPECT_LE(result.at("latency_us").at("p99"), result.at("latency_us").at("max"));
    std::uint64_t counted = 0;
    for (const auto& step : result.at("histogram")) counted += step.at(1).get<std::uint64_t>();
    EXPECT_EQ(counted, result.at("iterations"));
    const std::string transports = result.at("transports");
    if (!raw) {
      EXPECT_EQ(transports.find("sysv") != transports.npos, path == "local") << transports;
    }
  }
  EXPECT_EQ(all[1].at("size"), 200000);
}

TEST_F(PerfTool, TwoEndsMeetOverTheNetworkAndMeasureMoreThanOnce) {
  Cluster cluster({.nodes = {"a", "b"}});
  const perf::ReservedPort port;
  Process waiting = start({"-p", std::to_string(port.number()), "--sidecar", beside(cluster, 1)});
  ASSERT_TRUE(waiting.wait_for_line("waiting; on the other host: sidecar-perf ", seconds(10)));
  for (int i = 0; i < 2; ++i) {
    const auto all = results({"127.0.0.1", "-p", std::to_string(port.number()), "--sidecar",
                              beside(cluster, 0), "-t", "chunk_lat", "-s", "1K", "-n", "10", "--check"});
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].at("transports"), "tcp");
  }
  waiting.signal(SIGTERM);
  EXPECT_TRUE(waiting.wait(seconds(5)));
}

TEST_F(PerfTool, AnEndThatIsKilledEndsTheOtherWithAMessage) {
  Cluster cluster({.nodes = {"a", "b"}, .flags = {"--orphan-grace", "1s"}});
  const perf::ReservedPort port;
  Process waiting = start({"-p", std::to_string(port.number()), "--sidecar", beside(cluster, 1)});
  Process measuring = start({"127.0.0.1", "-p", std::to_string(port.number()), "--sidecar",
                             beside(cluster, 0), "-t", "chunk_bw", "-n", "100000000", "--json"});
  const auto at_work = [&] { return cluster.counter(1, "bytes_received") > (100u << 20); };
  const auto until = std::chrono::steady_clock::now() + seconds(20);
  while (!at_work() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_TRUE(at_work());
  measuring.kill();
  // The waiting end goes on to the next.
  const auto all = results({"127.0.0.1", "-p", std::to_string(port.number()), "--sidecar", beside(cluster, 0),
                            "-t", "object_lat", "-n", "10"});
  EXPECT_EQ(all.size(), 1u);

  Process left = start({"127.0.0.1", "-p", std::to_string(port.number()), "--sidecar", beside(cluster, 0),
                        "-t", "chunk_bw", "-n", "100000000", "--json"});
  const auto before = cluster.counter(1, "bytes_received");
  while (cluster.counter(1, "bytes_received") < before + (10u << 20) &&
         std::chrono::steady_clock::now() < until + seconds(20))
    std::this_thread::sleep_for(milliseconds(10));
  waiting.kill();
  EXPECT_EQ(left.wait(seconds(5)), (perf::Ending{1, 0}));
  EXPECT_NE(left.log_text().find("the other end has gone"), std::string::npos) << left.log_text();
}

TEST_F(PerfTool, ABatchRunsEveryLine) {
  const std::string batch = folder_.path() + "/batch";
  std::ofstream(batch)
      << "# two tests\nsmall -t object_lat -s 8,64\n\nlarge -t chunk_bw -s 100K # one size\n";
  const auto all = results({"--local", "-b", batch, "-n", "5"});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].at("size"), 8);
  EXPECT_EQ(all[1].at("test"), "object_lat");
  EXPECT_EQ(all[2].at("test"), "chunk_bw");
  EXPECT_EQ(all[2].at("size"), 102400);
}

TEST_F(PerfTool, TheTableAndTheCsvHaveAColumnForEachFigure) {
  const Ended table = run({"--local", "-t", "am_lat", "-n", "10", "-f"});
  EXPECT_EQ(table.ending, (perf::Ending{0, 0})) << table.log;
  ASSERT_GE(table.lines.size(), 5u);
  EXPECT_NE(table.lines[0].find("am_lat (net)"), std::string::npos);
  const Ended csv = run({"--local", "-t", "am_lat", "-n", "10", "-v"});
  ASSERT_EQ(csv.lines.size(), 2u);
  const auto columns = [](const std::string& line) { return std::count(line.begin(), line.end(), ','); };
  EXPECT_EQ(columns(csv.lines[0]), columns(csv.lines[1]));
}

TEST_F(PerfTool, ComparedWithAReferenceThereIsARatio) {
  const auto all = results({"--local", "-t", "am_lat", "-n", "50", "--compare", "--pairs", "3"});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_GT(all[0].at("ratio"), 0);
  EXPECT_EQ(all[0].at("reference").at("pairs"), 3);
  const auto raw = results({"--local", "-t", "chunk_bw", "-s", "64K,1M", "-n", "8", "--compare",
                            "--reference", "raw", "--pairs", "3"});
  ASSERT_EQ(raw.size(), 2u);
  for (const auto& one : raw) {
    EXPECT_GT(one.at("ratio"), 0);
    EXPECT_NE(one.at("reference").at("name").get<std::string>().find("bare UCX"), std::string::npos);
  }
}

struct Scaling {
  std::string test, at;
  std::vector<double> x;
  std::string counted;  // what the sidecar itself says of it
  double unit = 1;
};
class PerfScaling : public PerfTool, public ::testing::WithParamInterface<Scaling> {};
INSTANTIATE_TEST_SUITE_P(
    Of, PerfScaling,
    ::testing::Values(Scaling{"scale_ids", "0,10,3K", {0, 10, 3000}, "chunks"},
                      Scaling{"scale_waiting", "2,51K", {2, 51'000}, "waiting_recvs"},  // of two clients
                      Scaling{"scale_peers", "1,3,4", {1, 3, 4}, "peers_connected"},
                      Scaling{"scale_arena", "96M,64M", {0.0625, 0.09375}, "arena_bytes", 1 << 30}),
    [](const auto& about) { return about.param.test; });

TEST_P(PerfScaling, ThereIsALineForEachXMeasuredWhileThatMuchIsThere) {
  const Scaling& scaling = GetParam();
  for (const std::string path : {"net", "local"}) {
    const auto all =
        results({"--local", "--path", path, "-t", scaling.test, "-x", scaling.at, "-n", "20", "--check"});
    ASSERT_EQ(all.size(), scaling.x.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i].at("test"), scaling.test);
      EXPECT_EQ(all[i].at("path"), path);
      EXPECT_EQ(all[i].at("x"), scaling.x[i]);
      EXPECT_NE(all[i].at("x_name"), "");
      EXPECT_EQ(all[i].at(scaling.counted), scaling.x[i] * scaling.unit);
      EXPECT_EQ(all[i].at("iterations"), 20);
      EXPECT_GT(all[i].at("latency_us").at("p50"), 0);
    }
  }
}

TEST_F(PerfTool, TheTableAndTheCsvSayAtWhichXOfAScalingTest) {
  const Ended table = run({"--local", "-t", "scale_ids", "-x", "5,7K", "-n", "10", "-f"});
  ASSERT_GE(table.lines.size(), 6u) << table.log;
  const auto in_some_line = [&](const std::string& text) {
    return std::ranges::any_of(table.lines, [&](const std::string& line) { return line.ends_with(text); });
  };
  EXPECT_TRUE(in_some_line("  5 ids held"));
  EXPECT_TRUE(in_some_line("  7000 ids held"));
  const Ended csv = run({"--local", "-t", "scale_ids", "-x", "7K", "-n", "10", "-v"});
  ASSERT_EQ(csv.lines.size(), 2u) << csv.log;
  EXPECT_TRUE(csv.lines[0].starts_with("test,path,size,x,iterations,"));
  EXPECT_TRUE(csv.lines[1].starts_with("scale_ids,net,64,7000,10,"));
}

// The sidecars are somebody's: what a Cluster that ends finds in them fails the test.
TEST_F(PerfTool, NothingOfAScalingTestStaysInSidecarsThatWereThereBefore) {
  Cluster cluster({.nodes = {"a", "b"}, .arena = "8M"});
  const perf::ReservedPort port;
  Process waiting = start({"-p", std::to_string(port.number()), "--sidecar", beside(cluster, 1)});
  const auto measure = [&](const char* test, const char* at) {
    return std::vector<std::string>{"127.0.0.1",
                                    "-p",
                                    std::to_string(port.number()),
                                    "--sidecar",
                                    beside(cluster, 0),
                                    "-t",
                                    test,
                                    "-x",
                                    at,
                                    "-n",
                                    "10"};
  };
  for (const char* const test : {"scale_ids", "scale_waiting"}) {
    EXPECT_EQ(results(measure(test, "1,2K")).size(), 2u);
    EXPECT_TRUE(cluster.becomes_empty(0)) << test;
  }
  // More than there is room for.
  const Ended full = run(measure("scale_ids", "10,100K"));
  EXPECT_EQ(full.ending, (perf::Ending{1, 0}));
  EXPECT_NE(full.log.find("the other end: send: "), std::string::npos) << full.log;
  waiting.signal(SIGTERM);
  EXPECT_TRUE(waiting.wait(seconds(5)));
}

TEST_F(PerfTool, AnObjectsCpuTimeInASidecarIsSetBesideAnEchos) {
  for (const char* const test : {"object_lat", "object_rate"}) {
    const auto all = results({"--local", "-t", test, "-n", "100", "--poll", "event"});
    ASSERT_EQ(all.size(), 1u);
    EXPECT_GT(all[0].at("sidecar_cpu_us"), 0) << test;
  }
  for (const auto& more : std::vector<std::vector<std::string>>{{}, {"-O", "1", "--spacing-us", "50"}}) {
    std::vector<std::string> arguments{"--local", "--path", "local", "-t",      "object_cpu", "-n",
                                       "500",     "--poll", "event", "--pairs", "3",          "--compare"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto all = results(arguments);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_GT(all[0].at("sidecar_cpu_us"), 0);
    EXPECT_GT(all[0].at("ratio"), 0);
    EXPECT_EQ(all[0].at("reference").at("unit"), "us of CPU time");
    EXPECT_EQ(all[0].at("bar").at("value"), 6);
  }
}

TEST_F(PerfTool, AStreamTellsTheLongestStepOfEachSidecar) {
  const auto all = results({"--local", "-t", "stream", "-n", "20", "--poll", "event"});
  ASSERT_EQ(all.size(), 1u);
  const double longest = all[0].at("longest_step_us");
  EXPECT_GT(longest, 0);
  EXPECT_EQ(longest, std::max(all[0].at("longest_step_us_rank0").get<double>(),
                              all[0].at("longest_step_us_rank1").get<double>()));
  EXPECT_GT(all[0].at("longest_step_cpu_us"), 0);
}

TEST_F(PerfTool, OurDefaultsAreSetBesideWhatWasSetByHand) {
  const std::string batch = folder_.path() + "/batch";
  std::ofstream(batch) << "rails -t chunk_bw -s 1M --env UCX_MAX_RNDV_RAILS=2 --env UCX_TCP_TX_SEG_SIZE=16K\n"
                       << "pages -t chunk_bw -s 1M --small-pages\n"
                       << "plain -t am_lat\n";
  const auto all = results({"--local", "-b", batch, "-n", "20", "--compare", "--pairs", "3"});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].at("settings"), "UCX_MAX_RNDV_RAILS=2, UCX_TCP_TX_SEG_SIZE=16K");
  EXPECT_EQ(all[1].at("settings"), "small pages");
  for (int i = 0; i < 2; ++i) {
    EXPECT_NE(all[i].at("reference").at("name").get<std::string>().find("by hand"), std::string::npos);
    EXPECT_GT(all[i].at("ratio"), 0);
    EXPECT_EQ(all[i].at("bar").at("is"), "at least");
    EXPECT_EQ(all[i].at("bar").at("value"), 0.95);
  }
  EXPECT_FALSE(all[2].contains("settings")) << "one line's settings are not the next one's";
  EXPECT_NE(all[2].at("reference").at("name"), all[0].at("reference").at("name"));
}

TEST_F(PerfTool, WhatCannotBeDoneIsSaid) {
  const auto says = [&](std::vector<std::string> arguments, const std::string& what) {
    const Ended ended = run(std::move(arguments));
    EXPECT_TRUE(ended.ending && ended.ending->code != 0) << what;
    EXPECT_NE(ended.log.find(what), std::string::npos) << ended.log;
  };
  says({"--local", "-t", "nonsense"}, "there is no test nonsense; there are am_lat, ");
  says({"--local"}, "which test?");
  says({"--local", "-t", "am_lat", "-s", "4X"}, "4X");
  says({"--local", "-t", "am_lat", "--path", "moon"}, "moon");
  says({"--local", "-t", "am_lat", "-x", "1"}, "-x is for scaling tests; am_lat is none");
  says({"--local", "-t", "scale_ids", "-x", "10,2X"}, "-x 2X");
  says({"--local", "-t", "scale_peers", "--at", "1000"}, "scale_peers can have 1 to 64");
  says({"--local", "-t", "scale_arena", "-x", "1024G"}, "this machine has ");
  says({"127.0.0.1", "-t", "scale_arena"}, "scale_arena needs --local");
  says({"127.0.0.1", "-t", "scale_peers"}, "scale_peers needs --local");
  says({"--local", "-b", "/nowhere/batch"}, "cannot read /nowhere/batch");
  says({"--local", "-t", "am_lat", "-c", "4095"}, "4095");
  says({"--local", "-t", "chunk_bw", "--env", "UCX_TLS"}, "UCX_TLS: NAME=VALUE is wanted");
  says({"--local", "-t", "chunk_bw", "--env", "SIDECAR_EAGER_MAX=moon"}, "SIDECAR_EAGER_MAX");
  says({"-t", "chunk_bw", "127.0.0.1", "--env", "UCX_TLS=tcp"}, "are for --local");
  if (access("/dev/nvidiactl", F_OK) != 0)
    says({"--local", "-t", "d2h_send", "-n", "3", "-s", "1M"}, "NVIDIA");
  const perf::ReservedPort port;
  says({"127.0.0.1", "-t", "am_lat", "-p", std::to_string(port.number())},
       "no sidecar-perf waits at 127.0.0.1:");
}

}  // namespace
}  // namespace sidecar::e2e
