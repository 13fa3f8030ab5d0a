// A stranger at the data port: it speaks UCX and nothing else that it should. The sidecar throws it out and
// goes on.
#include <random>

#include "tests/e2e/with_papers.h"

namespace sidecar::e2e {
namespace {

using Hostile = WithPapers;

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
    stranger.send(kAmId, encoded(hello(role, "let me in, please")));
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
  ASSERT_EQ(introduced(client, hello(Role::kClient, client_ticket())), Errc::kOk);
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
  ASSERT_EQ(introduced(peer, hello(Role::kPeer, peer_ticket())), Errc::kOk);
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
  const std::vector<std::byte> good = encoded(hello(Role::kPeer, "0123456789abcdef"));
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
