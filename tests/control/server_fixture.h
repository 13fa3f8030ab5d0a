// A sidecar's gRPC server with a fake behind its mailbox, and a client's connection to it.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <future>
#include <memory>
#include <string>

#include "control/server.h"
#include "control/sidecar.grpc.pb.h"
#include "tests/control/fake_backend.h"

namespace sidecar {

inline constexpr InstanceId kSelf = 77;

// Rank 1 of four; rank 3 may not share memory with it.
class ControlServerTest : public testing::Test {
 protected:
  ControlServerTest() : identity_(test_identity(1, kSelf, *StaticPeers::parse("127.0.0.1", 4))) {
    identity_.local_peer_ranks = {0, 2};
    auto server = ControlServer::start("127.0.0.1", 0, identity_, loop_.mailbox(), backend_);
    CHECK(server.has_value());
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                   grpc::InsecureChannelCredentials());
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
  void expect_refused(const v1::RegisterRequest& request, grpc::StatusCode code, const std::string& text) {
    v1::RegisterResponse response;
    const grpc::Status status = register_client(request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), testing::HasSubstr(text));
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

}  // namespace sidecar
