// Clients and peers that have their papers in order and then misbehave: what a good library never sends.
#include <signal.h>

#include "tests/e2e/contents.h"
#include "tests/e2e/stranger.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

constexpr std::uint64_t kInstance = 4711;

class WithPapers : public ::testing::Test {
 protected:
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
  [[nodiscard]] std::uint64_t offences() const { return cluster_.counter(0, "protocol_errors"); }
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

  Cluster cluster_{{.nodes = {"a", "b"}, .arena = "32M"}};
};
using Rule04Zombies = WithPapers;
using Rule15Tickets = WithPapers;
using HostilePeer = WithPapers;
using HostileClient = WithPapers;

// A client whose connection breaks while its process lives: it may still look at what it was lent.
TEST_F(Rule04Zombies, ViewsAndAllocationsAreKeptUntilTheProcessIsGone) {
  Client producer = cluster_.client(1);
  const auto bytes = contents("x", 0, 5 << 20);
  ASSERT_TRUE(producer.send({bytes.data(), Dtype::kU8, {bytes.size()}}, "x", {{0}}));
  perf::Process zombie({.argv = {"/bin/sleep", "1000"}});
  {
    Stranger stranger(cluster_.ready_word(0, "data"));
    Hello introduction = hello(Role::kClient, client_ticket());
    introduction.pid = zombie.pid();
    ASSERT_EQ(introduced(stranger, introduction), Errc::kOk);
    Recv recv;
    recv.request = 1;
    recv.id.assign("x");
    stranger.send(kAmId, encoded(recv));
    EXPECT_EQ(await<Reply>(stranger).where, Where::kArena);
    Allocate allocate;
    allocate.request = 2;
    allocate.bytes = 1 << 20;
    const std::size_t before = stranger.answers().size();
    stranger.send(kAmId, encoded(allocate));
    EXPECT_EQ(await<Reply>(stranger, before).code, Errc::kOk);
  }  // its connection breaks
  ASSERT_TRUE(eventually([&] { return cluster_.counter(0, "clients") == 0; }));
  Client other = cluster_.client(0);
  EXPECT_TRUE(other.mark_done("x"));
  EXPECT_EQ(other.recv("x", 0, milliseconds(0)).code(), Errc::kAlreadyDone);
  std::this_thread::sleep_for(milliseconds(700));
  EXPECT_EQ(cluster_.counter(0, "quarantined"), 2u);
  EXPECT_GE(cluster_.status(0).memory[1].used_bytes, bytes.size());
  EXPECT_GE(cluster_.status(0).memory[0].used_bytes, 1u << 20);
  zombie.kill();
  EXPECT_TRUE(cluster_.becomes_empty(0));
  EXPECT_EQ(cluster_.counter(0, "quarantined"), 0u);
}

TEST_F(Rule15Tickets, ATicketServesOnceAndOnlyItsOwner) {
  const std::string ticket = peer_ticket();
  {
    Stranger thief(cluster_.ready_word(0, "data"));
    Hello stolen = hello(Role::kPeer, ticket);
    stolen.instance = kInstance + 1;
    EXPECT_EQ(introduced(thief, stolen), Errc::kUnauthorized) << "bound to another instance";
  }
  const std::string own = peer_ticket();
  Stranger owner(cluster_.ready_word(0, "data"));
  EXPECT_EQ(introduced(owner, hello(Role::kPeer, own)), Errc::kOk);
  Stranger again(cluster_.ready_word(0, "data"));
  Hello second = hello(Role::kPeer, own);
  second.link = 78;
  EXPECT_EQ(introduced(again, second), Errc::kUnauthorized) << "used";
  Stranger lost(cluster_.ready_word(0, "data"));
  Hello other = hello(Role::kPeer, peer_ticket());
  other.to_instance += 1;
  EXPECT_NE(introduced(lost, other), Errc::kOk) << "meant for another process";
}

TEST_F(HostilePeer, LiesAboutMemoryLengthsAndShapesAreRefusedAndTakeNothing) {
  std::vector<std::pair<std::string, std::vector<std::byte>>> lies;
  const auto lie = [&](const std::string& name, const Message& message) {
    lies.emplace_back(name, encoded(message));
  };
  ChunkRef ref;
  ref.transfer.sequence = 1;
  ref.transfer.settled = 1;
  ref.meta = meta_of("lie", 1 << 20);
  ref.arena = cluster_.status(0).instance;
  ref.offset = ~std::uint64_t{0} - 100;
  lie("an offset whose end overflows", ref);
  ref.offset = std::uint64_t{1} << 40;
  lie("an offset outside the arena", ref);
  ref.arena = kInstance;
  ref.offset = 0;
  lie("an arena that was never shown", ref);
  Chunk chunk;
  chunk.transfer = ref.transfer;
  chunk.meta = meta_of("lie", 5000);
  lie("a payload that is not there", chunk);
  chunk.meta.kind = ChunkKind::kTensor;
  chunk.meta.dtype = Dtype::kF64;
  chunk.meta.shape.dims = 2;
  chunk.meta.shape.extent[0] = chunk.meta.shape.extent[1] = std::uint64_t{1} << 40;
  lie("a shape whose product overflows", chunk);
  chunk.meta = meta_of("lie", 10);
  chunk.meta.chunk = 7;
  lie("a chunk past the end", chunk);
  chunk.meta = meta_of("lie", 10);
  chunk.is_inline = true;
  chunk.inline_bytes = 9;
  lie("inline bytes of another length", chunk);
  chunk.inline_bytes = 10;
  chunk.transfer.sequence = std::uint64_t{1} << 50;
  lie("a sequence outside the window", chunk);
  Unlink unlink;
  unlink.transfer = ref.transfer;
  unlink.chunk_ref = 12345;
  lie("an Unlink of what was never lent", unlink);
  lie("an Ack where none belongs", Ack{});
  lie("a client's message", Recv{1, DataId("lie"), 0, 0, false});
  for (const auto& [name, header] : lies) {
    Stranger stranger(cluster_.ready_word(0, "data"));
    ASSERT_EQ(introduced(stranger, hello(Role::kPeer, peer_ticket())), Errc::kOk) << name;
    const std::uint64_t before = offences();
    for (int i = 0; i < 10 && !stranger.broken(); ++i) stranger.send(kAmId, header);
    EXPECT_TRUE(eventually([&] {
      stranger.progress(milliseconds(1));
      return stranger.broken() || refused(stranger) || offences() > before;
    })) << name
        << " was believed";
    EXPECT_EQ(cluster_.counter(0, "chunks"), 0u) << name;
    EXPECT_EQ(cluster_.status(0).memory[1].used_bytes, 0u) << name;
  }
  Client reader = cluster_.client(0);
  EXPECT_EQ(reader.recv("lie", 0, milliseconds(0)).code(), Errc::kTimeout);
  expect_serves("after lies");
}

TEST_F(HostileClient, RequestsAboutMemoryThatIsNotItsOwnChangeNothing) {
  Client honest = cluster_.client(0);
  Client consumer = cluster_.client(1);
  auto buffer = honest.allocate({1 << 20}, Dtype::kU8);
  ASSERT_TRUE(buffer);
  fill({buffer->data(), buffer->size_bytes()}, "x", 0);
  {
    Stranger stranger(cluster_.ready_word(0, "data"));
    ASSERT_EQ(introduced(stranger, hello(Role::kClient, client_ticket())), Errc::kOk);
    Release all;
    all.views = all.slots = kReleasesMax;
    for (std::size_t i = 0; i < kReleasesMax; ++i) {
      all.view[i] = i;
      all.count[i] = 1000;
      all.slot[i] = 64 * 1024 * i;  // the honest client's is among them
    }
    stranger.send(kAmId, encoded(all));
    Send send;
    send.request = 1;
    send.meta = meta_of("stolen", 1 << 20);
    send.destinations.add_group(std::array<Rank, 1>{1});
    send.source = Source::kSlot;
    send.slot = 0;
    stranger.send(kAmId, encoded(send));
    EXPECT_EQ(await<Reply>(stranger).code, Errc::kInvalidArgument);
    for (RequestId target = 0; target < 100; ++target) stranger.send(kAmId, encoded(Cancel{target}));
  }
  ASSERT_TRUE(honest.send(std::move(*buffer), "x", {{1}}));
  EXPECT_TRUE(matches(consumer.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(consumer.mark_done("x"));
  EXPECT_EQ(consumer.recv("stolen", 0, milliseconds(0)).code(), Errc::kTimeout);
}

}  // namespace
}  // namespace sidecar::e2e
