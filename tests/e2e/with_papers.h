// Two sidecards, and what a stranger needs to be let in by rank 0: it can then say what a good library never
// would.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "control/sidecar.grpc.pb.h"
#include "tests/e2e/contents.h"
#include "tests/e2e/stranger.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {

inline constexpr InstanceId kInstance = 4711;

class WithPapers : public ::testing::Test {
 protected:
  explicit WithPapers(const std::vector<std::string>& flags = {})
      : cluster_({.nodes = {"a", "b"}, .arena = "32M", .flags = flags}) {}
  [[nodiscard]] std::string address() const { return cluster_.ready_word(0, "data"); }
  [[nodiscard]] std::uint64_t counter(const char* name) const { return cluster_.counter(0, name); }
  // Registers at rank 0 as the client library does.
  [[nodiscard]] std::string client_ticket() const {
    v1::RegisterRequest request;
    request.set_client_instance(kInstance);
    request.set_rank(0);
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(1);
    request.set_ucx_version(cluster_.status(0).ucx_version);
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const grpc::Status status = v1::Registration::NewStub(channel())->Register(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.ticket();
  }
  // Asks rank 0 for a connection as the sidecar of rank 1 does.
  [[nodiscard]] std::string peer_ticket(std::uint64_t instance = kInstance) const {
    v1::ConnectRequest request;
    request.set_from_rank(1);
    request.set_from_instance(instance);
    request.set_ucx_version(cluster_.status(0).ucx_version);
    request.set_node("elsewhere");
    request.set_to_rank(0);
    request.set_protocol_version_min(1);
    request.set_protocol_version_max(1);
    v1::ConnectResponse response;
    grpc::ClientContext context;
    const grpc::Status status = v1::Membership::NewStub(channel())->Connect(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.ticket();
  }
  [[nodiscard]] Hello hello(Role role, const std::string& ticket) const {
    Hello hello;
    hello.role = role;
    hello.link = 77;
    hello.rank = role == Role::kClient ? 0 : 1;
    hello.instance = kInstance;
    hello.to_instance = cluster_.status(0).instance;
    hello.node.assign("elsewhere");
    hello.ticket.assign(ticket);
    return hello;
  }
  // The answer to its Hello.
  static Errc introduced(Stranger& stranger, const Hello& hello) {
    const std::size_t before = stranger.answers().size();
    stranger.send(kAmId, encoded(hello));
    for (int i = 0; i < 500 && stranger.answers().size() == before; ++i) stranger.progress(milliseconds(10));
    Message answer;
    if (stranger.answers().size() == before || !decode(stranger.answers()[before], 0, answer))
      return Errc::kIo;
    EXPECT_TRUE(std::holds_alternative<HelloAck>(answer));
    return std::get<HelloAck>(answer).code;
  }
  // The next message of that kind; an empty one if none comes.
  template <class Kind>
  static Kind await(Stranger& stranger, std::size_t from = 0) {
    for (int i = 0; i < 500; ++i) {
      for (std::size_t n = from; n < stranger.answers().size(); ++n) {
        Message message;
        if (decode(stranger.answers()[n], 0, message) && std::holds_alternative<Kind>(message))
          return std::get<Kind>(message);
      }
      stranger.progress(milliseconds(10));
    }
    ADD_FAILURE() << "no answer";
    return {};
  }
  // Some transfer of this stranger's was answered with an error.
  static bool refused(const Stranger& stranger) {
    for (const auto& bytes : stranger.answers()) {
      Message message;
      if (decode(bytes, 0, message) && std::holds_alternative<Ack>(message) &&
          std::get<Ack>(message).code != Errc::kOk)
        return true;
    }
    return false;
  }
  static ChunkMeta meta_of(const std::string& id, std::uint64_t bytes) {
    ChunkMeta meta;
    meta.id.assign(id);
    meta.num_chunks = 1;
    meta.kind = ChunkKind::kObject;
    meta.bytes = bytes;
    return meta;
  }
  // Others are served as before.
  void expect_serves(const std::string& id) {
    Client producer = cluster_.client(0);
    Client consumer = cluster_.client(1);
    const auto bytes = contents(id, 0, 300'000);
    const auto sent = producer.send({bytes.data(), Dtype::kU8, {bytes.size()}}, id, {{1}});
    ASSERT_TRUE(sent) << to_string(sent.error());
    EXPECT_TRUE(matches(consumer.recv(id, 0, seconds(10)).value().bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
  }
  [[nodiscard]] std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(cluster_.address(0), grpc::InsecureChannelCredentials());
  }

  Cluster cluster_;
};

}  // namespace sidecar::e2e
