// A stranger at the data port: it speaks UCX and nothing else that it should. The sidecar throws it out and
// goes on.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <random>

#include "control/sidecar.grpc.pb.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"
#include "tests/e2e/stranger.h"

namespace sidecar::e2e {
namespace {

class Hostile : public ::testing::Test {
 protected:
  [[nodiscard]] std::string address() const { return cluster_.ready_word(0, "data"); }

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

  [[nodiscard]] std::uint64_t counter(const char* name) const { return cluster_.counter(0, name); }
  [[nodiscard]] std::shared_ptr<grpc::Channel> channel() const {
    return grpc::CreateChannel(cluster_.address(0), grpc::InsecureChannelCredentials());
  }
  // A stranger with a ticket is none any more, but has no manners all the same.
  void introduce(Stranger& stranger, Hello hello) {
    hello.instance = kInstance;
    hello.to_instance = cluster_.status(0).instance;
    stranger.send(kAmId, encoded(hello));
    const auto answer = stranger.answer_after<HelloAck>(0);
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->code, Errc::kOk) << answer->text.view();
  }
  void introduce_as_client(Stranger& stranger) {
    v1::RegisterRequest request;
    request.set_client_instance(kInstance);
    request.set_protocol_version_min(kProtocolVersionMin);
    request.set_protocol_version_max(kProtocolVersionMax);
    request.set_ucx_version(cluster_.status(0).ucx_version);
    v1::RegisterResponse response;
    grpc::ClientContext context;
    const auto status = v1::Registration::NewStub(channel())->Register(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    Hello hello;
    hello.rank = 0;
    hello.ticket.assign(response.ticket());
    introduce(stranger, hello);
  }
  void introduce_as_peer(Stranger& stranger) {
    v1::ConnectRequest request;
    request.set_from_rank(1);
    request.set_from_instance(kInstance);
    request.set_protocol_version_min(kProtocolVersionMin);
    request.set_protocol_version_max(kProtocolVersionMax);
    request.set_ucx_version(cluster_.status(0).ucx_version);
    v1::ConnectResponse response;
    grpc::ClientContext context;
    const auto status = v1::Membership::NewStub(channel())->Connect(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    Hello hello;
    hello.role = Role::kPeer;
    hello.rank = 1;
    hello.ticket.assign(response.ticket());
    introduce(stranger, hello);
  }

  static constexpr InstanceId kInstance = 4711;
  Cluster cluster_{{.nodes = {"a", "b"}}};
};

TEST_F(Hostile, SmokeActiveMessagesWithUnknownIdsAreRejected) {
  for (const unsigned id : {0u, 2u, 255u, 256u, 60'000u, 65'535u}) {
    Stranger stranger(address());
    stranger.send(id, std::vector<std::byte>(40, std::byte{7}));
    stranger.send(id, std::vector<std::byte>(40, std::byte{7}), 5000);
    stranger.send(id, std::vector<std::byte>(40, std::byte{7}), 1 << 20, true);
    EXPECT_TRUE(stranger.is_thrown_out()) << "id " << id;
  }
  EXPECT_GE(counter("transport_unknown_ids"), 6u);
  EXPECT_GE(counter("protocol_errors"), 6u);
  expect_serves("after unknown ids");
}

TEST_F(Hostile, SmokeWhoSendsJunkOfAnyLengthIsThrownOut) {
  std::mt19937 random(1);
  for (const std::size_t size : {0, 1, 3, 4, 7, 8, 12, 63, 500, 4095, 4096, 4097, 8000}) {
    Stranger stranger(address());
    std::vector<std::byte> junk(size);
    for (std::byte& byte : junk) byte = static_cast<std::byte>(random());
    stranger.send(kAmId, junk);
    stranger.send(kAmId, junk, 60'000);
    stranger.send(kAmId, junk, 1 << 20, true);
    EXPECT_TRUE(stranger.is_thrown_out()) << size << " bytes";
  }
  EXPECT_NE(cluster_.log(0).find("was closed"), std::string::npos) << "an operator must be able to see it";
  EXPECT_GE(counter("protocol_errors"), 13u);
  expect_serves("after junk");
}

TEST_F(Hostile, WhoHasNotIntroducedItselfMayDoNothing) {
  Stranger stranger(address());
  Send send;
  send.request = 1;
  send.meta.id.assign("smuggled");
  send.meta.num_chunks = 1;
  send.meta.kind = ChunkKind::kObject;
  send.destinations.add_group(std::array<Rank, 1>{1});
  stranger.send(kAmId, encoded(send));
  MarkDone done;
  done.request = 2;
  done.id.assign("smuggled");
  stranger.send(kAmId, encoded(done));
  Chunk chunk;
  chunk.transfer.sequence = 1;
  chunk.meta = send.meta;
  chunk.meta.bytes = 1 << 20;
  stranger.send(kAmId, encoded(chunk), 1 << 20, true);
  EXPECT_TRUE(stranger.is_thrown_out());
  EXPECT_EQ(counter("data"), 0u) << "nothing was taken, nothing is remembered";
  EXPECT_EQ(counter("chunks"), 0u);
  expect_serves("after a stranger");
}

TEST_F(Hostile, AHelloWithATicketOfItsOwnInventionIsRefused) {
  for (const Role role : {Role::kClient, Role::kPeer}) {
    Stranger stranger(address());
    Hello hello;
    hello.role = role;
    hello.link = 77;
    hello.rank = role == Role::kClient ? 0 : 1;
    hello.instance = 4711;
    hello.to_instance = cluster_.status(0).instance;
    hello.ticket.assign("let me in, please");
    stranger.send(kAmId, encoded(hello));
    EXPECT_TRUE(stranger.is_thrown_out());
    ASSERT_EQ(stranger.answers().size(), 1u);
    Message answer;
    ASSERT_TRUE(decode(stranger.answers()[0], 0, answer));
    ASSERT_TRUE(std::holds_alternative<HelloAck>(answer));
    EXPECT_NE(std::get<HelloAck>(answer).code, Errc::kOk);
  }
  EXPECT_EQ(cluster_.counter(0, "clients"), 0u);
  EXPECT_EQ(counter("transport_hellos_refused"), 2u);
  expect_serves("after an impostor");
}

TEST_F(Hostile, AClientsBadRequestsAreAnsweredWithProtocolAndTheEighthEndsItsConnection) {
  Stranger client(address());
  introduce_as_client(client);
  Send send;
  send.meta.id.assign("bad");
  send.meta.num_chunks = 1;
  send.meta.kind = ChunkKind::kObject;
  send.meta.bytes = 5'000;
  send.source = Source::kPayload;
  send.destinations.add_group(std::array<Rank, 1>{1});
  for (send.request = 1; send.request <= 7; ++send.request) {
    client.send(kAmId, encoded(send), 4'999, send.request % 2 == 0);
    const auto reply = client.answer_after<Reply>(send.request);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->request, send.request);
    EXPECT_EQ(reply->stage, Stage::kFinal);
    EXPECT_EQ(reply->code, Errc::kProtocol);
    EXPECT_EQ(reply->text.view(), "payload: not as long as meta.bytes says");
    EXPECT_EQ(counter("protocol_errors"), send.request);
  }
  client.send(kAmId, encoded(send), 4'999);
  EXPECT_TRUE(client.is_thrown_out());
  EXPECT_EQ(counter("protocol_errors"), 8u);
  EXPECT_EQ(counter("transport_protocol_errors"), 8u);
  EXPECT_EQ(counter("data"), 0u);
  expect_serves("after bad requests");
}

TEST_F(Hostile, APeersBadTransfersAreAcknowledgedWithProtocolEachTimeTheyCome) {
  Stranger peer(address());
  introduce_as_peer(peer);
  Chunk chunk;
  chunk.transfer = {1, 1};
  chunk.meta.id.assign("bad");
  chunk.meta.num_chunks = 1;
  chunk.meta.kind = ChunkKind::kObject;
  chunk.meta.bytes = 5'000;
  for (std::size_t time = 1; time <= 3; ++time) {
    peer.send(kAmId, encoded(chunk), 4'999, time == 2);
    const auto ack = peer.answer_after<Ack>(time);
    ASSERT_TRUE(ack);
    EXPECT_EQ(ack->sequence, 1u);
    EXPECT_EQ(ack->code, Errc::kProtocol);
    EXPECT_EQ(ack->consumed, time == 1 ? 4'999u : time == 2 ? 4'999u : 9'998u) << "dropped is consumed";
  }
  const std::size_t answers = peer.answers().size();
  peer.send(kAmId, std::vector<std::byte>(50, std::byte{9}), 10);  // nobody can tell what that was
  chunk.transfer = {1 << 20, 1};
  peer.send(kAmId, encoded(chunk), 4'999);  // no sequence that it could use
  for (int i = 0; i < 1000 && counter("protocol_errors") < 5; ++i) peer.progress(milliseconds(10));
  EXPECT_EQ(counter("protocol_errors"), 5u);
  peer.progress(milliseconds(10));
  EXPECT_EQ(peer.answers().size(), answers);
  EXPECT_FALSE(peer.broken());
  EXPECT_EQ(counter("data"), 0u);
  expect_serves("after bad transfers");
}

// Every single bit of a message turned, and every prefix: none of it may end the process.
TEST_F(Hostile, DamagedMessagesNeverEndTheSidecar) {
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = 1;
  hello.instance = 4711;
  hello.ticket.assign("0123456789abcdef");
  const std::vector<std::byte> good = encoded(hello);
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    Stranger stranger(address());
    for (int i = 0; i < 10 && !stranger.broken(); ++i) {
      std::vector<std::byte> bad = good;
      if (i % 2 == 0) {
        bad.resize(random() % good.size());
      } else {
        bad[random() % bad.size()] ^= static_cast<std::byte>(1u << (random() % 8));
      }
      stranger.send(kAmId, bad);
    }
  }
  expect_serves("after damage");
}

TEST_F(Hostile, ACrowdThatConnectsAndSaysNothingDoesNotKeepOthersOut) {
  std::vector<std::unique_ptr<Stranger>> crowd;
  for (int i = 0; i < 40; ++i) crowd.push_back(std::make_unique<Stranger>(address()));
  expect_serves("in spite of a crowd");
}

}  // namespace
}  // namespace sidecar::e2e
