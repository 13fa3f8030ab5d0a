#include "control/options.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>

namespace sidecar {
namespace {

using testing::HasSubstr;

// Sets a variable for one test.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~ScopedEnvironment() { unsetenv(name_); }
  ScopedEnvironment(const ScopedEnvironment&) = delete;
  ScopedEnvironment& operator=(const ScopedEnvironment&) = delete;

 private:
  const char* name_;
};

tl::expected<Options, Exit> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "sidecard");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string error_of(std::vector<const char*> arguments) {
  const auto options = parse(std::move(arguments));
  if (options) return "no error";
  EXPECT_NE(options.error().code, 0);
  return options.error().text;
}

TEST(Options, RankAloneIsEnoughAndTheRestHasDefaults) {
  const auto options = parse({"--rank", "3"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->rank, 3);
  EXPECT_EQ(options->grpc_port, 10003);
  EXPECT_EQ(options->data_port, 12003);
  EXPECT_EQ(options->arena_bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(options->listen, "127.0.0.1");
  EXPECT_EQ(options->advertise, "127.0.0.1");
  EXPECT_EQ(options->peer_timeout_ns, 30 * kSecond);
  EXPECT_EQ(options->lease_ns, 10 * kSecond);
  EXPECT_EQ(options->orphan_grace_ns, 600 * kSecond);
  EXPECT_EQ(options->client_bytes, 0u);
  EXPECT_EQ(options->peers.find(3)->text(), "127.0.0.1:10003");
  EXPECT_FALSE(options->peers.knows(2));
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof host - 1), 0);
  EXPECT_EQ(options->node, host);
}

TEST(Options, EnvironmentNamesOfTheOriginalServiceKeepTheirMeaning) {
  const ScopedEnvironment rank("SIDECAR_RANK", "1");
  const ScopedEnvironment world("SIDECAR_WORLD_SIZE", "4");
  const ScopedEnvironment size("SIDECAR_SHM_SIZE", "268435456");
  const ScopedEnvironment local_ranks("SIDECAR_LOCAL_PEER_RANKS", "0,1");
  const ScopedEnvironment local("SIDECAR_IS_LOCAL", "true");
  const ScopedEnvironment device("SIDECAR_DEVICE_ID", "2");
  const auto options = parse({});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->rank, 1);
  EXPECT_EQ(options->world_size, 4);
  EXPECT_EQ(options->arena_bytes, std::uint64_t{256} << 20);
  EXPECT_EQ(options->local_peer_ranks, (std::vector<Rank>{0, 1}));
  EXPECT_TRUE(options->is_local);
  EXPECT_EQ(options->device_id, 2);
  EXPECT_EQ(options->peers.find(3)->text(), "127.0.0.1:10003");
}

TEST(Options, AFlagWinsOverTheEnvironment) {
  const ScopedEnvironment rank("SIDECAR_RANK", "1");
  const ScopedEnvironment size("SIDECAR_SHM_SIZE", "64M");
  const auto options = parse({"--rank=2", "--shm-size", "32M"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->rank, 2);
  EXPECT_EQ(options->arena_bytes, std::uint64_t{32} << 20);
}

TEST(Options, OfAFlagGivenTwiceTheLastCounts) { EXPECT_EQ(parse({"--rank", "1", "--rank", "2"})->rank, 2); }

TEST(Options, AnEmptyVariableIsNoSetting) {
  const ScopedEnvironment size("SIDECAR_SHM_SIZE", "");
  const auto options = parse({"--rank", "0"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->arena_bytes, std::uint64_t{1} << 30);
}

TEST(Options, TheOwnPortComesFromThePeersUnlessAFlagSaysAnother) {
  EXPECT_EQ(parse({"--rank", "1", "--peers", "0=a:7000,1=b:7001"})->grpc_port, 7001);
  EXPECT_EQ(parse({"--rank", "1", "--peers", "sidecar-%d.sidecars:10000", "--world-size", "3"})->grpc_port,
            10000);
  EXPECT_EQ(parse({"--rank", "1", "--peers", "0=a:7000,1=b:7001", "--grpc-port", "0"})->grpc_port, 0);
}

TEST(Options, EachWrongSettingIsNamedInTheError) {
  EXPECT_THAT(error_of({}), HasSubstr("--rank (or SIDECAR_RANK): is missing"));
  EXPECT_THAT(error_of({"--rank", "-2"}), HasSubstr("--rank"));
  EXPECT_THAT(error_of({"--rank", "-1"}), HasSubstr("-1 is not within 0 to"));
  EXPECT_THAT(error_of({"--rank", "0", "--device-id", "-7"}), HasSubstr("--device-id"));
  EXPECT_THAT(error_of({"--rank", "0", "--world-size", "60000"}), HasSubstr("--world-size"));
  EXPECT_THAT(error_of({"--rank", "abc"}), HasSubstr("--rank"));
  EXPECT_THAT(error_of({"--rank", "4", "--world-size", "4"}), HasSubstr("does not fit in a world of 4"));
  EXPECT_THAT(error_of({"--rank", "0", "--frobnicate"}), HasSubstr("--frobnicate"));
  EXPECT_THAT(error_of({"--rank", "0", "stray"}), HasSubstr("stray"));
  EXPECT_THAT(error_of({"--rank", "0", "--shm-size", "12Q"}), HasSubstr("--shm-size"));
  EXPECT_THAT(error_of({"--rank", "0", "--shm-size", "4K"}), HasSubstr("at least 1 MiB"));
  EXPECT_THAT(error_of({"--rank", "0", "--grpc-port", "70000"}), HasSubstr("--grpc-port"));
  EXPECT_THAT(error_of({"--rank", "0", "--data-port", "-7"}), HasSubstr("--data-port"));
  EXPECT_THAT(error_of({"--rank", "0", "--data-port", "10000"}), HasSubstr("10000 is the gRPC port already"));
  EXPECT_THAT(error_of({"--rank", "0", "--arena", "moon"}), HasSubstr("auto|cuda|host|shared"));
  EXPECT_THAT(error_of({"--rank", "0", "--poll", "lazy"}), HasSubstr("adaptive|busy|event"));
  EXPECT_THAT(error_of({"--rank", "0", "--drain-timeout", "soon"}), HasSubstr("--drain-timeout"));
  EXPECT_THAT(error_of({"--rank", "0", "--peer-timeout", "never"}), HasSubstr("--peer-timeout"));
  for (const char* flag : {"--lease", "--orphan-grace"}) {
    for (const char* value : {"never", "0", "999ms", "soon"})
      EXPECT_THAT(error_of({"--rank", "0", flag, value}), HasSubstr(flag)) << value;
  }
  EXPECT_THAT(error_of({"--rank", "0", "--eager-max", "65537"}), HasSubstr("--eager-max"));
  EXPECT_THAT(error_of({"--rank", "0", "--receive-percent", "100"}), HasSubstr("--receive-percent"));
  EXPECT_THAT(error_of({"--rank", "0", "--spin-us", "2000000"}), HasSubstr("--spin-us"));
  EXPECT_THAT(error_of({"--rank", "0", "--log-level", "loud"}), HasSubstr("--log-level"));
  EXPECT_THAT(error_of({"--rank", "0", "--shm-dir", "/nowhere"}), HasSubstr("/nowhere is not a directory"));
  EXPECT_THAT(error_of({"--rank", "0", "--local-peer-ranks", "1,-1"}), HasSubstr("--local-peer-ranks"));
}

TEST(Options, AWrongVariableIsNotBlamedOnAFlagAlone) {
  const ScopedEnvironment device("SIDECAR_DEVICE_ID", "junk");
  EXPECT_THAT(error_of({"--rank", "0"}), HasSubstr("SIDECAR_ variable"));
}

TEST(Options, ARankThatIsNotAmongThePeersIsRefused) {
  EXPECT_THAT(error_of({"--rank", "2", "--peers", "0=a:1,1=b:1"}),
              HasSubstr("2 is not among the peers (ranks 0, 1)"));
}

TEST(Options, ALargeRankNeedsItsPortsSpelledOut) {
  EXPECT_THAT(error_of({"--rank", "60000"}), HasSubstr("give --grpc-port and --data-port"));
  const auto options = parse({"--rank", "60000", "--grpc-port", "8000", "--data-port", "8001"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->grpc_port, 8000);
}

TEST(Options, AnAddressThatOthersCanReachNeedsInsecure) {
  EXPECT_THAT(error_of({"--rank", "0", "--listen", "0.0.0.0"}), HasSubstr("--insecure"));
  EXPECT_THAT(error_of({"--rank", "0", "--listen", "192.168.1.1"}), HasSubstr("--insecure"));
  EXPECT_TRUE(parse({"--rank", "0", "--listen", "0.0.0.0", "--insecure"}));
  EXPECT_TRUE(parse({"--rank", "0", "--listen", "127.0.0.2"}));
  EXPECT_TRUE(parse({"--rank", "0", "--listen", "::1"}));
}

TEST(Options, AWildcardIsNotAdvertised) {
  const auto options = parse({"--rank", "0", "--listen", "0.0.0.0", "--insecure"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_NE(options->advertise, "0.0.0.0");
}

TEST(Options, WithoutPeersAWorldThatIsNotLocalCannotBeFound) {
  EXPECT_THAT(error_of({"--rank", "0", "--world-size", "2", "--is-local", "false"}), HasSubstr("--peers"));
}

TEST(Options, APrivateArenaNeedsNoSharedDirectory) {
  EXPECT_TRUE(parse({"--rank", "0", "--shm-dir", "/nowhere", "--arena", "host"}));
  const auto options = parse({"--rank", "0", "--shm-dir", "/nowhere", "--arena", "cuda", "--device-id", "3"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->arena, ArenaKind::kCuda);
  EXPECT_EQ(options->device_id, 3);
}

TEST(Options, HelpAndVersionAreNotErrors) {
  const auto help = parse({"--help"});
  ASSERT_FALSE(help);
  EXPECT_EQ(help.error().code, 0);
  EXPECT_THAT(help.error().text, HasSubstr("SIDECAR_SHM_SIZE"));
  const auto version = parse({"--version"});
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code, 0);
  EXPECT_THAT(version.error().text, HasSubstr("sidecard "));
}

TEST(Options, TheDescriptionShowsWhatIsInEffect) {
  const auto options =
      parse({"--rank", "1", "--world-size", "2", "--shm-size", "64M", "--drain-timeout", "25s"});
  ASSERT_TRUE(options) << options.error().text;
  const std::string text = describe(*options);
  EXPECT_THAT(text, HasSubstr("ranks 0 to 1"));
  EXPECT_THAT(text, HasSubstr("64 MiB"));
  EXPECT_THAT(text, HasSubstr("lease              10s"));
  EXPECT_THAT(text, HasSubstr("orphan-grace       600s"));
  EXPECT_THAT(text, HasSubstr("25"));
  EXPECT_THAT(text, HasSubstr("10001"));
}

}  // namespace
}  // namespace sidecar
