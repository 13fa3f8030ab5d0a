// A sidecar's gRPC server with TLS, and what becomes of those who call it with other certificates or none.
#include "control/tls.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "control/grpc_channel.h"
#include "control/server.h"
#include "control/sidecar.grpc.pb.h"
#include "core/check.h"
#include "tests/control/fake_backend.h"
#include "tests/support/certificates.h"

// c-ares, by which gRPC finds localhost, does not always give back the name that it was asked for.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcares"; }  // NOLINT

namespace sidecar {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kCallLimit{5};
constexpr std::chrono::seconds kReloadsWithin{15};

class TlsTest : public testing::Test {
 protected:
  ~TlsTest() override { loop_.end(); }

  void serve(const TlsPaths& tls) {
    server_.reset();
    auto server = ControlServer::start("127.0.0.1", 0, identity_, loop_.mailbox(), backend_, tls);
    CHECK(server.has_value());
    server_ = *std::move(server);
  }
  void serve_mutually() { serve({files_.ca, files_.server.cert, files_.server.key}); }

  // One call over a connection of its own.
  grpc::Status call(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                    const std::string& host = "127.0.0.1") {
    const std::string address = host + ":" + std::to_string(server_->port());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
    v1::ListResponse response;
    return v1::Membership::NewStub(grpc_channel(address, credentials, 1 << 20))
        ->List(&context, {}, &response);
  }
  grpc::Status call(const TlsPaths& tls) { return call(channel_credentials(tls)); }
  grpc::Status call_without_certificate(const std::string& ca) {
    grpc::experimental::TlsChannelCredentialsOptions options;
    options.set_certificate_provider(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(ca, 1));
    options.watch_root_certs();
    return call(grpc::experimental::TlsCredentials(options));
  }
  // Well within the call's limit: nobody waits for a time-out.
  void expect_refused(const std::function<grpc::Status()>& what, const std::string& text) {
    const auto begin = Clock::now();
    const grpc::Status status = what();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
    EXPECT_LT(Clock::now() - begin, kCallLimit / 2);
  }
  // New connections, until one ends like that.
  bool becomes(grpc::StatusCode code, const std::function<grpc::Status()>& what) {
    const auto until = Clock::now() + kReloadsWithin;
    while (Clock::now() < until) {
      if (what().error_code() == code) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }

  Certificates files_;
  LoopThread loop_;
  FakeBackend backend_{loop_.loop(), 77};
  Identity identity_ = test_identity(1, 77, *StaticPeers::parse("127.0.0.1", 4));
  std::unique_ptr<ControlServer> server_;
  const TlsPaths ours_{files_.ca, files_.client.cert, files_.client.key};
};

TEST_F(TlsTest, WhoeverHasACertificateOfTheAuthorityIsServed) {
  serve_mutually();
  const grpc::Status status = call(ours_);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(call(channel_credentials(ours_), "localhost").ok());
}

TEST_F(TlsTest, WithoutAnAuthorityNobodyIsAskedForACertificate) {
  serve({"", files_.server.cert, files_.server.key});
  const grpc::Status status = call_without_certificate(files_.ca);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, APlainClientIsRefusedAtOnce) {
  serve_mutually();
  expect_refused([&] { return call(nullptr); }, "failed to connect");
}

TEST_F(TlsTest, APlainServerIsNotTalkedToWithTls) {
  serve({});
  expect_refused([&] { return call(ours_); }, "handshake failed");
  EXPECT_TRUE(call(nullptr).ok());
}

TEST_F(TlsTest, AClientWithoutACertificateIsRefusedWhereOneIsAskedFor) {
  serve_mutually();
  expect_refused([&] { return call_without_certificate(files_.ca); }, "");
}

TEST_F(TlsTest, AClientOfAnotherAuthorityIsRefused) {
  serve_mutually();
  expect_refused([&] { return call({files_.ca, files_.stranger.cert, files_.stranger.key}); }, "");
}

TEST_F(TlsTest, AServerOfAnotherAuthorityIsRefused) {
  serve({files_.ca, files_.stranger.cert, files_.stranger.key});
  expect_refused([&] { return call(ours_); }, "certificate verify failed");
}

TEST_F(TlsTest, WithoutAnAuthorityOnlyServersThatTheSystemTrustsAreTalkedTo) {
  serve_mutually();
  expect_refused([&] { return call({"", files_.client.cert, files_.client.key}); },
                 "certificate verify failed");
}

TEST_F(TlsTest, AServerThatIsCalledByANameItDoesNotHaveIsRefused) {
  files_.ours.issue(files_.server, "DNS:other.example,IP:192.0.2.1");
  serve_mutually();
  expect_refused([&] { return call(ours_); }, "Hostname Verification");
}

TEST_F(TlsTest, ANewCertificateIsShownToNewConnectionsWithoutARestart) {
  serve({"", files_.stranger.cert, files_.stranger.key});
  ASSERT_FALSE(call_without_certificate(files_.ca).ok());
  files_.ours.issue(files_.stranger);
  EXPECT_TRUE(becomes(grpc::StatusCode::OK, [&] { return call_without_certificate(files_.ca); }));
}

TEST_F(TlsTest, ANewAuthorityCountsForClientsWithoutARestart) {
  serve_mutually();
  const TlsPaths stranger{files_.ca, files_.stranger.cert, files_.stranger.key};
  ASSERT_FALSE(call(stranger).ok());
  files_.strangers.write(files_.path("fresh_ca.pem"));
  std::filesystem::copy_file(files_.ca, files_.path("old_ca.pem"));
  std::filesystem::rename(files_.path("fresh_ca.pem"), files_.ca);
  // Of which the server is none: only its side is looked at.
  const TlsPaths sees_ours{files_.path("old_ca.pem"), files_.stranger.cert, files_.stranger.key};
  EXPECT_TRUE(becomes(grpc::StatusCode::OK, [&] { return call(sees_ours); }));
  EXPECT_FALSE(call({files_.path("old_ca.pem"), files_.client.cert, files_.client.key}).ok());
}

TEST_F(TlsTest, AChannelsOwnNewCertificateIsShownWithoutARestart) {
  serve_mutually();
  const auto credentials = channel_credentials({files_.ca, files_.stranger.cert, files_.stranger.key});
  ASSERT_FALSE(call(credentials).ok());
  files_.ours.issue(files_.stranger);
  EXPECT_TRUE(becomes(grpc::StatusCode::OK, [&] { return call(credentials); }));
}

TEST_F(TlsTest, FilesThatAreGoneLeaveWhatWasThereInForce) {
  serve_mutually();
  std::filesystem::remove(files_.server.cert);
  std::this_thread::sleep_for(std::chrono::seconds(5));  // two looks
  EXPECT_TRUE(call(ours_).ok());
}

}  // namespace
}  // namespace sidecar
