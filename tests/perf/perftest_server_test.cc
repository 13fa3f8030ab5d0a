// Stock ucx_perftest clients against sidecar-perf --serve-perftest: every way to run the two tests that it
// serves.
#include "perf/perftest/pairs.h"
#include "tests/perf/perftest_fixture.h"

namespace sidecar::perf {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Case {
  std::string name;
  Words options;
  std::string iterations;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const std::string& name, const std::string& test, const std::string& sizes,
                       const std::string& iterations, const Words& more) {
    all.push_back(
        {name, Words{"-t", "ucp_am_" + test, "-s", sizes, "-n", iterations, "-w", "50"} + more, iterations});
  };
  const std::string megabyte = std::to_string(1 << 20);
  for (const std::string test : {"lat", "bw"}) {
    for (const Words& errors : {Words{}, Words{"-e"}}) {
      const std::string with = errors.empty() ? "" : "WithErrorHandling";
      add(test + "Of8Bytes" + with, test, "8", "1000", errors);
      add(test + "Of4096Bytes" + with, test, "4096", "500", errors);
      add(test + "Of1MiB" + with, test, megabyte, "50", errors);
    }
    add(test + "OfNothing", test, "0", "500", {});
    add(test + "WithAHeader", test, "8", "500", {"-H", "64"});
    add(test + "WithTheLongestHeader", test, "4096", "500", {"-H", "8000"});
    add(test + "OfParts", test, "16,48,4096", "500", {"-D", "iov"});
    add(test + "OfPartsIntoParts", test, "16,48,4096", "500", {"-D", "iov,iov"});
    add(test + "OfLongParts", test, "100000,400000,7", "50", {"-D", "iov,iov"});
    add(test + "OfPartsWithGaps", test, "16,300000,7", "50", {"-D", "iov,iov", "-i", "300001"});
    add(test + "ThatSleeps", test, "8", "200", {"-E", "sleep"});
    add(test + "ThatSleepsWithErrorHandling", test, megabyte, "20", {"-E", "sleep", "-e"});
    add(test + "WithMemoryHandles", test, megabyte, "50", {"-z"});
    add(test + "WithAWindow", test, "8", "500", {"-O", "4"});
    add(test + "WithoutWarmUp", test, "8", "500", {"-w", "0"});
    add(test + "OfOneIteration", test, "8", "1", {});
  }
  return all;
}

class Stock : public PerftestServer, public testing::WithParamInterface<Case> {};
INSTANTIATE_TEST_SUITE_P(Client, Stock, testing::ValuesIn(cases()),
                         [](const auto& which) { return which.param.name; });

TEST_P(Stock, IsServedOverTcpAndSharedMemory) {
  for (const Words& environment : {kTcp, kShared}) {
    serve({}, environment);
    const Outcome outcome = run_client(GetParam().options, environment);
    EXPECT_EQ(outcome.ending, (Ending{0, 0})) << outcome.complaints;
    EXPECT_EQ(outcome.iterations, GetParam().iterations) << outcome.complaints;
    EXPECT_THAT(outcome.complaints, Not(HasSubstr("ERROR")));
    EXPECT_TRUE(server_.wait_for_line("perftest server: 127.0.0.1", kPatience));
    EXPECT_THAT(server_.log_text(), HasSubstr(GetParam().iterations + " iterations: done"));
    EXPECT_EQ(end_server(), (Ending{0, 0}));
  }
}

TEST_F(PerftestServer, ServesWithEachPollPolicyOneClientAfterTheOther) {
  for (const std::string policy : {"event", "adaptive", "busy"}) {
    serve({"--poll", policy});
    for (int i = 0; i < 3; ++i) expect_service();
    EXPECT_EQ(end_server(), (Ending{0, 0}));
  }
}

TEST_F(PerftestServer, LetsASecondClientWaitForTheFirst) {
  serve();
  Process first = client({"-t", "ucp_am_lat", "-n", "20000", "-w", "0"});
  expect_service();
  while (first.read_line(kPatience)) {
  }
  EXPECT_EQ(first.wait(kPatience), (Ending{0, 0})) << server_.log_text();
}

TEST_F(PerftestServer, EndsAfterOneClientWhenAskedTo) {
  serve({"--once"});
  expect_service();
  EXPECT_EQ(server_.wait(kPatience), (Ending{0, 0}));
  serve({"--once"});
  const Fd connection = stranger();
  shutdown(connection.get(), SHUT_WR);
  EXPECT_EQ(server_.wait(kPatience), (Ending{1, 0}));
}

TEST_F(PerftestServer, EndsOnASignalWhileIdleAndWhileServing) {
  serve();
  EXPECT_EQ(end_server(SIGINT), (Ending{0, 0}));
  serve();
  Process busy = client({"-t", "ucp_am_lat", "-n", "100000000", "-w", "10"});
  const std::string children =
      "/proc/" + std::to_string(server_.pid()) + "/task/" + std::to_string(server_.pid()) + "/children";
  std::string child;
  for (int i = 0; i < 1000 && child.empty(); ++i) {
    child = read_file(children);
    usleep(10'000);
  }
  ASSERT_NE(child, "");
  child.pop_back();  // the blank behind it
  EXPECT_EQ(end_server(), (Ending{0, 0}));
  EXPECT_EQ(read_file("/proc/" + child + "/cmdline"), "");
}

TEST_F(PerftestServer, SaysThatItsPortIsTaken) {
  serve();
  Process second({.argv = {program_path("sidecar-perf"), "--serve-perftest", "--port", port_},
                  .log = folder_.path() + "/second.log"});
  EXPECT_EQ(second.wait(kPatience), (Ending{1, 0}));
  EXPECT_THAT(second.log_text(), HasSubstr("cannot listen on port " + port_ + ": Address already in use"));
}

TEST_F(PerftestServer, RefusesATestThatIsNotServedAndServesTheNext) {
  serve();
  for (const std::string test : {"tag_lat", "ucp_put_bw", "stream_bw"}) {
    Process other = client({"-t", test, "-n", "10"});
    EXPECT_TRUE(server_.wait_for_line("perftest server: 127.0.0.1", kPatience));
    expect_service();
  }
  EXPECT_THAT(server_.log_text(),
              HasSubstr("refused: InvalidArgument: the client's test is not served: only -t "
                        "ucp_am_lat and -t ucp_am_bw are"));
}

TEST(PerftestPairs, SetUsBesideAStockServer) {
  for (const std::string test : {"ucp_am_lat", "ucp_am_bw"}) {
    auto pairs = run_perftest_pairs({.test = test,
                                     .message_bytes = 4096,
                                     .iterations = 500,
                                     .pairs = 2,
                                     .environment = kTcp,
                                     .server = {program_path("sidecar-perf"), "--serve-perftest"}});
    ASSERT_TRUE(pairs) << to_string(pairs.error());
    EXPECT_EQ(pairs->ratio.count(), 2u);
    EXPECT_GT(pairs->ours.min(), 0);
    EXPECT_GT(pairs->stock.min(), 0);
    EXPECT_GT(pairs->ratio.min(), 0);
    EXPECT_EQ(pairs->unit, test == "ucp_am_lat" ? "us" : "MiB/s");
  }
}

TEST(PerftestPairs, SayWhoseServerGaveNoResult) {
  const auto pairs =
      run_perftest_pairs({.iterations = 10, .pairs = 1, .environment = kTcp, .server = {"/bin/false"}});
  ASSERT_FALSE(pairs);
  EXPECT_THAT(to_string(pairs.error()), HasSubstr("no result from our server"));
}

}  // namespace
}  // namespace sidecar::perf
