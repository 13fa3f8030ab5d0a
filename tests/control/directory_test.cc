// The directory against real gRPC servers, of which each has its own loop.
#include "control/directory.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include "control/server.h"
#include "fmt/format.h"
#include "tests/control/fake_backend.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

using testing::HasSubstr;

// A rank that others can ask.
struct Sidecar {
  Sidecar(Rank rank, InstanceId instance, const StaticPeers& peers, const char* ucx_version = "1.13.1")
      : backend(loop.loop(), instance), identity(test_identity(rank, instance, peers)) {
    identity.ucx_version = ucx_version;
    server = *ControlServer::start("127.0.0.1", 0, identity, loop.mailbox(), backend);
  }
  ~Sidecar() { loop.end(); }

  LoopThread loop;
  FakeBackend backend;
  Identity identity;
  std::unique_ptr<ControlServer> server;
};

// Takes connections and never says a word, as a stopped process does.
class SilentServer {
 public:
  SilentServer() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    CHECK(bind(fd_, reinterpret_cast<sockaddr*>(&address), length) == 0);
    CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port_ = ntohs(address.sin_port);
  }
  ~SilentServer() { close(fd_); }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;
  void listen() { CHECK(::listen(fd_, 16) == 0); }
  std::uint16_t port() const { return port_; }

 private:
  int fd_;
  std::uint16_t port_;
};

// Rank 0, which asks.
class GrpcDirectoryTest : public testing::Test {
 protected:
  void make_directory(const std::string& peers) {
    identity_ = test_identity(0, 7, *StaticPeers::parse("0=127.0.0.1:1," + peers, 0));
    directory_ = std::make_unique<GrpcDirectory>(identity_, mailbox_, tickets_,
                                                 [this](Rank rank, const Result<PeerRecord>& record) {
                                                   CHECK_ON_LOOP(*loop_);
                                                   outcomes_.emplace(rank, record);
                                                 });
  }
  ~GrpcDirectoryTest() override {
    mailbox_.close();
    directory_.reset();
  }
  Result<PeerRecord> resolve(Rank rank) {
    outcomes_.clear();
    directory_->resolve(rank);
    CHECK(loop_.run_until([&] { return outcomes_.size() == 1; }));
    return outcomes_.begin()->second;
  }

  TestLoop loop_;
  Mailbox mailbox_{loop_.get()};
  Tickets tickets_{7};
  Identity identity_;
  std::multimap<Rank, Result<PeerRecord>> outcomes_;
  std::unique_ptr<GrpcDirectory> directory_;
};

const StaticPeers kWorld = *StaticPeers::parse("127.0.0.1", 4);

TEST_F(GrpcDirectoryTest, ResolvesARankToItsRecordWithATicketForThisInstance) {
  Sidecar peer(1, 99, kWorld);
  make_directory(fmt::format("1=127.0.0.1:{}", peer.server->port()));
  const auto record = resolve(1);
  ASSERT_TRUE(record) << to_string(record.error());
  EXPECT_EQ(record->rank, 1);
  EXPECT_EQ(record->instance, 99u);
  EXPECT_EQ(record->node.view(), "node-a");
  EXPECT_EQ(record->net_address.view(), "127.0.0.1:12345");
  EXPECT_EQ(record->local_address.view(), "127.0.0.1:12346");
  EXPECT_EQ(record->arena.nonce, 4711u);
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = 0;
  hello.instance = 7;
  hello.to_instance = 99;
  hello.ticket = record->ticket;
  peer.loop.end();
  EXPECT_TRUE(peer.backend.tickets.redeem(hello, Loop::now_ns()));
}

TEST_F(GrpcDirectoryTest, EachResolutionHasItsOwnTicket) {
  Sidecar peer(1, 99, kWorld);
  make_directory(fmt::format("1=127.0.0.1:{}", peer.server->port()));
  const auto first = resolve(1);
  const auto second = resolve(1);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->ticket == second->ticket);
}

TEST_F(GrpcDirectoryTest, AskingTwiceAtOnceIsOneQuestion) {
  Sidecar peer(1, 99, kWorld);
  make_directory(fmt::format("1=127.0.0.1:{}", peer.server->port()));
  directory_->resolve(1);
  directory_->resolve(1);
  ASSERT_TRUE(loop_.run_until([&] { return !outcomes_.empty(); }));
  (void)loop_.run_until([] { return false; }, 200 * kMillisecond);
  EXPECT_EQ(outcomes_.size(), 1u);
  peer.loop.end();
  EXPECT_EQ(peer.backend.tickets.unused_peer_tickets(), 1u);
}

TEST_F(GrpcDirectoryTest, APeerThatIsAwayIsUnavailableByRankAndAddress) {
  SilentServer nobody;  // bound, not listening
  make_directory(fmt::format("2=127.0.0.1:{}", nobody.port()));
  const auto record = resolve(2);
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Errc::kUnavailable);
  EXPECT_EQ(record.error().rank, 2);
  EXPECT_THAT(record.error().what, HasSubstr(fmt::format("rank 2 at 127.0.0.1:{}", nobody.port())));
}

TEST_F(GrpcDirectoryTest, APeerThatDoesNotAnswerDoesNotHoldUpTheOthers) {
  SilentServer stopped;
  stopped.listen();
  Sidecar peer(1, 99, kWorld);
  make_directory(fmt::format("1=127.0.0.1:{},2=127.0.0.1:{}", peer.server->port(), stopped.port()));
  const TimeNs begin = Loop::now_ns();
  directory_->resolve(2);
  directory_->resolve(1);
  ASSERT_TRUE(loop_.run_until([&] { return outcomes_.size() == 1; }));
  EXPECT_TRUE(outcomes_.find(1)->second.has_value());
  EXPECT_LT(Loop::now_ns() - begin, 1500 * kMillisecond);
  ASSERT_TRUE(loop_.run_until([&] { return outcomes_.size() == 2; }));
  const auto& late = outcomes_.find(2)->second;
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kUnavailable);
  EXPECT_THAT(late.error().what, HasSubstr("did not answer"));
  EXPECT_LT(Loop::now_ns() - begin, 5 * kSecond);
}

TEST_F(GrpcDirectoryTest, ARefusalForGoodSaysWhy) {
  Sidecar peer(1, 99, kWorld, "1.20.1");
  make_directory(fmt::format("1=127.0.0.1:{}", peer.server->port()));
  const auto record = resolve(1);
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code, Errc::kInvalidArgument);
  EXPECT_THAT(record.error().what, HasSubstr("rank 0 runs UCX 1.13.1, rank 1 runs UCX 1.20.1"));
}

TEST_F(GrpcDirectoryTest, AnotherRankAtThatAddressIsNotMistakenForIt) {
  Sidecar peer(1, 99, kWorld);
  make_directory(fmt::format("2=127.0.0.1:{}", peer.server->port()));
  const auto record = resolve(2);
  ASSERT_FALSE(record);
  EXPECT_THAT(record.error().what, HasSubstr("this is rank 1, not rank 2"));
}

TEST_F(GrpcDirectoryTest, ARankThatComesBackIsFoundAgain) {
  auto peer = std::make_unique<Sidecar>(1, 99, kWorld);
  const std::uint16_t port = peer->server->port();
  make_directory(fmt::format("1=127.0.0.1:{}", port));
  ASSERT_TRUE(resolve(1));
  peer.reset();
  ASSERT_FALSE(resolve(1));
  LoopThread loop;
  FakeBackend backend(loop.loop(), 100);
  const Identity identity = test_identity(1, 100, kWorld);
  auto server = ControlServer::start("127.0.0.1", port, identity, loop.mailbox(), backend);
  ASSERT_TRUE(server) << server.error();
  const auto record = resolve(1);
  loop.end();
  ASSERT_TRUE(record) << to_string(record.error());
  EXPECT_EQ(record->instance, 100u);
}

TEST_F(GrpcDirectoryTest, UnknownRanksAreKnownToBeUnknown) {
  make_directory("5=127.0.0.1:2");
  EXPECT_TRUE(directory_->knows(5));
  EXPECT_FALSE(directory_->knows(1));
  EXPECT_FALSE(directory_->knows(-1));
  EXPECT_FALSE(resolve(1));
}

TEST_F(GrpcDirectoryTest, EndingDoesNotWaitForAnAnswer) {
  SilentServer stopped;
  stopped.listen();
  make_directory(fmt::format("2=127.0.0.1:{}", stopped.port()));
  directory_->resolve(2);
  (void)loop_.run_until([] { return false; }, 50 * kMillisecond);
  const TimeNs begin = Loop::now_ns();
  mailbox_.close();
  directory_.reset();
  EXPECT_LT(Loop::now_ns() - begin, kSecond);
}

}  // namespace
}  // namespace sidecar
