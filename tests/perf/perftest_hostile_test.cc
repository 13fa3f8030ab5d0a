// Clients of sidecar-perf --serve-perftest that go away, say nothing or say what no client says: each ends
// its own session, and the next one is served.
#include <cstring>
#include <random>

#include "tests/perf/perftest_fixture.h"

namespace sidecar::perf {
namespace {

using testing::HasSubstr;

using Bytes = std::vector<std::byte>;

template <class T>
void put(Bytes& bytes, std::size_t offset, T value) {
  if (bytes.size() < offset + sizeof value) bytes.resize(offset + sizeof value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// UCX 1.13's parameters of `ucp_am_lat -n 100 -w 10`, with the list of one size.
Bytes parameters(std::size_t bytes = 264) {
  Bytes all(bytes);
  for (const auto& [offset, value] : {std::pair{0, 1}, {16, 1}, {36, 128}}) put(all, offset, value);
  put(all, 48, std::uint64_t{1});
  put(all, 80, std::uint64_t{10});
  put(all, 88, 0.1);
  put(all, 96, std::uint64_t{100});
  put(all, 120, 50.0);
  std::memcpy(all.data() + (bytes == 264 ? 152 : 160), "<none>", 6);
  put(all, bytes - 8, 23);  // the test's number ends the struct
  put(all, bytes, std::uint64_t{8});
  return all;
}

class PerftestHostile : public PerftestServer {
 protected:
  void SetUp() override {
    serve({"--silence", "1"});
    if (!is_1_13_to_1_16()) GTEST_SKIP() << "made-up clients speak as UCX 1.13's do, this is " << version_;
  }

  // Sends that, waits for the end of the connection, and sees that the next client is served.
  void expect_refusal(const Bytes& bytes, const std::string& said) {
    {
      const Fd connection = stranger();
      ASSERT_EQ(send(connection.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(bytes.size()));
      expect_end(connection);
    }
    expect_service();
    EXPECT_THAT(server_.log_text(), HasSubstr(said));
  }
};

class Killed : public PerftestServer, public testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Client, Killed, testing::Values("lat", "bw"),
                         [](const auto& which) { return which.param; });

TEST_P(Killed, EndsItsOwnSessionOnly) {
  for (const Words& environment : {kTcp, kShared}) {
    serve({}, environment);
    for (const std::string size : {"8", "1048576"}) {
      for (const Words& errors : {Words{}, Words{"-e"}}) {
        Process victim =
            client(Words{"-t", "ucp_am_" + GetParam(), "-s", size, "-n", "100000000", "-w", "10"} + errors,
                   environment);
        usleep(300'000);  // by then it runs
        ASSERT_TRUE(victim.running());
        victim.kill();
        expect_service(environment);
      }
    }
    EXPECT_THAT(server_.log_text(), HasSubstr("given up while"));
    EXPECT_EQ(end_server(), (Ending{0, 0}));
  }
}

TEST_F(PerftestHostile, AStoppedClientIsGivenUpAfterAWhile) {
  Process victim = client({"-t", "ucp_am_lat", "-n", "100000000", "-w", "10"});
  usleep(300'000);
  victim.signal(SIGSTOP);
  expect_service();
  EXPECT_THAT(server_.log_text(),
              HasSubstr("Timeout: the client says nothing any more (seconds waited) (1)"));
}

TEST_F(PerftestHostile, ASilentConnectionIsGivenUpAfterAWhile) {
  expect_refusal({}, "given up while waiting for the client's parameters: Timeout");
}

TEST_F(PerftestHostile, WhoSaysTooLittleIsToldWhatIsMissing) {
  expect_refusal(Bytes(100, std::byte{1}), "it said 100 bytes where UCX 1.13 to 1.16's parameters have 264");
}

TEST_F(PerftestHostile, NoiseIsRefused) {
  std::mt19937 random(11);
  for (const std::size_t size : {264u, 272u, 5000u, 100'000u}) {
    Bytes noise(size);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
    expect_refusal(noise,
                   "refused: its parameters are not laid out as UCX 1.13 to 1.16's are: run a client of");
  }
}

TEST_F(PerftestHostile, AClientOfAnotherVersionIsToldWhichOneItLooksLike) {
  expect_refusal(parameters(528),
                 "laid out as UCX 1.13 to 1.16's are, they look like UCX 1.17 to 1.19's: run a "
                 "client of this server's UCX version, 1.13");
}

TEST_F(PerftestHostile, SizesThatNobodyHasMemoryForAreRefused) {
  for (const std::uint64_t size : {std::uint64_t{1} << 31, ~std::uint64_t{0}}) {
    Bytes bytes = parameters();
    put(bytes, 264, size);
    expect_refusal(bytes, "refused: InvalidArgument: the client's messages are longer than is served");
  }
  Bytes many = parameters();
  put(many, 48, std::uint64_t{1} << 60);
  expect_refusal(many, "refused: its parameters are not laid out");
}

TEST_F(PerftestHostile, AListOfSizesThatNeverComesIsGivenUp) {
  Bytes bytes = parameters();
  put(bytes, 48, std::uint64_t{1000});
  expect_refusal(bytes, "given up while waiting for the client's parameters: Timeout");
}

TEST_F(PerftestHostile, AnAddressThatIsNoneEndsOnlyItsSession) {
  std::mt19937 random(13);
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{40}, std::uint64_t{1} << 50}) {
    Bytes bytes = parameters();
    put(bytes, 272, length);
    expect_refusal(bytes, "Protocol: the client's UCX address has an impossible length");
  }
  for (int i = 0; i < 5; ++i) {
    Bytes bytes = parameters();
    const std::uint64_t noise = 100 + 100 * static_cast<std::uint64_t>(i);
    for (const std::uint64_t word : {40 + noise, noise, 40 + noise}) put(bytes, bytes.size(), word);
    for (int zero = 0; zero < 3; ++zero) put(bytes, bytes.size(), std::uint64_t{0});
    for (std::uint64_t k = 0; k < noise; ++k) bytes.push_back(static_cast<std::byte>(random()));
    expect_refusal(bytes, "perftest server: 127.0.0.1");
  }
}

}  // namespace
}  // namespace sidecar::perf
