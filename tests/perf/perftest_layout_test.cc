// What a ucx_perftest client of each UCX sends first, byte for byte, and what is refused of it. The offsets
// here were printed by a compiler that was given each version's headers.
#include <gmock/gmock.h>

#include <cstring>
#include <limits>
#include <map>
#include <random>

#include "perf/perftest/layout.h"

namespace sidecar::perf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Offsets {
  unsigned minor;  // 1.<minor>
  std::size_t bytes;
  std::map<std::string, std::size_t> at;
};

std::map<std::string, std::size_t> with_common(std::map<std::string, std::size_t> at) {
  at.insert(
      {{"api", 0}, {"command", 4}, {"test", 8}, {"threads", 16}, {"send_memory", 28}, {"recv_memory", 32}});
  return at;
}

const std::map<std::string, std::size_t> kUntil19{{"flags", 36},       {"count", 48},    {"stride", 56},
                                                  {"outstanding", 72}, {"warmup", 80},   {"warmup_s", 88},
                                                  {"iterations", 96},  {"seconds", 104}, {"percentile", 120}};
const std::map<std::string, std::size_t> kSince20{{"flags", 56},       {"count", 72},    {"stride", 80},
                                                  {"outstanding", 96}, {"warmup", 104},  {"warmup_s", 112},
                                                  {"iterations", 120}, {"seconds", 128}, {"percentile", 144}};

Offsets offsets(unsigned minor) {
  auto at = with_common(minor < 20 ? kUntil19 : kSince20);
  const auto rest = [&](std::size_t device, std::size_t send, std::size_t receive, std::size_t header,
                        std::size_t test_id) {
    at.insert({{"device", device},
               {"send_iov", send},
               {"recv_iov", receive},
               {"header", header},
               {"test_id", test_id}});
  };
  if (minor < 17) {
    rest(152, 236, 240, 248, 256);
    return {minor, 264, at};
  }
  if (minor < 20) {
    rest(160, 240, 244, 248, 520);
    at["daemon"] = 256;
    return {minor, 528, at};
  }
  if (minor == 20) {
    rest(192, 272, 276, 280, 552);
    at["daemon"] = 288;
    return {minor, 560, at};
  }
  rest(216, 296, 300, 304, 576);
  at["daemon"] = minor < 23 ? 312 : 316;
  if (minor >= 23) at["error_mode"] = 312;
  return {minor, 584, at};
}

// A client's parameters as its options leave them: `ucx_perftest -t ucp_am_lat`.
class Client {
 public:
  explicit Client(unsigned minor) : offsets_(offsets(minor)), bytes_(offsets_.bytes) {
    set<std::uint32_t>("api", 1).set<std::uint32_t>("threads", 1).set<std::uint32_t>("flags", 128);
    set<std::uint64_t>("count", 1).set<std::uint64_t>("warmup", 10'000).set<double>("warmup_s", 0.1);
    set<std::uint64_t>("iterations", 1'000'000)
        .set<double>("percentile", 50)
        .set<std::uint32_t>("test_id", 23);
    std::memcpy(bytes_.data() + offsets_.at.at("device"), "<none>", 6);
    if (minor >= 20) {  // the numbers of two devices, which nobody chose
      constexpr std::int32_t kNone = -1;
      std::memcpy(bytes_.data() + 40, &kNone, sizeof kNone);
      std::memcpy(bytes_.data() + 48, &kNone, sizeof kNone);
    }
  }
  template <class T>
  Client& set(const std::string& name, T value) {
    std::memcpy(bytes_.data() + offsets_.at.at(name), &value, sizeof value);
    return *this;
  }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }
  [[nodiscard]] Result<PerftestParams> parsed() const {
    return parse_perftest_params(*perftest_layout_of(1, offsets_.minor), bytes_);
  }
  // What is said about it; empty: it is served.
  [[nodiscard]] std::string refusal() const {
    const auto params = parsed();
    return params ? "" : to_string(params.error());
  }

 private:
  Offsets offsets_;
  std::vector<std::byte> bytes_;
};

std::vector<std::byte> list_of(const std::vector<std::uint64_t>& sizes) {
  const auto bytes = std::as_bytes(std::span(sizes));
  return {bytes.begin(), bytes.end()};
}

class EachLayout : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Ucx, EachLayout, testing::Values(13, 16, 17, 19, 20, 21, 22, 23),
                         [](const auto& minor) { return "1_" + std::to_string(minor.param); });

TEST_P(EachLayout, HasTheLengthOfThatVersionsStruct) {
  const PerftestLayout* const layout = perftest_layout_of(1, GetParam());
  ASSERT_NE(layout, nullptr);
  EXPECT_EQ(layout->bytes, offsets(GetParam()).bytes);
}

TEST_P(EachLayout, GivesEveryFieldBack) {
  Client client(GetParam());
  client.set<std::uint32_t>("test", 2).set<std::uint32_t>("outstanding", 7).set<std::uint64_t>("stride", 512);
  client.set<std::uint64_t>("count", 3).set<std::uint64_t>("warmup", 11).set<double>("warmup_s", 0.25);
  client.set<std::uint64_t>("iterations", 13)
      .set<std::uint32_t>("send_iov", 1)
      .set<std::uint64_t>("header", 64);
  client.set<std::uint32_t>("flags", 128 | 1 << 3 | 1 << 11 | 1 << 13 | 1 << 14);
  if (GetParam() >= 23) client.set<std::uint32_t>("error_mode", 1);
  auto params = client.parsed();
  ASSERT_TRUE(params) << to_string(params.error());
  EXPECT_FALSE(params->ping_pong);
  EXPECT_EQ(params->outstanding, 7u);
  EXPECT_EQ(params->stride, 512u);
  EXPECT_EQ(params->sizes_count, 3u);
  EXPECT_EQ(params->warmup_iterations, 11u);
  EXPECT_EQ(params->warmup_seconds, 0.25);
  EXPECT_EQ(params->iterations, 13u);
  EXPECT_EQ(params->header_bytes, 64u);
  EXPECT_TRUE(params->send_iov);
  EXPECT_FALSE(params->receive_iov);
  EXPECT_TRUE(params->peer_errors && params->map_later && params->registered && params->copy_on_receive);
  ASSERT_TRUE(parse_perftest_sizes(list_of({16, 400, 1}), *params));
  EXPECT_THAT(params->sizes, ElementsAre(16, 400, 1));
  EXPECT_EQ(params->message_bytes, 417u);
  EXPECT_EQ(params->buffer_bytes, 3u * 512);
  EXPECT_EQ(to_string(*params), "ucp_am_bw, 417 bytes in 3 parts and a header of 64, 13 iterations");
}

TEST_P(EachLayout, RefusesWhatIsNotServedAndSaysWhat) {
  const auto client = [] { return Client(GetParam()); };
  EXPECT_EQ(client().refusal(), "");
  EXPECT_THAT(client().set<std::uint32_t>("api", 0).refusal(),
              HasSubstr("only -t ucp_am_lat and -t ucp_am_bw"));
  EXPECT_THAT(client().set<std::uint32_t>("command", 7).refusal(), HasSubstr("ucp_am_bw are (7)"));
  EXPECT_THAT(client().set<std::uint32_t>("test", 1).refusal(), HasSubstr("ucp_am_bw are (1)"));
  EXPECT_THAT(client().set<std::uint32_t>("threads", 4).refusal(), HasSubstr("several threads (-T)"));
  EXPECT_THAT(client().set<std::uint32_t>("recv_memory", 1).refusal(), HasSubstr("host memory (-m)"));
  EXPECT_THAT(client().set<std::uint32_t>("flags", 1 << 2).refusal(), HasSubstr("(-o)"));
  EXPECT_THAT(client().set<std::uint32_t>("flags", 1 << 20).refusal(), HasSubstr("flags that are not known"));
  EXPECT_THAT(client().set<std::uint64_t>("iterations", 0).refusal(), HasSubstr("say it with -n"));
  EXPECT_THAT(client().set<double>("seconds", 3).refusal(), HasSubstr("say it with -n"));
  if (GetParam() >= 17) {
    EXPECT_THAT(client().set<std::uint32_t>("daemon", 1).refusal(), HasSubstr("daemon"));
  }
  if (GetParam() >= 23) {
    EXPECT_THAT(client().set<std::uint32_t>("error_mode", 2).refusal(), HasSubstr("(-e)"));
  }
}

TEST_P(EachLayout, TakesImpossibleFieldsForAnotherLayout) {
  const auto code = [](const Client& client) { return client.parsed().error().code; };
  const auto client = [] { return Client(GetParam()); };
  constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();
  for (const char* const name : {"count", "stride", "warmup", "iterations", "header"}) {
    EXPECT_EQ(code(client().set<std::uint64_t>(name, kHuge)), Errc::kProtocol) << name;
  }
  for (const char* const name : {"api", "command", "test", "threads", "send_memory", "recv_memory",
                                 "outstanding", "send_iov", "recv_iov", "test_id"}) {
    EXPECT_EQ(code(client().set<std::uint32_t>(name, ~0u)), Errc::kProtocol) << name;
  }
  for (const char* const name : {"warmup_s", "seconds", "percentile"}) {
    for (const double value : {-1.0, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
      EXPECT_EQ(code(client().set<double>(name, value)), Errc::kProtocol) << name << " " << value;
    }
  }
  EXPECT_EQ(code(client().set<std::uint64_t>("count", 0)), Errc::kProtocol);
  EXPECT_EQ(code(client().set<std::uint64_t>("device", 0)), Errc::kProtocol);
  EXPECT_EQ(code(client().set<std::uint64_t>("device", 0x1b5b1b5b)), Errc::kProtocol);
  EXPECT_EQ(code(client().set<std::uint32_t>("threads", 0)), Errc::kProtocol);
}

TEST(PerftestLayout, ChoosesTheTestsOwnWindowWhenTheClientWasNotTold) {
  EXPECT_EQ(Client(13).parsed()->outstanding, 1u);
  EXPECT_EQ(Client(13).set<std::uint32_t>("test", 2).parsed()->outstanding, 32u);
}

TEST(PerftestLayout, IsKnownFromTheOldestToTheNewestThatSomebodyLookedAt) {
  EXPECT_EQ(perftest_layout_of(1, 12), nullptr);
  EXPECT_EQ(perftest_layout_of(1, 24), nullptr);
  EXPECT_EQ(perftest_layout_of(2, 13), nullptr);
  EXPECT_FALSE(perftest_acknowledges_streams(1, 18));
  EXPECT_TRUE(perftest_acknowledges_streams(1, 19));
}

// Each client's bytes, with the list of sizes and what follows them, in each other's layout.
TEST(PerftestLayout, RecognisesAClientOfAnotherVersion) {
  for (const unsigned theirs : {13u, 17u, 20u, 21u}) {
    for (const unsigned ours : {13u, 17u, 20u, 21u}) {
      if (ours == theirs) continue;
      for (const std::uint32_t test : {0u, 2u}) {
        auto bytes = Client(theirs).set<std::uint32_t>("test", test).bytes();
        // The list of sizes and the description of an address follow, which may lie where a longer layout has
        // fields.
        for (const std::byte byte : list_of({8, 120, 80, 120, 0, 0, 0})) bytes.push_back(byte);
        bytes.resize(1000, std::byte{1});
        const auto params = parse_perftest_params(*perftest_layout_of(1, ours), bytes);
        ASSERT_FALSE(params) << "1." << theirs << " at 1." << ours;
        EXPECT_EQ(params.error().code, Errc::kProtocol) << "1." << theirs << " at 1." << ours;
        EXPECT_EQ(guess_perftest_layout(bytes), perftest_layout_of(1, theirs)) << theirs;
      }
    }
  }
}

TEST(PerftestLayout, GuessesNothingFromNoise) {
  std::mt19937 random(7);
  for (int i = 0; i < 10'000; ++i) {
    std::vector<std::byte> bytes(i % 700);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    EXPECT_EQ(guess_perftest_layout(bytes), nullptr);
  }
  EXPECT_EQ(guess_perftest_layout({}), nullptr);
  EXPECT_EQ(guess_perftest_layout(std::vector<std::byte>(1000)), nullptr);
}

TEST(PerftestLayout, BoundsWhatTheListOfSizesAsksFor) {
  const auto refusal = [](const std::vector<std::uint64_t>& sizes, std::uint64_t stride = 0) {
    auto params = Client(13).set<std::uint64_t>("count", sizes.size()).set("stride", stride).parsed();
    const Status status = parse_perftest_sizes(list_of(sizes), *params);
    return status ? "" : to_string(status.error());
  };
  constexpr std::uint64_t kMost = 1 << 30, kHuge = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(refusal({kMost}), "");
  EXPECT_EQ(refusal({0}), "");
  EXPECT_THAT(refusal({kMost + 1}), HasSubstr("longer than is served"));
  EXPECT_THAT(refusal({kMost, 1}), HasSubstr("longer than is served"));
  EXPECT_THAT(refusal({8, kHuge - 7}), HasSubstr("longer than is served"));
  EXPECT_THAT(refusal({100}, 99), HasSubstr("longer than the stride"));
  EXPECT_THAT(refusal({100, 100}, std::uint64_t{1} << 40), HasSubstr("buffer is longer"));
}

}  // namespace
}  // namespace sidecar::perf
