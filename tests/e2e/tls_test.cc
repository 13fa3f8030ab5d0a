// Mutual TLS from end to end, and who may map a sidecar's memory.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"
#include "tests/support/certificates.h"

namespace sidecar::e2e {
namespace {

class MutualTls : public ::testing::Test {
 protected:
  [[nodiscard]] TlsFiles files(const CertificateFiles& own) const {
    return {certificates_.ca, own.cert, own.key};
  }
  void exchange(Client& a, Client& b, const std::string& id) {
    const auto bytes = contents(id, 0, 300'000);
    const Tensor tensor{bytes.data(), Dtype::kU8, {bytes.size()}};
    const auto there = a.send(tensor, id + " there", {{1}});
    EXPECT_TRUE(there) << to_string(there.error());
    const auto back = b.send(tensor, id + " back", {{0}});
    EXPECT_TRUE(back) << to_string(back.error());
    EXPECT_TRUE(b.recv(id + " there", 0, seconds(10)));
    EXPECT_TRUE(a.recv(id + " back", 0, seconds(10)));
    EXPECT_TRUE(b.mark_done(id + " there"));
    EXPECT_TRUE(a.mark_done(id + " back"));
  }

  Certificates certificates_;
  Cluster cluster_{{.nodes = {"a", "b"},
                    .arena = "32M",
                    .flags = {"--lease", "1s"},
                    .tls = {certificates_.ca, certificates_.server.cert, certificates_.server.key}}};
};

TEST_F(MutualTls, SidecarsAndClientsThatHaveCertificatesWorkAsEver) {
  Client a = cluster_.client(0, {.tls = files(certificates_.client)});
  Client b = cluster_.client(1, {.tls = files(certificates_.client)});
  exchange(a, b, "first");
  std::this_thread::sleep_for(seconds(3));  // some leases
  exchange(a, b, "later");
  EXPECT_EQ(cluster_.counter(0, "clients"), 1u) << "it renewed its lease";
}

TEST_F(MutualTls, WhoHasNoneOrAStrangersIsRefusedInWordsAndInTime) {
  const std::vector<std::pair<std::string, TlsFiles>> others{
      {"plain", {}},
      {"without a certificate", {.ca = certificates_.ca}},
      {"a stranger's", files(certificates_.stranger)},
      {"another authority", {certificates_.strange_ca, certificates_.client.cert, certificates_.client.key}}};
  for (const auto& [what, tls] : others) {
    ClientOptions options{.rank = 0};
    options.address = cluster_.address(0);
    options.tls = tls;
    options.connect_deadline = seconds(2);
    const auto began = std::chrono::steady_clock::now();
    const auto client = Client::connect(options);
    EXPECT_EQ(client.code(), Errc::kUnavailable) << what;
    EXPECT_NE(client.error().message.find("TLS"), std::string::npos)
        << what << ": " << client.error().message;
    EXPECT_LT(std::chrono::steady_clock::now() - began, seconds(10)) << what;
  }
  EXPECT_EQ(cluster_.counter(0, "clients"), 0u);
}

TEST_F(MutualTls, RenewedFilesServeWhoComesLater) {
  Client a = cluster_.client(0, {.tls = files(certificates_.client)});
  certificates_.ours.issue(certificates_.server);
  certificates_.ours.issue(certificates_.client);
  std::this_thread::sleep_for(seconds(5));  // they are looked at every two
  Client b = cluster_.client(1, {.tls = files(certificates_.client)});
  exchange(a, b, "renewed");
}

TEST(ArenaAccess, IsForTheUserAloneOrForAGroupThatWasNamed) {
  for (const bool shared : {false, true}) {
    const std::string group = std::to_string(::getegid());
    Cluster cluster(
        {.nodes = {"a"},
         .arena = "8M",
         .flags = shared ? std::vector<std::string>{"--shm-group", group} : std::vector<std::string>{}});
    struct stat facts{};
    ASSERT_EQ(::stat(cluster.ready_word(0, "arena").c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07777, shared ? 0660u : 0600u);
    EXPECT_EQ(facts.st_uid, ::geteuid());
    EXPECT_TRUE(!shared || facts.st_gid == ::getegid());
  }
}

}  // namespace
}  // namespace sidecar::e2e
