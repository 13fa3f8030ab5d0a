// Registration and membership as clients and peers see them, over a real connection.
#include <gmock/gmock.h>

#include "tests/control/server_fixture.h"

namespace sidecar {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;
using namespace std::string_literals;

TEST_F(ControlServerTest, RegisterTellsAClientAllItNeeds) {
  v1::RegisterResponse response;
  const grpc::Status status = register_client(request(), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.leader(), 1);
  EXPECT_EQ(response.sidecar_instance(), kSelf);
  EXPECT_EQ(response.node(), "node-a");
  EXPECT_EQ(response.net_address(), "127.0.0.1:12345");
  EXPECT_EQ(response.local_address(), "127.0.0.1:12346");
  ASSERT_EQ(response.gpus_size(), 2);
  EXPECT_EQ(response.gpus(1), std::string("\xC1\x07") + std::string(14, '\0'));
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
  const ClientRegistration registered = on_loop([&] { return backend_.registered; });
  EXPECT_EQ(registered.instance, 5u);
  EXPECT_EQ(registered.send_unit_bytes, 8192u);
  EXPECT_EQ(registered.receive_unit_bytes, 4096u);
  EXPECT_EQ(registered.rank, 1);
  EXPECT_EQ(registered.group, std::vector<Rank>{1});
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
  const ClientRegistration registered = on_loop([&] { return backend_.registered; });
  EXPECT_EQ(registered.rank, 3);
  EXPECT_EQ(registered.group, (std::vector<Rank>{1, 3}));
}

TEST_F(ControlServerTest, MembersRegisterWithTheLeaderInAnyOrderTwiceAndAfterLeaving) {
  const auto member = [&](InstanceId instance, Rank rank, const Ticket& shown = {}) {
    v1::RegisterRequest asked = request();
    asked.set_ticket(std::string(shown.view()));
    asked.set_client_instance(instance);
    asked.set_rank(rank);
    for (const Rank each : {2, 3, 1}) asked.add_group(each);
    v1::RegisterResponse response;
    EXPECT_TRUE(register_client(asked, &response).ok()) << rank;
    EXPECT_TRUE(response.leader_grpc_address().empty());
    EXPECT_EQ(on_loop([&] { return backend_.registered.rank; }), rank);
    return Ticket(response.ticket());
  };
  const auto may_connect = [&](InstanceId instance, Rank rank, const Ticket& ticket) {
    Hello hello;
    hello.instance = instance;
    hello.to_instance = kSelf;
    hello.rank = rank;
    hello.ticket = ticket;
    return on_loop([&] { return backend_.tickets.redeem(hello, 0).has_value(); });
  };
  const Ticket third = member(53, 3), first = member(51, 1), second = member(52, 2);
  EXPECT_TRUE(may_connect(51, 1, first));
  EXPECT_TRUE(may_connect(52, 2, second));
  EXPECT_TRUE(may_connect(53, 3, third));
  EXPECT_FALSE(may_connect(53, 2, third));  // as another member

  const Ticket again = member(53, 3, third);  // twice: the newer ticket counts
  EXPECT_FALSE(may_connect(53, 3, third));
  EXPECT_TRUE(may_connect(53, 3, again));

  v1::UnregisterRequest leave;
  leave.set_client_instance(52);
  leave.set_ticket(std::string(second.view()));
  v1::UnregisterResponse left;
  grpc::ClientContext context;
  ASSERT_TRUE(v1::Registration::NewStub(channel_)->Unregister(&context, leave, &left).ok());
  EXPECT_FALSE(may_connect(52, 2, second));
  EXPECT_TRUE(may_connect(51, 1, first));
  EXPECT_TRUE(may_connect(52, 2, member(52, 2)));
  EXPECT_TRUE(may_connect(62, 2, member(62, 2)));  // respawned: another process of the same rank
}

TEST_F(ControlServerTest, AMemberIsSentToItsLeaderInAnyOrderTwiceAndAfterLeaving) {
  auto member = request();  // rank 1, at its own sidecar
  for (const Rank rank : {2, 1, 0}) member.add_group(rank);
  for (int time = 0; time < 3; ++time) {
    v1::RegisterResponse response;
    ASSERT_TRUE(register_client(member, &response).ok());
    EXPECT_EQ(response.leader_grpc_address(), "127.0.0.1:10000");
    EXPECT_TRUE(response.ticket().empty());
    v1::UnregisterRequest leave;  // where it was never registered: no error
    leave.set_client_instance(member.client_instance());
    v1::UnregisterResponse left;
    grpc::ClientContext context;
    EXPECT_TRUE(v1::Registration::NewStub(channel_)->Unregister(&context, leave, &left).ok());
    std::reverse(member.mutable_group()->begin(), member.mutable_group()->end());
  }
  EXPECT_EQ(on_loop([&] { return backend_.tickets.clients(); }), 0u);
}

TEST_F(ControlServerTest, TheEnginesRefusalReachesTheClient) {
  on_loop([&] { return backend_.refuse.what = "draining: no new clients"; });
  expect_refused(request(), StatusCode::UNAVAILABLE, "draining");
}

TEST_F(ControlServerTest, ALeaseIsForWhoSaysThatItRenews) {
  v1::RegisterResponse without;
  ASSERT_TRUE(register_client(request(), &without).ok());
  EXPECT_EQ(without.lease_ms(), 0u);
  EXPECT_FALSE(on_loop([&] { return backend_.registered.leased; })) << "its lease is its connection";
  auto renewing = request();
  renewing.set_renews(true);
  EXPECT_FALSE(register_client(renewing, &without).ok()) << "another's registration, for all it knows";
  renewing.set_ticket(without.ticket());
  v1::RegisterResponse with;
  ASSERT_TRUE(register_client(renewing, &with).ok());
  EXPECT_EQ(with.lease_ms(), 10'000u);
  EXPECT_TRUE(on_loop([&] { return backend_.registered.leased; }));
}

TEST_F(ControlServerTest, RenewNeedsTheTicketAndSaysWhenThereIsNothingToRenew) {
  v1::RegisterResponse registered;
  ASSERT_TRUE(register_client(request(), &registered).ok());
  std::size_t let_go = 2;
  const auto renew = [&](InstanceId client, const std::string& ticket, v1::RenewResponse* response) {
    v1::RenewRequest request;
    request.set_client_instance(client);
    request.set_ticket(ticket);
    for (std::size_t i = 0; i < let_go; ++i) request.add_let_go(100 + i);
    grpc::ClientContext context;
    return v1::Registration::NewStub(channel_)->Renew(&context, request, response).error_code();
  };
  v1::RenewResponse response;
  EXPECT_EQ(renew(5, registered.ticket(), &response), StatusCode::OK);
  EXPECT_EQ(response.lease_ms(), 10'000u);
  EXPECT_EQ(on_loop([&] { return backend_.was_let_go; }), (std::vector<InstanceId>{100, 101}));
  EXPECT_EQ(renew(5, "guess", &response), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(renew(5, std::string(65, 'x'), &response), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(renew(6, registered.ticket(), &response), StatusCode::NOT_FOUND);
  let_go = 257;
  EXPECT_EQ(renew(5, registered.ticket(), &response), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(on_loop([&] { return backend_.renewals; }), 1);
}

// Whatever a stranger writes into a registration is a name or a number, or refused; and it is no way to what
// others were given.
TEST_F(ControlServerTest, RegressionC10WhatComesFromTheNetworkIsOnlyEverLookedAt) {
  const std::string odd = "\x80\x04\x95\0cos\nsystem\n(S'exit'\ntR."s + "%n%s{}$(exit)`exit`";
  auto strange = request();
  strange.set_node("%n%s{}$(exit)`exit`");
  strange.set_pid(-1);
  v1::RegisterResponse response;
  ASSERT_TRUE(register_client(strange, &response).ok());
  EXPECT_EQ(response.ticket().find_first_not_of("0123456789abcdef"), std::string::npos) << response.ticket();
  strange.set_ucx_version("{}%n%s");
  expect_refused(strange, StatusCode::FAILED_PRECONDITION, "{}%n%s");
  strange.set_node(std::string(100'000, 'n'));
  expect_refused(strange, StatusCode::INVALID_ARGUMENT, "node");
  for (const std::string& guess : {std::string(), odd, std::string(64, '\0'), response.ticket() + "0"}) {
    v1::RenewRequest renew;
    renew.set_client_instance(5);
    // Text is checked by gRPC before anything of ours sees it: as bytes that are no text it does not even
    // leave.
    renew.set_ticket(guess);
    v1::RenewResponse renewed;
    grpc::ClientContext context;
    const grpc::Status status = v1::Registration::NewStub(channel_)->Renew(&context, renew, &renewed);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(status.error_message().find(response.ticket()), std::string::npos) << "no secret in an error";
  }
  EXPECT_EQ(on_loop([&] { return backend_.renewals; }), 0);
  EXPECT_EQ(on_loop([&] { return backend_.tickets.clients(); }), 1u);
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

// A node's executors start all at once.
TEST_F(ControlServerTest, ManyRegistrationsAtOnceAllSucceed) {
  constexpr int kCalls = 500;
  struct Call {
    grpc::ClientContext context;
    v1::RegisterResponse response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::RegisterResponse>> reader;
  };
  std::vector<Call> calls(kCalls);
  grpc::CompletionQueue queue;
  const auto stub = v1::Registration::NewStub(channel_);
  for (int i = 0; i < kCalls; ++i) {
    v1::RegisterRequest one = request();
    one.set_client_instance(static_cast<InstanceId>(i) + 1);
    calls[static_cast<std::size_t>(i)].reader =
        stub->AsyncRegister(&calls[static_cast<std::size_t>(i)].context, one, &queue);
    calls[static_cast<std::size_t>(i)].reader->Finish(&calls[static_cast<std::size_t>(i)].response,
                                                      &calls[static_cast<std::size_t>(i)].status, nullptr);
  }
  void* tag = nullptr;
  bool ok = false;
  for (int i = 0; i < kCalls; ++i) ASSERT_TRUE(queue.Next(&tag, &ok));
  for (const Call& call : calls) ASSERT_TRUE(call.status.ok()) << call.status.error_message();
  EXPECT_EQ(on_loop([&] { return backend_.tickets.clients(); }), static_cast<std::size_t>(kCalls));
}

}  // namespace
}  // namespace sidecar
