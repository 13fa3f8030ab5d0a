// Clients and peers that have their papers in order and then misbehave: what a good library never sends.
#include <signal.h>

#include "tests/e2e/with_papers.h"

namespace sidecar::e2e {
namespace {

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
    Stranger stranger(address());
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
    Stranger thief(address());
    Hello stolen = hello(Role::kPeer, ticket);
    stolen.instance = kInstance + 1;
    EXPECT_EQ(introduced(thief, stolen), Errc::kUnauthorized) << "bound to another instance";
  }
  const std::string own = peer_ticket();
  Stranger owner(address());
  EXPECT_EQ(introduced(owner, hello(Role::kPeer, own)), Errc::kOk);
  Stranger again(address());
  Hello second = hello(Role::kPeer, own);
  second.link = 78;
  EXPECT_EQ(introduced(again, second), Errc::kUnauthorized) << "used";
  Stranger lost(address());
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
    Stranger stranger(address());
    ASSERT_EQ(introduced(stranger, hello(Role::kPeer, peer_ticket())), Errc::kOk) << name;
    const std::uint64_t before = counter("protocol_errors");
    for (int i = 0; i < 10 && !stranger.broken(); ++i) stranger.send(kAmId, header);
    EXPECT_TRUE(eventually([&] {
      stranger.progress(milliseconds(1));
      return stranger.broken() || refused(stranger) || counter("protocol_errors") > before;
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
    Stranger stranger(address());
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
