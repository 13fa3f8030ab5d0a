#include "control/peers.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace sidecar {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(std::string_view spec, std::int64_t world_size = 0) {
  const auto peers = StaticPeers::parse(spec, world_size);
  return peers ? "no error" : peers.error();
}

TEST(Peers, AListNamesEachRank) {
  const auto peers = StaticPeers::parse("0=alpha:7000, 5=10.0.0.5:7001,", 0);
  ASSERT_TRUE(peers) << peers.error();
  EXPECT_EQ(peers->find(0)->text(), "alpha:7000");
  EXPECT_EQ(peers->find(5)->text(), "10.0.0.5:7001");
  EXPECT_FALSE(peers->knows(1));
  EXPECT_FALSE(peers->knows(-1));
  EXPECT_EQ(peers->find(1), std::nullopt);
  EXPECT_THAT(peers->ranks(), ElementsAre(0, 5));
}

TEST(Peers, WithoutAPortItIsTenThousandPlusTheRank) {
  EXPECT_EQ(StaticPeers::parse("7=alpha", 0)->find(7)->text(), "alpha:10007");
  EXPECT_THAT(error_of("60000=alpha"), HasSubstr("explicit port"));
}

TEST(Peers, IPv6AddressesStandInBrackets) {
  const auto peers = StaticPeers::parse("0=[::1]:7000,1=[fe80::2]", 0);
  ASSERT_TRUE(peers) << peers.error();
  EXPECT_EQ(peers->find(0)->host, "::1");
  EXPECT_EQ(peers->find(0)->text(), "[::1]:7000");
  EXPECT_EQ(peers->find(1)->text(), "[fe80::2]:10001");
  EXPECT_THAT(error_of("0=::1"), HasSubstr("brackets"));
  EXPECT_THAT(error_of("0=[::1:7000"), HasSubstr("']'"));
}

TEST(Peers, APatternPutsTheRankIntoTheName) {
  const auto peers = StaticPeers::parse("sidecar-%d.sidecars:10000", 3);
  ASSERT_TRUE(peers) << peers.error();
  EXPECT_EQ(peers->find(2)->text(), "sidecar-2.sidecars:10000");
  EXPECT_FALSE(peers->knows(3));
  EXPECT_THAT(peers->ranks(), ElementsAre(0, 1, 2));
}

TEST(Peers, AHostAloneMeansAllRanksAtTheirDefaultPorts) {
  const auto peers = StaticPeers::parse("127.0.0.1", 4);
  ASSERT_TRUE(peers) << peers.error();
  EXPECT_EQ(peers->find(3)->text(), "127.0.0.1:10003");
}

TEST(Peers, APatternNeedsAWorldSizeAndAPlaceForTheRank) {
  EXPECT_THAT(error_of("sidecar-%d:10000"), HasSubstr("--world-size"));
  EXPECT_THAT(error_of("sidecar:10000", 2), HasSubstr("put %d"));
  EXPECT_TRUE(StaticPeers::parse("sidecar:10000", 1));
  EXPECT_THAT(error_of("sidecar", 60000), HasSubstr("explicit port"));
}

TEST(Peers, ABadEntryIsNamedWithLineAndColumn) {
  const auto error = [](std::string_view text) {
    const auto peers = StaticPeers::parse_list(text, "peers.txt", 0);
    return peers ? std::string("no error") : peers.error();
  };
  EXPECT_THAT(error("# ours\n0=a:1\n  1=b:x\n"), HasSubstr("peers.txt:3:3: 'x' is not a port"));
  EXPECT_THAT(error("0=a:1, what"), HasSubstr("peers.txt:1:8: 'what' is not rank=host:port"));
  EXPECT_THAT(error("-1=a:1"), HasSubstr("'-1' is not a rank"));
  EXPECT_THAT(error("one=a:1"), HasSubstr("'one' is not a rank"));
  EXPECT_THAT(error("0=a:1\n0=b:2"), HasSubstr("peers.txt:2:1: rank 0 is listed twice"));
  EXPECT_THAT(error("0=a:1,\n1=a:1"), HasSubstr("peers.txt:2:1: ranks 0 and 1 have one address, a:1"));
  EXPECT_THAT(error("0=a:0"), HasSubstr("is not a port"));
  EXPECT_THAT(error("0=a:65536"), HasSubstr("is not a port"));
  EXPECT_THAT(error("0="), HasSubstr("is not host:port"));
  EXPECT_THAT(error("0=a b:1"), HasSubstr("is not host:port"));
  EXPECT_THAT(error("# nobody\n\n"), HasSubstr("no peer is listed"));
  EXPECT_THAT(error("99999999999=a:1"), HasSubstr("is not a rank"));
}

TEST(Peers, AListMustFitTheWorldSize) { EXPECT_THAT(error_of("0=a:1,2=c:1", 2), HasSubstr("world of 2")); }

TEST(Peers, AFileMayHaveCommentsAndManyLines) {
  char path[] = "/tmp/sidecar-peers-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  constexpr std::string_view kText = "# two nodes\r\n0=a:7000   # first\r\n1=b:7001,2=c:7002\n\n";
  ASSERT_EQ(write(fd, kText.data(), kText.size()), static_cast<ssize_t>(kText.size()));
  close(fd);
  const auto peers = StaticPeers::parse(std::string("@") + path, 0);
  std::remove(path);
  ASSERT_TRUE(peers) << peers.error();
  EXPECT_THAT(peers->ranks(), ElementsAre(0, 1, 2));
  EXPECT_EQ(peers->find(0)->text(), "a:7000");
}

TEST(Peers, AMissingFileIsNamed) { EXPECT_THAT(error_of("@/nowhere/peers"), HasSubstr("/nowhere/peers")); }

}  // namespace
}  // namespace sidecar
