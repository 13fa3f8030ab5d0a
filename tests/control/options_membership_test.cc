// Settings of the membership.
#include <gmock/gmock.h>

#include <cstdlib>

#include "control/options.h"

namespace sidecar {
namespace {

using testing::HasSubstr;

tl::expected<Options, Exit> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), {"sidecard", "--rank", "3"});
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string error_of(std::vector<const char*> arguments) {
  const auto options = parse(std::move(arguments));
  return options ? "no error" : options.error().text;
}

TEST(MembershipOptions, ServersAloneAreEnoughForEtcd) {
  const auto options = parse({"--membership", "etcd", "--etcd", "a:2379,[::1]:2380"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->membership, MembershipKind::kEtcd);
  EXPECT_EQ(options->etcd, (std::vector<std::string>{"a:2379", "[::1]:2380"}));
  EXPECT_FALSE(options->etcd_tls);
  EXPECT_EQ(options->etcd_prefix, "/sidecar/");
  EXPECT_EQ(options->member_ttl_ns, 10 * kSecond);
  EXPECT_EQ(options->grpc_port, 10003);
  EXPECT_THAT(describe(*options), HasSubstr("a:2379,[::1]:2380"));
}

TEST(MembershipOptions, TheEnvironmentSaysTheSame) {
  setenv("SIDECAR_MEMBERSHIP", "etcd", 1);
  setenv("SIDECAR_ETCD", "a:1,b:2", 1);
  setenv("SIDECAR_ETCD_PREFIX", "/blue", 1);
  setenv("SIDECAR_MEMBER_TTL", "3500ms", 1);
  const auto options = parse({});
  for (const char* name : {"SIDECAR_MEMBERSHIP", "SIDECAR_ETCD", "SIDECAR_ETCD_PREFIX", "SIDECAR_MEMBER_TTL"})
    unsetenv(name);
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->etcd, (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_EQ(options->etcd_prefix, "/blue/");
  EXPECT_EQ(options->member_ttl_ns, 4 * kSecond) << "etcd counts in seconds";
}

TEST(MembershipOptions, EtcdNeedsNoWorldSizeAndAnyRankMayCome) {
  const auto options = parse({"--membership", "etcd", "--etcd", "a:1", "--is-local", "false"});
  EXPECT_TRUE(options) << options.error().text;
}

TEST(MembershipOptions, WhatContradictsOrIsMissingIsSaid) {
  EXPECT_THAT(error_of({"--membership", "zookeeper"}), HasSubstr("'zookeeper' is none of etcd|static"));
  EXPECT_THAT(error_of({"--membership", "etcd"}), HasSubstr("--etcd (or SIDECAR_ETCD): is missing"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "a:1", "--peers", "3=b"}),
              HasSubstr("--peers (or SIDECAR_PEERS): says who is there, and so does"));
  EXPECT_THAT(error_of({"--etcd", "a:1"}), HasSubstr("has no effect without --membership etcd"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "a"}), HasSubstr("'a' lacks a port"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "https://a:1"}), HasSubstr("takes --tls-cert"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "http://a:1,b:2"}),
              HasSubstr("some servers with http:// and some without"));
  EXPECT_EQ(parse({"--membership", "etcd", "--etcd", "http://a:1,http://b:2"})->etcd,
            (std::vector<std::string>{"a:1", "b:2"}));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "a:b"}), HasSubstr("'b' is not a port"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "a:1", "--etcd-prefix", ""}),
              HasSubstr("is empty"));
  EXPECT_THAT(error_of({"--membership", "etcd", "--etcd", "a:1", "--member-ttl", "1s"}),
              HasSubstr("is not within 2s to 1h"));
}

}  // namespace
}  // namespace sidecar
