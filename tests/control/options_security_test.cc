#include <gmock/gmock.h>
#include <grp.h>

#include "control/options.h"
#include "tests/support/certificates.h"

namespace sidecar {
namespace {

using testing::HasSubstr;
using testing::Not;

class OptionsSecurityTest : public testing::Test {
 protected:
  static tl::expected<Options, Exit> parse(const std::vector<std::string>& more) {
    std::vector<const char*> arguments{"sidecard", "--rank", "0"};
    for (const std::string& argument : more) arguments.push_back(argument.c_str());
    return parse_options(static_cast<int>(arguments.size()), arguments.data());
  }
  static std::string error_of(const std::vector<std::string>& more) {
    const auto options = parse(more);
    return options ? "no error" : options.error().text;
  }
  [[nodiscard]] std::vector<std::string> with_tls(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{"--tls-cert", files_.server.cert, "--tls-key", files_.server.key};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  Certificates files_;
};

TEST_F(OptionsSecurityTest, WithoutTlsItsDescriptionSaysSo) {
  EXPECT_THAT(describe(*parse({})), HasSubstr("tls                off"));
}

TEST_F(OptionsSecurityTest, TlsIsDescribedByItsFiles) {
  const auto one_sided = parse(with_tls());
  ASSERT_TRUE(one_sided) << one_sided.error().text;
  EXPECT_THAT(describe(*one_sided), HasSubstr("certificate " + files_.server.cert + ", clients need none"));
  const auto mutual = parse(with_tls({"--tls-ca", files_.ca}));
  ASSERT_TRUE(mutual) << mutual.error().text;
  EXPECT_THAT(describe(*mutual), HasSubstr("clients need one signed by " + files_.ca));
}

TEST_F(OptionsSecurityTest, HalfAnIdentityIsRefused) {
  EXPECT_THAT(error_of({"--tls-cert", files_.server.cert}), HasSubstr("--tls-key (or SIDECAR_TLS_KEY): "));
  EXPECT_THAT(error_of({"--tls-key", files_.server.key}), HasSubstr("--tls-cert (or SIDECAR_TLS_CERT): "));
  EXPECT_THAT(error_of({"--tls-ca", files_.ca}), HasSubstr("--tls-ca (or SIDECAR_TLS_CA): needs --tls-cert"));
}

TEST_F(OptionsSecurityTest, ABadFileIsNamedWithItsFlag) {
  EXPECT_THAT(error_of({"--tls-cert", "/nowhere", "--tls-key", files_.server.key}),
              HasSubstr("--tls-cert (or SIDECAR_TLS_CERT): /nowhere cannot be read"));
  EXPECT_THAT(error_of({"--tls-cert", files_.server.cert, "--tls-key", files_.client.key}),
              HasSubstr("--tls-key (or SIDECAR_TLS_KEY): " + files_.client.key + " is not the key"));
  EXPECT_THAT(error_of(with_tls({"--tls-ca", files_.server.key})),
              HasSubstr("--tls-ca (or SIDECAR_TLS_CA): " + files_.server.key + " holds no certificate"));
}

TEST_F(OptionsSecurityTest, AnAddressThatOthersCanReachNeedsTlsOrInsecure) {
  EXPECT_THAT(error_of({"--listen", "0.0.0.0"}), HasSubstr("--tls-cert, --tls-key and --tls-ca, or say"));
  EXPECT_THAT(error_of({"--listen", "::"}), HasSubstr("--insecure"));
  const auto insecure = parse({"--listen", "0.0.0.0", "--insecure"});
  ASSERT_TRUE(insecure) << insecure.error().text;
  EXPECT_THAT(describe(*insecure), HasSubstr("0.0.0.0 (insecure: no TLS)"));
  const auto tls = parse(with_tls({"--listen", "0.0.0.0"}));
  ASSERT_TRUE(tls) << tls.error().text;
  EXPECT_THAT(describe(*tls), HasSubstr("0.0.0.0 (data are not encrypted)"));
  EXPECT_THAT(describe(*parse(with_tls())), Not(HasSubstr("not encrypted"))) << "nobody else can reach it";
}

TEST_F(OptionsSecurityTest, AGroupIsGivenByNameOrNumber) {
  EXPECT_FALSE(parse({})->shm_gid);
  const group* const any = ::getgrgid(0);
  ASSERT_NE(any, nullptr);
  const auto by_name = parse({"--shm-group", any->gr_name});
  ASSERT_TRUE(by_name) << by_name.error().text;
  EXPECT_EQ(by_name->shm_gid, gid_t{0});
  const auto by_number = parse({"--shm-group", "54321"});  // need not have a name
  ASSERT_TRUE(by_number) << by_number.error().text;
  EXPECT_EQ(by_number->shm_gid, gid_t{54321});
  EXPECT_THAT(describe(*by_number), HasSubstr("54321"));
}

TEST_F(OptionsSecurityTest, WhatIsNoGroupIsRefused) {
  for (const char* name : {"no-such-group", "-1", "12x", "4294967295", "99999999999"}) {
    EXPECT_THAT(error_of({"--shm-group=" + std::string(name)}),
                HasSubstr("--shm-group (or SIDECAR_SHM_GROUP): '" + std::string(name) + "' is neither"));
  }
  EXPECT_THAT(error_of({"--shm-group", "0", "--arena", "host"}), HasSubstr("--shm-group"));
}

}  // namespace
}  // namespace sidecar
