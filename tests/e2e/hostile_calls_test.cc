// What anybody who reaches a sidecar's ports may try without speaking UCX at all: silent sockets, calls with
// absurd fields, floods of calls that are refused. It stays as large as it was, serves others, and tells no
// secret.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "tests/e2e/with_papers.h"

namespace sidecar::e2e {
namespace {

using grpc::StatusCode;

// A connection on which nothing is ever said.
class SilentSocket {
 public:
  explicit SilentSocket(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  ~SilentSocket() { ::close(fd_); }
  SilentSocket(const SilentSocket&) = delete;
  SilentSocket& operator=(const SilentSocket&) = delete;
  [[nodiscard]] bool connected() const { return connected_; }

 private:
  int fd_;
  bool connected_ = false;
};

class HostileCalls : public WithPapers {
 protected:
  using WithPapers::WithPapers;
  void SetUp() override {
    rlimit files{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  }
  static std::uint16_t port_of(const std::string& address) {
    return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  }
  std::uint64_t memory_kib() { return private_kib(cluster_.process(0).pid()); }
  [[nodiscard]] v1::RegisterRequest good_request() const {
    return good_request(cluster_.status(0).ucx_version);
  }
  static v1::RegisterRequest good_request(const std::string& ucx_version) {
    v1::RegisterRequest request;
    request.set_client_instance(kInstance);
    request.set_rank(0);
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(1);
    request.set_ucx_version(ucx_version);
    return request;
  }
  static grpc::Status enroll(v1::Registration::Stub& stub, const v1::RegisterRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(10));
    v1::RegisterResponse response;
    return stub.Register(&context, request, &response);
  }
};

TEST_F(HostileCalls, AThousandSilentConnectionsAtEachPortKeepNobodyOutAndCostLittle) {
  expect_serves("before them");
  const std::uint64_t before = memory_kib();
  for (const std::string& port : {address(), cluster_.address(0)}) {
    std::vector<std::unique_ptr<SilentSocket>> crowd;
    std::size_t connected = 0;
    for (int i = 0; i < 1000; ++i) {
      crowd.push_back(std::make_unique<SilentSocket>(port_of(port)));
      connected += crowd.back()->connected() ? 1 : 0;
    }
    EXPECT_GT(connected, 900u);
    expect_serves("beside those at " + port);
    EXPECT_LT(memory_kib(), before + (64u << 10)) << "some kilobytes for each";
  }
  expect_serves("after them");
}

TEST_F(HostileCalls, AbsurdFieldsAreRefusedInWordsOrDoNoHarm) {
  const auto registration = v1::Registration::NewStub(channel());
  const auto refused = [&](const auto& spoil) {
    v1::RegisterRequest request = good_request();
    spoil(request);
    const grpc::Status status = enroll(*registration, request);
    EXPECT_NE(status.error_code(), StatusCode::OK);
    EXPECT_NE(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_FALSE(status.error_message().empty());
    EXPECT_LT(status.error_message().size(), 2000u);
  };
  refused([](auto& r) { r.set_rank(INT32_MIN); });
  refused([](auto& r) { r.set_rank(INT32_MAX); });
  refused([](auto& r) { r.set_client_instance(0); });
  refused([](auto& r) { r.set_node(std::string(1 << 20, 'n')); });
  refused([](auto& r) { r.set_ticket(std::string(1 << 20, 't')); });
  refused([](auto& r) { r.set_ucx_version(std::string(1 << 20, '1')); });
  refused([](auto& r) { r.set_ucx_version(std::string(8 << 20, '1')); });  // more than a message may have
  refused([](auto& r) { r.set_protocol_version_min(UINT32_MAX); });
  refused([](auto& r) {
    for (Rank rank = 0; rank < 100'000; ++rank) r.add_group(rank);
  });
  refused([](auto& r) { r.add_group(0), r.add_group(0); });
  refused([](auto& r) { r.add_group(0), r.add_group(-7); });
  v1::RegisterRequest odd = good_request();  // hints are hints
  odd.set_send_unit_bytes(UINT64_MAX);
  odd.set_recv_unit_bytes(UINT64_MAX);
  odd.set_pid(-1);
  odd.set_node(std::string(255, '\xff'));
  EXPECT_NE(enroll(*registration, odd).error_code(), StatusCode::DEADLINE_EXCEEDED);

  const auto membership = v1::Membership::NewStub(channel());
  for (const std::int32_t rank : {INT32_MIN, -1, 0, 77, INT32_MAX}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + seconds(10));
    v1::ConnectRequest request;
    request.set_from_rank(rank);
    request.set_from_instance(UINT64_MAX);
    request.set_node(std::string(1 << 20, 'n'));
    v1::ConnectResponse response;
    const grpc::Status status = membership->Connect(&context, request, &response);
    EXPECT_NE(status.error_code(), StatusCode::OK) << rank;
    EXPECT_NE(status.error_code(), StatusCode::DEADLINE_EXCEEDED) << rank;
  }
  {
    grpc::ClientContext context;
    v1::RenewRequest request;
    request.set_client_instance(kInstance);
    request.set_ticket(std::string(1 << 20, 't'));
    for (int i = 0; i < 100'000; ++i) request.add_let_go(1);
    v1::RenewResponse response;
    EXPECT_EQ(registration->Renew(&context, request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    v1::ChunksRequest request;
    request.set_page_token(UINT64_MAX);
    v1::ChunksResponse response;
    static_cast<void>(v1::Admin::NewStub(channel())->Chunks(&context, request, &response));
    EXPECT_EQ(response.chunks_size(), 0);
  }
  expect_serves("after absurd calls");
}

// Another's registration is not taken over by whoever knows its number.
TEST_F(HostileCalls, ARegisteredClientIsReplacedOnlyByWhoHasItsTicket) {
  const auto registration = v1::Registration::NewStub(channel());
  const std::string ticket = client_ticket();
  EXPECT_EQ(enroll(*registration, good_request()).error_code(), StatusCode::PERMISSION_DENIED);
  v1::RegisterRequest wrong = good_request();
  wrong.set_ticket(std::string(32, '0'));
  EXPECT_EQ(enroll(*registration, wrong).error_code(), StatusCode::PERMISSION_DENIED);
  Stranger owner(address());
  EXPECT_EQ(introduced(owner, hello(Role::kClient, ticket)), Errc::kOk) << "it was not disturbed";
  v1::RegisterRequest right = good_request();
  right.set_ticket(ticket);
  EXPECT_TRUE(enroll(*registration, right).ok());
}

TEST_F(HostileCalls, AFloodOfRefusedCallsLeavesTheSidecarAsItWas) {
  const auto flood = [this](int rounds) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([this, rounds] {
        const auto registration = v1::Registration::NewStub(channel());
        const auto membership = v1::Membership::NewStub(channel());
        const std::string ucx = cluster_.status(0).ucx_version;
        for (int i = 0; i < rounds; ++i) {
          v1::RegisterRequest request = good_request(ucx);
          request.set_rank(99);
          EXPECT_FALSE(enroll(*registration, request).ok());
          grpc::ClientContext renew;
          v1::RenewRequest stale;
          stale.set_client_instance(static_cast<std::uint64_t>(i) + 1);
          stale.set_ticket(std::string(32, 'a'));
          v1::RenewResponse renewed;
          EXPECT_FALSE(registration->Renew(&renew, stale, &renewed).ok());
          grpc::ClientContext connect;  // a good one, of which nothing ever comes
          v1::ConnectRequest peer;
          peer.set_from_rank(1);
          peer.set_from_instance(static_cast<std::uint64_t>(i) + 1);
          peer.set_ucx_version(ucx);
          peer.set_protocol_version_min(1);
          peer.set_protocol_version_max(1);
          v1::ConnectResponse answer;
          EXPECT_TRUE(membership->Connect(&connect, peer, &answer).ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  flood(300);  // what gRPC takes for so many callers
  const std::uint64_t before = memory_kib();
  flood(3000);
  EXPECT_LT(memory_kib(), before + (16u << 10));
  expect_serves("after a flood");
}

class Secrets : public HostileCalls {
 protected:
  Secrets() : HostileCalls({"--log-level", "trace"}) {}
};

TEST_F(Secrets, AreInNoLog) {
  std::vector<std::string> secrets{client_ticket(), peer_ticket(), peer_ticket()};
  {
    Stranger client(address());
    EXPECT_EQ(introduced(client, hello(Role::kClient, secrets[0])), Errc::kOk);
    Stranger peer(address());
    EXPECT_EQ(introduced(peer, hello(Role::kPeer, secrets[1])), Errc::kOk);
    Stranger again(address());
    Hello replayed = hello(Role::kPeer, secrets[1]);
    replayed.link = 78;
    EXPECT_EQ(introduced(again, replayed), Errc::kUnauthorized);
    secrets.emplace_back("an invented secret of 32 letters");
    Stranger impostor(address());
    EXPECT_EQ(introduced(impostor, hello(Role::kPeer, secrets.back())), Errc::kUnauthorized);
  }
  expect_serves("with every line in the log");
  const std::string log = cluster_.log(0);
  EXPECT_GT(log.size(), 500u) << "it says a lot";
  for (const std::string& secret : secrets) {
    ASSERT_GE(secret.size(), 32u);
    EXPECT_EQ(log.find(secret), std::string::npos) << secret;
  }
}

}  // namespace
}  // namespace sidecar::e2e
