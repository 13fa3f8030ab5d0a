// Membership through gRPC, where it changes.
#include <grpcpp/grpcpp.h>

#include "tests/control/fake_members.h"
#include "tests/control/heard_changes.h"
#include "tests/control/server_fixture.h"

namespace sidecar {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

// Rank 1, and rank 2 for a start.
class ServerMembership : public testing::Test {
 protected:
  ServerMembership() : identity_(test_identity(1, kSelf, *StaticPeers::parse("127.0.0.1", 1))) {
    identity_.members = members_;
    members_->table.put({1, kSelf, "127.0.0.1:1", "node-a"});
    members_->table.put({2, 22, "127.0.0.1:2", "node-b"});
    server_ = *ControlServer::start("127.0.0.1", 0, identity_, loop_.mailbox(), backend_);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::Membership::NewStub(channel_);
  }
  ~ServerMembership() override { loop_.end(); }

  struct Watching {
    explicit Watching(v1::Membership::Stub& stub) : reader(stub.Watch(&context, v1::WatchRequest())) {}
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader;
    v1::WatchResponse response;
  };
  grpc::Status connect(Rank from, InstanceId instance) {
    v1::ConnectRequest request;
    request.set_from_rank(from);
    request.set_from_instance(instance);
    request.set_to_rank(1);
    request.set_ucx_version("1.13.1");
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(1);
    grpc::ClientContext context;
    v1::ConnectResponse response;
    return stub_->Connect(&context, request, &response);
  }

  LoopThread loop_;
  FakeBackend backend_{loop_.loop(), kSelf};
  std::shared_ptr<FakeMembers> members_ = std::make_shared<FakeMembers>();
  Identity identity_;
  std::unique_ptr<ControlServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Membership::Stub> stub_;
};

TEST_F(ServerMembership, ListTellsWhatIsKnownOfEach) {
  grpc::ClientContext context;
  v1::ListResponse response;
  ASSERT_TRUE(stub_->List(&context, v1::ListRequest(), &response).ok());
  ASSERT_EQ(response.members_size(), 2);
  EXPECT_TRUE(response.members(0).self());
  EXPECT_EQ(response.members(1).instance(), 22u);
  EXPECT_EQ(response.members(1).node(), "node-b");
  EXPECT_EQ(response.members(1).grpc_address(), "127.0.0.1:2");
}

TEST_F(ServerMembership, WatchTellsTheListAndThenEveryChange) {
  Watching watching(*stub_);
  ASSERT_TRUE(watching.reader->Read(&watching.response));
  EXPECT_EQ(watching.response.present_size(), 2);
  EXPECT_TRUE(watching.response.listed());
  std::vector<v1::MemberEvent> events;
  members_->table.put({3, 33, "127.0.0.1:3", "node-c"});
  members_->table.put({2, 23, "127.0.0.1:2", "node-b"});
  members_->table.erase(3);
  while (events.size() < 3 && watching.reader->Read(&watching.response)) {
    events.insert(events.end(), watching.response.changes().begin(), watching.response.changes().end());
  }
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].kind(), v1::MemberEvent::JOINED);
  EXPECT_EQ(events[0].member().node(), "node-c");
  EXPECT_EQ(events[1].kind(), v1::MemberEvent::REPLACED);
  EXPECT_EQ(events[1].instance_before(), 22u);
  EXPECT_EQ(events[1].member().instance(), 23u);
  EXPECT_EQ(events[2].kind(), v1::MemberEvent::GONE);
  EXPECT_EQ(events[2].member().rank(), 3);
  watching.context.TryCancel();
  EXPECT_EQ(watching.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerMembership, ALongListComesInSeveralMessages) {
  for (Rank rank = 3; rank < 1203; ++rank) members_->table.put({rank, 7, "127.0.0.1:9", "n"});
  Watching watching(*stub_);
  int present = 0;
  int messages = 0;
  do {
    ASSERT_TRUE(watching.reader->Read(&watching.response));
    present += watching.response.present_size();
    ++messages;
  } while (!watching.response.listed());
  EXPECT_EQ(present, 1202);
  EXPECT_EQ(messages, 3);
}

TEST_F(ServerMembership, ASlowWatcherIsEndedAndToldToWatchAgain) {
  Watching watching(*stub_);
  ASSERT_TRUE(watching.reader->Read(&watching.response));
  // Far more than the connection takes without being read.
  for (InstanceId i = 0; i < 100'000; ++i) members_->table.put({2, 100 + i, "127.0.0.1:2", "node-b"});
  while (watching.reader->Read(&watching.response)) {
  }
  const grpc::Status status = watching.reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("watch again"));
}

TEST_F(ServerMembership, OnlySoManyMayWatchAndWhoGoesAwayMakesRoom) {
  std::vector<std::unique_ptr<Watching>> all;
  for (std::size_t i = 0; i < MemberWatchers::kWatchersMax; ++i) {
    all.push_back(std::make_unique<Watching>(*stub_));
    ASSERT_TRUE(all.back()->reader->Read(&all.back()->response));
  }
  Watching more(*stub_);
  EXPECT_FALSE(more.reader->Read(&more.response));
  EXPECT_EQ(more.reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  all.back()->context.TryCancel();
  EXPECT_TRUE(eventually([&] {
    Watching again(*stub_);
    return again.reader->Read(&again.response);
  }));
}

TEST_F(ServerMembership, AWatchEndsWithTheServer) {
  Watching watching(*stub_);
  ASSERT_TRUE(watching.reader->Read(&watching.response));
  const auto begin = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(1));
  EXPECT_FALSE(watching.reader->Read(&watching.response));
  EXPECT_EQ(watching.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ServerMembership, WhoIsNotKnownYetIsToldToComeAgain) {
  EXPECT_EQ(connect(3, 33).error_code(), grpc::StatusCode::UNAVAILABLE);
  members_->table.put({3, 33, "127.0.0.1:3", "node-c"});
  EXPECT_TRUE(connect(3, 33).ok());
  EXPECT_EQ(connect(1, 5).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "that is us";
}

TEST_F(ServerMembership, AnInstanceThatDoesNotHaveItsRankGetsNoTicket) {
  EXPECT_TRUE(connect(2, 22).ok());
  const grpc::Status status = connect(2, 21);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("rank 2 is instance 0000000000000016"));
}

TEST_F(ServerMembership, AClientMayRegisterForAGroupOnceItsLeaderIsThere) {
  v1::RegisterRequest request;
  request.set_client_instance(5);
  request.set_rank(1);
  request.add_group(0);
  request.add_group(1);
  request.add_group(4);
  request.set_protocol_version_min(1);
  request.set_protocol_version_max(1);
  request.set_ucx_version("1.13.1");
  const auto register_client = [&] {
    grpc::ClientContext context;
    v1::RegisterResponse response;
    return v1::Registration::NewStub(channel_)->Register(&context, request, &response);
  };
  EXPECT_EQ(register_client().error_code(), grpc::StatusCode::UNAVAILABLE);
  members_->table.put({0, 44, "127.0.0.1:4", "node-a"});
  EXPECT_TRUE(register_client().ok());
}

}  // namespace
}  // namespace sidecar
