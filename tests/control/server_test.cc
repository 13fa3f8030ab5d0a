// The gRPC services as a client sees them, over a real connection; a fake stands behind the mailbox.
#include "control/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <future>

#include "control/sidecar.grpc.pb.h"
#include "tests/control/fake_backend.h"

namespace sidecar {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

constexpr InstanceId kSelf = 77;

// Rank 1 of four; rank 3 may not share memory with it.
class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() : identity_(test_identity(1, kSelf, *StaticPeers::parse("127.0.0.1", 4))) {
    identity_.local_peer_ranks = {0, 2};
    auto server = ControlServer::start("127.0.0.1", 0, identity_, loop_.mailbox(), backend_);
    CHECK(server.has_value());
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()), grpc::InsecureChannelCredentials());
  }
  ~ControlServerTest() override { loop_.end(); }

  v1::RegisterRequest request() const {
    v1::RegisterRequest request;
    request.set_client_instance(5);
    request.set_rank(1);
    request.set_send_unit_bytes(8192);
    request.set_recv_unit_bytes(4096);
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(7);
    request.set_ucx_version("1.13.1");
    return request;
  }
  grpc::Status register_client(const v1::RegisterRequest& request, v1::RegisterResponse* response) {
    grpc::ClientContext context;
    return v1::Registration::NewStub(channel_)->Register(&context, request, response);
  }
  void expect_refused(const v1::RegisterRequest& request, StatusCode code, const std::string& text) {
    v1::RegisterResponse response;
    const grpc::Status status = register_client(request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
    EXPECT_TRUE(response.ticket().empty());
  }
  v1::ConnectRequest connect_request() const {
    v1::ConnectRequest request;
    request.set_from_rank(2);
    request.set_from_instance(9);
    request.set_to_rank(1);
    request.set_ucx_version("1.13.1");
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(1);
    return request;
  }
  grpc::Status connect(const v1::ConnectRequest& request, v1::ConnectResponse* response) {
    grpc::ClientContext context;
    return v1::Membership::NewStub(channel_)->Connect(&context, request, response);
  }
  // On the loop's thread, where the backend lives.
  template <class Function>
  auto on_loop(Function function) {
    std::promise<decltype(function())> promise;
    CHECK(loop_.mailbox().post([&] { promise.set_value(function()); }));
    return promise.get_future().get();
  }

  LoopThread loop_;
  FakeBackend backend_{loop_.loop(), kSelf};
  Identity identity_;
  std::unique_ptr<ControlServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ControlServerTest, RegisterTellsAClientAllItNeeds) {
  v1::RegisterResponse response;
  const grpc::Status status = register_client(request(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.leader(), 1);
  EXPECT_EQ(response.sidecar_instance(), kSelf);
  EXPECT_EQ(response.node(), "node-a");
  EXPECT_EQ(response.net_address(), "127.0.0.1:12345");
  EXPECT_EQ(response.local_address(), "127.0.0.1:12346");
  EXPECT_EQ(response.arena().path(), "/dev/shm/not-there");
  EXPECT_EQ(response.arena().nonce(), 4711u);
  EXPECT_EQ(response.protocol_version(), kProtocolVersionMax);
  EXPECT_EQ(response.limits().send_quota_bytes(), 500u);
  EXPECT_EQ(response.limits().inline_bytes(), kInlineBytesMax);
  Hello hello;
  hello.instance = 5;
  hello.to_instance = kSelf;
  hello.rank = 1;
  hello.ticket.assign(response.ticket());
  EXPECT_TRUE(on_loop([&] { return backend_.tickets.redeem(hello, 0); }));
  EXPECT_EQ(on_loop([&] { return backend_.units; }), (std::pair<std::uint64_t, std::uint64_t>(8192, 4096)));
}

TEST_F(ControlServerTest, RegisterRefusesWhatCannotWorkInWords) {
  auto no_instance = request();
  no_instance.set_client_instance(0);
  expect_refused(no_instance, StatusCode::INVALID_ARGUMENT, "client_instance");
  auto unknown_rank = request();
  unknown_rank.set_rank(4);
  expect_refused(unknown_rank, StatusCode::INVALID_ARGUMENT, "rank 4 does not exist");
  auto negative = request();
  negative.set_rank(-1);
  expect_refused(negative, StatusCode::INVALID_ARGUMENT, "rank -1");
  auto elsewhere = request();
  elsewhere.set_rank(2);
  expect_refused(elsewhere, StatusCode::INVALID_ARGUMENT, "this is rank 1, not rank 2");
  auto other_ucx = request();
  other_ucx.set_ucx_version("1.20.1");
  expect_refused(other_ucx, StatusCode::FAILED_PRECONDITION, "UCX 1.20.1");
  auto newer = request();
  newer.set_protocol_version_min(kProtocolVersionMax + 1);
  newer.set_protocol_version_max(kProtocolVersionMax + 1);
  expect_refused(newer, StatusCode::FAILED_PRECONDITION, "protocol versions");
  auto twice = request();
  twice.add_group(1);
  twice.add_group(1);
  expect_refused(twice, StatusCode::INVALID_ARGUMENT, "twice");
  auto without_self = request();
  without_self.add_group(2);
  expect_refused(without_self, StatusCode::INVALID_ARGUMENT, "does not contain rank 1");
  auto unknown_member = request();
  unknown_member.add_group(1);
  unknown_member.add_group(9);
  expect_refused(unknown_member, StatusCode::INVALID_ARGUMENT, "rank 9 does not exist");
}

TEST_F(ControlServerTest, AGroupsMemberIsSentToItsLeader) {
  auto member = request();
  for (const Rank rank : {2, 1, 0}) member.add_group(rank);
  v1::RegisterResponse response;
  ASSERT_TRUE(register_client(member, &response).ok());
  EXPECT_EQ(response.leader(), 0);
  EXPECT_EQ(response.leader_grpc_address(), "127.0.0.1:10000");
  EXPECT_TRUE(response.ticket().empty());
}

TEST_F(ControlServerTest, TheLeaderRegistersMembersOfItsGroup) {
  auto member = request();
  member.set_rank(3);
  for (const Rank rank : {3, 1}) member.add_group(rank);
  v1::RegisterResponse response;
  ASSERT_TRUE(register_client(member, &response).ok());
  EXPECT_EQ(response.leader(), 1);
  EXPECT_FALSE(response.ticket().empty());
}

TEST_F(ControlServerTest, TheEnginesRefusalReachesTheClient) {
  on_loop([&] { return backend_.refuse.what = "draining: no new clients"; });
  expect_refused(request(), StatusCode::UNAVAILABLE, "draining");
}

TEST_F(ControlServerTest, UnregisterNeedsTheTicket) {
  v1::RegisterResponse registered;
  ASSERT_TRUE(register_client(request(), &registered).ok());
  const auto unregister = [&](const std::string& ticket) {
    v1::UnregisterRequest request;
    request.set_client_instance(5);
    request.set_ticket(ticket);
    v1::UnregisterResponse response;
    grpc::ClientContext context;
    return v1::Registration::NewStub(channel_)->Unregister(&context, request, &response).error_code();
  };
  EXPECT_EQ(unregister("guess"), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(unregister(std::string(65, 'x')), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(unregister(registered.ticket()), StatusCode::OK);
  EXPECT_EQ(on_loop([&] { return backend_.tickets.clients(); }), 0u);
}

TEST_F(ControlServerTest, ConnectGivesAPeerARecordAndASingleUseTicket) {
  v1::ConnectResponse response;
  const grpc::Status status = connect(connect_request(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.member().rank(), 1);
  EXPECT_EQ(response.member().instance(), kSelf);
  EXPECT_EQ(response.member().local_address(), "127.0.0.1:12346");
  Hello hello;
  hello.role = Role::kPeer;
  hello.instance = 9;
  hello.to_instance = kSelf;
  hello.rank = 2;
  hello.ticket.assign(response.ticket());
  const auto redeem = [&] { return backend_.tickets.redeem(hello, Loop::now_ns()).has_value(); };
  EXPECT_TRUE(on_loop(redeem));
  EXPECT_FALSE(on_loop(redeem));
}

TEST_F(ControlServerTest, ARankThatMayNotShareMemoryIsNotToldHow) {
  auto from_three = connect_request();
  from_three.set_from_rank(3);
  v1::ConnectResponse response;
  ASSERT_TRUE(connect(from_three, &response).ok());
  EXPECT_TRUE(response.member().local_address().empty());
  EXPECT_TRUE(response.member().arena().path().empty());
  EXPECT_EQ(response.member().net_address(), "127.0.0.1:12345");
}

TEST_F(ControlServerTest, ConnectRefusesInWords) {
  const auto refuse = [&](const v1::ConnectRequest& request, StatusCode code, const std::string& text) {
    v1::ConnectResponse response;
    const grpc::Status status = connect(request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  };
  auto other_ucx = connect_request();
  other_ucx.set_ucx_version("1.20.1");
  refuse(other_ucx, StatusCode::FAILED_PRECONDITION, "rank 2 runs UCX 1.20.1, rank 1 runs UCX 1.13.1");
  auto wrong_rank = connect_request();
  wrong_rank.set_to_rank(0);
  refuse(wrong_rank, StatusCode::NOT_FOUND, "this is rank 1, not rank 0");
  auto stranger = connect_request();
  stranger.set_from_rank(9);
  refuse(stranger, StatusCode::INVALID_ARGUMENT, "from_rank 9");
  auto itself = connect_request();
  itself.set_from_rank(1);
  refuse(itself, StatusCode::INVALID_ARGUMENT, "from_rank 1");
  auto no_instance = connect_request();
  no_instance.set_from_instance(0);
  refuse(no_instance, StatusCode::INVALID_ARGUMENT, "from_instance");
}

TEST_F(ControlServerTest, MembersCanBeResolvedAndListed) {
  auto stub = v1::Membership::NewStub(channel_);
  v1::ResolveRequest request;
  v1::Member member;
  {
    request.set_rank(3);
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Resolve(&context, request, &member).ok());
    EXPECT_EQ(member.grpc_address(), "127.0.0.1:10003");
    EXPECT_FALSE(member.self());
  }
  {
    request.set_rank(8);
    grpc::ClientContext context;
    EXPECT_EQ(stub->Resolve(&context, request, &member).error_code(), StatusCode::NOT_FOUND);
  }
  v1::ListResponse list;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->List(&context, v1::ListRequest(), &list).ok());
  ASSERT_EQ(list.members_size(), 4);
  EXPECT_TRUE(list.members(1).self());
  EXPECT_EQ(list.members(1).grpc_address(), "127.0.0.1:" + std::to_string(server_->port()));
  EXPECT_EQ(list.members(1).instance(), kSelf);
}

TEST_F(ControlServerTest, StatsShowMemoryPressureAndItsEnd) {
  auto stub = v1::Admin::NewStub(channel_);
  const auto stats = [&] {
    v1::StatsResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub->Stats(&context, v1::StatsRequest(), &response).ok());
    return response;
  };
  on_loop([&] {
    backend_.engine_stats.waiting_sends = 3;
    backend_.engine_stats.receive.used_bytes = 64;
    backend_.engine_stats.counters.duplicates = 8;
    return 0;
  });
  const v1::StatsResponse pressed = stats();
  EXPECT_TRUE(pressed.memory_pressure());
  EXPECT_EQ(pressed.waiting_sends(), 3u);
  EXPECT_EQ(pressed.receive().used_bytes(), 64u);
  EXPECT_EQ(pressed.counters().at("duplicates"), 8u);
  EXPECT_EQ(pressed.rank(), 1);
  EXPECT_EQ(pressed.arena_kind(), "shared (asked for)");
  on_loop([&] { return backend_.engine_stats.waiting_sends = 0; });
  EXPECT_FALSE(stats().memory_pressure());
}

TEST_F(ControlServerTest, ChunksComeInPages) {
  on_loop([&] {
    for (ChunkIndex i = 0; i < 5; ++i) {
      ChunkInfo info;
      info.id = std::string("id\0\xff", 4);
      info.chunk = i;
      info.state = "ready";
      backend_.chunk_rows.push_back(info);
    }
    return 0;
  });
  auto stub = v1::Admin::NewStub(channel_);
  std::vector<std::uint32_t> seen;
  std::uint64_t token = 0;
  int pages = 0;
  do {
    v1::ChunksRequest request;
    request.set_page_size(2);
    request.set_page_token(token);
    v1::ChunksResponse response;
    grpc::ClientContext context;
    ASSERT_TRUE(stub->Chunks(&context, request, &response).ok());
    for (const v1::ChunkRow& row : response.chunks()) {
      seen.push_back(row.chunk());
      EXPECT_EQ(row.data_id(), std::string("id\0\xff", 4));
    }
    token = response.next_page_token();
    ++pages;
  } while (token != 0 && pages < 10);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
}

TEST_F(ControlServerTest, PeersShowTheirPath) {
  on_loop([&] {
    PeerInfo info;
    info.rank = 2;
    info.path = "network";
    info.transports = "tcp";
    backend_.peer_rows.push_back(info);
    return 0;
  });
  v1::PeersResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Admin::NewStub(channel_)->Peers(&context, v1::PeersRequest(), &response).ok());
  ASSERT_EQ(response.peers_size(), 1);
  EXPECT_EQ(response.peers(0).path(), "network");
  EXPECT_EQ(response.peers(0).transports(), "tcp");
  EXPECT_EQ(response.peers(0).grpc_address(), "127.0.0.1:10002");
}

TEST_F(ControlServerTest, DrainReachesTheLoop) {
  v1::DrainResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Admin::NewStub(channel_)->Drain(&context, v1::DrainRequest(), &response).ok());
  EXPECT_TRUE(on_loop([&] { return backend_.draining; }));
}

TEST_F(ControlServerTest, ALoopThatDoesNotAnswerIsReportedAndDoesNotHoldUpTheEnd) {
  std::promise<void> release;
  ASSERT_TRUE(loop_.mailbox().post([wait = release.get_future().share()] { wait.wait(); }));
  v1::RegisterResponse response;
  const grpc::Status status = register_client(request(), &response);
  EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("loop did not answer"));
  release.set_value();
}

TEST_F(ControlServerTest, AnEndedLoopAnswersAtOnce) {
  loop_.end();
  v1::StatsResponse response;
  grpc::ClientContext context;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(v1::Admin::NewStub(channel_)->Stats(&context, v1::StatsRequest(), &response).error_code(),
            StatusCode::UNAVAILABLE);
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
}

TEST_F(ControlServerTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto second = ControlServer::start("127.0.0.1", server_->port(), identity_, loop_.mailbox(), backend_);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error(), HasSubstr("127.0.0.1:" + std::to_string(server_->port())));
  EXPECT_THAT(second.error(), HasSubstr("--grpc-port"));
}

// grpc.health.v1 and reflection by hand: their stubs are not installed, and the bytes are few.
std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

grpc::ByteBuffer buffer_of(std::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

std::string check_health(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::ByteBuffer response;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", buffer_of(""), &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status.ok() ? bytes_of(response) : status.error_message();
}

TEST_F(ControlServerTest, HealthSaysServingUntilToldOtherwise) {
  EXPECT_EQ(check_health(channel_), "\x08\x01");
  server_->set_serving(false);
  EXPECT_EQ(check_health(channel_), "\x08\x02");
}

TEST_F(ControlServerTest, ReflectionListsTheServices) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  call->Write(buffer_of(std::string_view("\x3a\0", 2)), nullptr);  // list_services
  ASSERT_TRUE(next());
  grpc::ByteBuffer response;
  call->Read(&response, nullptr);
  ASSERT_TRUE(next());
  const std::string services = bytes_of(response);
  for (const char* name : {"sidecar.v1.Registration", "sidecar.v1.Membership", "sidecar.v1.Admin", "grpc.health.v1.Health"}) {
    EXPECT_THAT(services, HasSubstr(name));
  }
  call->WritesDone(nullptr);
  next();
  grpc::Status status;
  call->Finish(&status, nullptr);
  next();
}

}  // namespace
}  // namespace sidecar
