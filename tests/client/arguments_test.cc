#include "client/arguments.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "sidecar/client.h"

namespace sidecar::client_internal {
namespace {

const std::string kLongest(255, 'x');

TEST(Arguments, ATensorsSizeFollowsFromDtypeAndShape) {
  const auto meta = tensor_meta("id", {2, 5, false}, Dtype::kF16, {3, 7}, 14);
  ASSERT_TRUE(meta);
  EXPECT_EQ(meta->bytes, 42u);
  EXPECT_EQ(meta->chunk, 2u);
  EXPECT_EQ(meta->num_chunks, 5u);
  EXPECT_EQ(meta->unit_bytes, 14u);
  EXPECT_EQ(tensor_meta("id", {}, Dtype::kF64, {}, 0)->bytes, 8u);
  EXPECT_EQ(tensor_meta("id", {}, Dtype::kF64, {0, 3}, 0)->bytes, 0u);
}

TEST(Arguments, IdsHave1To255BytesOfAnyKind) {
  EXPECT_TRUE(data_id_of(kLongest));
  EXPECT_TRUE(data_id_of(std::string_view("\0\xff\n", 3)));
  EXPECT_EQ(data_id_of(std::string_view("\0\xff\n", 3))->size(), 3u);
  EXPECT_EQ(data_id_of("").error().code, Errc::kInvalidArgument);
  EXPECT_EQ(data_id_of(kLongest + "x").error().code, Errc::kInvalidArgument);
}

TEST(Arguments, AMistakeIsNamed) {
  const auto what = [](const auto& result) {
    return result ? std::string() : failure_of(result.error()).message;
  };
  EXPECT_NE(what(tensor_meta("id", {5, 5, false}, Dtype::kF32, {1}, 0)).find("chunk_id"), std::string::npos);
  EXPECT_NE(what(tensor_meta("id", {0, 0, false}, Dtype::kF32, {1}, 0)).find("num_chunks"),
            std::string::npos);
  EXPECT_NE(what(tensor_meta("id", {}, static_cast<Dtype>(99), {1}, 0)).find("dtype"), std::string::npos);
  EXPECT_NE(what(tensor_meta("id", {}, Dtype::kF32, {1ull << 40, 1ull << 40}, 0)).find("shape"),
            std::string::npos);
  EXPECT_NE(what(tensor_meta("id", {}, Dtype::kF32, std::vector<std::uint64_t>(17, 1), 0)).find("shape"),
            std::string::npos);
  EXPECT_NE(what(data_id_of("")).find("id"), std::string::npos);
  EXPECT_NE(what(destinations_of({{1}}, {1})).find("destinations"), std::string::npos);
}

TEST(Arguments, StreamsHaveNoNumberOfChunksYet) {
  const auto meta = tensor_meta("id", {7, 1, true}, Dtype::kU8, {1}, 0);
  ASSERT_TRUE(meta);
  EXPECT_EQ(meta->num_chunks, 0u);
  EXPECT_TRUE(meta->stream);
}

TEST(Arguments, DestinationsAreGroupsOfOtherRanks) {
  const auto good = destinations_of({{3, 2}, {4}}, {0});
  ASSERT_TRUE(good);
  EXPECT_EQ(good->groups, 2);
  EXPECT_EQ(good->leader(0), 2);
  for (const Groups& bad : {Groups{}, Groups{{}}, Groups{{1}, {}}, Groups{{-1}}, Groups{{0}},
                            Groups{{1, 2}, {1, 3}}, Groups(300, Group{1})}) {
    const auto refused = destinations_of(bad, {0});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
  }
}

TEST(Arguments, NoRankOfTheCallersOwnGroupIsADestination) {
  const Group own{2, 5, 7};
  EXPECT_TRUE(destinations_of({{1, 3}, {6}, {8}}, own));
  for (const Rank each : own) {
    for (const Groups& bad : {Groups{{each}}, Groups{{1}, {8, each}}}) {
      const auto refused = destinations_of(bad, own);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
      EXPECT_EQ(refused.error().rank, each);
      EXPECT_NE(std::string(refused.error().what).find("destinations"), std::string::npos);
    }
  }
}

ClientOptions completed(Rank rank, Group group) {
  ClientOptions options;
  options.rank = rank;
  options.group = std::move(group);
  EXPECT_EQ(complete(options).code, Errc::kOk);
  return options;
}

TEST(Arguments, RankAndGroupComplementEachOther) {
  EXPECT_EQ(completed(kNoRank, {}).rank, 0);
  EXPECT_EQ(completed(kNoRank, {}).group, Group{0});
  EXPECT_EQ(completed(4, {}).group, Group{4});
  EXPECT_EQ(completed(kNoRank, {7, 5, 6}).rank, 5);
  EXPECT_EQ(completed(6, {7, 5, 6}).rank, 6);
  EXPECT_EQ(completed(6, {7, 5, 6}).group, (Group{5, 6, 7}));  // in whatever order they were named
}

TEST(Arguments, ARankAndAGroupThatContradictEachOtherAreRefused) {
  Group many(257);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<Rank>(i);
  for (const auto& [rank, group] : std::vector<std::pair<Rank, Group>>{
           {1, {2, 3}}, {-2, {}}, {2, {2, 2}}, {2, {-1, 2}}, {kNoRank, {-1, 2}}, {0, many}}) {
    ClientOptions options;
    options.rank = rank;
    options.group = group;
    EXPECT_EQ(complete(options).code, Errc::kInvalidArgument) << rank;
  }
}

TEST(Arguments, DeadlinesBecomeNanosecondsOrNever) {
  using std::chrono::seconds;
  EXPECT_EQ(timeout_ns_of(seconds(2), seconds(9)), 2 * kSecond);
  EXPECT_EQ(timeout_ns_of(kDefaultDeadline, seconds(9)), 9 * kSecond);
  EXPECT_EQ(timeout_ns_of(seconds(0), seconds(9)), 0u);
  EXPECT_EQ(timeout_ns_of(kForever, seconds(9)), kNever);
  EXPECT_EQ(timeout_ns_of(kDefaultDeadline, kForever), kNever);
}

TEST(Arguments, AnUnconnectedClientRefusesEverything) {
  Client client;
  EXPECT_EQ(client.recv("id").code(), Errc::kUnavailable);
  EXPECT_EQ(client.send(Object{"x", 1}, "id", {{1}}).code(), Errc::kUnavailable);
  EXPECT_EQ(client.allocate({1}, Dtype::kU8).code(), Errc::kUnavailable);
  EXPECT_EQ(client.mark_done("id").code(), Errc::kUnavailable);
  EXPECT_EQ(client.close_stream("id", 0, {{1}}).code(), Errc::kUnavailable);
  EXPECT_FALSE(client.connected());
}

// The environment is set and put back around each check.
class OptionsFromEnvironment : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const char* name :
         {"SIDECAR_RANK", "SIDECAR_GROUP", "SIDECAR_ADDRESS", "SIDECAR_POLL", "SIDECAR_CONCURRENT_COPY"})
      ::unsetenv(name);
  }
};

TEST_F(OptionsFromEnvironment, SetWhatTheyName) {
  ::setenv("SIDECAR_RANK", "5", 1);
  ::setenv("SIDECAR_GROUP", "4,5,6", 1);
  ::setenv("SIDECAR_ADDRESS", "host:1", 1);
  ::setenv("SIDECAR_POLL", "busy", 1);
  const auto options = ClientOptions::from_env();
  ASSERT_TRUE(options);
  EXPECT_EQ(options->rank, 5);
  EXPECT_EQ(options->group, (Group{4, 5, 6}));
  EXPECT_EQ(options->address, "host:1");
  EXPECT_EQ(options->polling, Polling::kBusy);
}

TEST_F(OptionsFromEnvironment, ConcurrentCopyIsOffUnlessAskedFor) {
  EXPECT_FALSE(ClientOptions().concurrent_copy);
  EXPECT_FALSE(ClientOptions::from_env()->concurrent_copy);
  for (const auto& [text, on] :
       std::vector<std::pair<const char*, bool>>{{"1", true}, {"0", false}, {"", false}}) {
    ::setenv("SIDECAR_CONCURRENT_COPY", text, 1);
    EXPECT_EQ(ClientOptions::from_env()->concurrent_copy, on) << text;
  }
  for (const char* const bad : {"2", "true", "01", " 1"}) {
    ::setenv("SIDECAR_CONCURRENT_COPY", bad, 1);
    const auto options = ClientOptions::from_env();
    ASSERT_FALSE(options) << bad;
    EXPECT_NE(options.error().message.find("SIDECAR_CONCURRENT_COPY"), std::string::npos);
  }
}

TEST_F(OptionsFromEnvironment, FailNamingTheVariable) {
  for (const char* const bad : {"x", "-2", "1x", "99999999999"}) {
    ::setenv("SIDECAR_RANK", bad, 1);
    const auto options = ClientOptions::from_env();
    ASSERT_FALSE(options) << bad;
    EXPECT_NE(options.error().message.find("SIDECAR_RANK"), std::string::npos);
  }
  ::unsetenv("SIDECAR_RANK");
  ::setenv("SIDECAR_GROUP", "1,,2", 1);
  EXPECT_FALSE(ClientOptions::from_env());
  ::unsetenv("SIDECAR_GROUP");
  ::setenv("SIDECAR_POLL", "sometimes", 1);
  EXPECT_FALSE(ClientOptions::from_env());
}

TEST_F(OptionsFromEnvironment, AGroupWithoutTheRankIsRefusedBeforeAnythingIsAsked) {
  ClientOptions options;
  options.rank = 1;
  options.group = {2, 3};
  EXPECT_EQ(Client::connect(options).code(), Errc::kInvalidArgument);
}

TEST(Connect, ToNobodyFailsWithinItsDeadlineAndSaysWhere) {
  ClientOptions options;
  options.address = "127.0.0.1:1";
  options.connect_deadline = std::chrono::milliseconds(300);
  const auto start = std::chrono::steady_clock::now();
  const auto client = Client::connect(options);
  EXPECT_EQ(client.code(), Errc::kUnavailable);
  EXPECT_NE(client.error().message.find("127.0.0.1:1"), std::string::npos);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace sidecar::client_internal
