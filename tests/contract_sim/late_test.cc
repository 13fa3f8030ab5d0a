// A rank goes to another process while the one before is alive, and what that one said is still under way.
// None of it may count for its heir: no chunk, no reference, no reply, no unlink, and no Hello.
#include "tests/sim/cluster.h"

namespace sidecar::sim {
namespace {

class Late : public Cluster {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add(1, "b", 4 * kMiB);
    add(2, "a", 4 * kMiB);
    old_ = &sidecar(0);
  }
  void TearDown() override {
    world_.kill(*old_);
    Cluster::TearDown();
  }
  void hold_what_it_says_to(Rank rank) { world_.cut_off(*old_, sidecar(rank)); }
  // Rank 0 has an heir, and the membership says so.
  void replace() {
    settle();
    add(0, "a", 4 * kMiB);
    for (const Rank rank : {1, 2}) {
      sidecar(rank).engine().member_replaced(0, old_->instance(), sidecar(0).instance());
      sidecar(rank).touch();
    }
  }
  void let_it_come() {
    world_.heal();
    world_.run_for(2 * kSecond);
  }
  SimSidecar* old_ = nullptr;
};

TEST_F(Late, ChunksOfTheOldInstanceAreNoChunksOfTheNewOne) {
  SimClient& producer = client(0);
  SimClient& consumer = client(1);
  EXPECT_THAT(send(producer, {.id = "before", .to = each({1})}), IsOk());
  hold_what_it_says_to(1);
  const std::vector<std::uint64_t> sizes{100, 30'000, 200'000};  // inline, eager, rendezvous
  std::vector<RequestId> waiting;
  for (const std::uint64_t bytes : sizes) {
    const std::string id = std::to_string(bytes);
    producer.send({.id = id, .bytes = bytes, .to = each({1}), .eager = bytes <= kEagerBytesMax});
    waiting.push_back(consumer.recv(id));
  }
  replace();
  let_it_come();
  for (const RequestId request : waiting) EXPECT_FALSE(consumer.over(request));
  EXPECT_EQ(sidecar(1).stats().counters.chunks_received, 1u);
  SimClient& heir = client(0);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    SendSpec spec{.id = std::to_string(sizes[i]), .bytes = sizes[i], .to = each({1})};
    spec.salt = heir.new_salt(spec);
    EXPECT_THAT(send(heir, spec), IsOk()) << "not AlreadyExists";
    const Outcome& got = wait(consumer, waiting[i]);
    EXPECT_THAT(got, IsOk());
    EXPECT_EQ(got.salt, spec.salt) << "the heir's bytes";
  }
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 1u) << "the old one";
}

TEST_F(Late, ReferencesOfTheOldInstanceAreNoReferencesToTheNewOnesMemory) {
  NEEDS_MAPPED_ARENAS();
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "before", .bytes = 50'000, .to = each({2})}), IsOk());
  SimClient& consumer = client(2);
  EXPECT_THAT(done(consumer, "before"), IsOk());
  settle();
  hold_what_it_says_to(2);
  producer.send({.id = "x", .bytes = 50'000, .to = each({2})});
  const RequestId waiting = consumer.recv("x");
  replace();
  let_it_come();
  EXPECT_EQ(sidecar(2).stats().foreign, 0u);
  EXPECT_FALSE(consumer.over(waiting));
  SimClient& heir = client(0);
  SendSpec spec{.id = "x", .bytes = 50'000, .to = each({2})};
  spec.salt = heir.new_salt(spec);
  EXPECT_THAT(send(heir, spec), IsOk());
  EXPECT_EQ(wait(consumer, waiting).salt, spec.salt);
  EXPECT_EQ(sidecar(0).stats().lent, 1u);
}

TEST_F(Late, RepliesOfTheOldInstanceSettleNothingThatIsMeantForTheNewOne) {
  SimClient& producer = client(1);
  EXPECT_THAT(send(producer, {.id = "before", .to = each({0})}), IsOk());
  hold_what_it_says_to(1);
  const RequestId answered_late = producer.send({.id = "x", .bytes = 30'000, .to = each({0}), .eager = true});
  replace();
  EXPECT_THAT(wait(producer, answered_late, kSecond), IsError(Errc::kPeerLost)) << "it may have had it";
  EXPECT_THAT(send(producer, {.id = "warm", .to = each({0})}), IsOk());
  world_.stop(sidecar(0));
  const RequestId again = producer.send({.id = "x", .bytes = 30'000, .to = each({0}), .eager = true});
  let_it_come();
  EXPECT_FALSE(producer.over(again)) << "the heir has said nothing";
  world_.go_on(sidecar(0));
  EXPECT_THAT(wait(producer, again), IsOk());
  EXPECT_THAT(recv(client(0), "x"), IsOk());
}

TEST_F(Late, UnlinksOfTheOldInstanceTakeNothingFromTheNewOne) {
  NEEDS_MAPPED_ARENAS();
  SimClient& producer = client(2);
  SimClient& reader = client(0);
  EXPECT_THAT(send(producer, {.id = "x", .bytes = 50'000, .to = each({0})}), IsOk());
  EXPECT_THAT(recv(reader, "x"), IsOk());
  reader.release_all_views();
  hold_what_it_says_to(2);
  EXPECT_THAT(done(reader, "x"), IsOk());
  replace();
  EXPECT_THAT(send(producer, {.id = "y", .bytes = 50'000, .to = each({0})}), IsOk());
  SimClient& heir = client(0);
  EXPECT_THAT(recv(heir, "y"), IsOk());
  const EngineStats before = sidecar(2).stats();
  EXPECT_EQ(before.quarantined, 1u) << "what the old one was lent: it is alive, and may look at it";
  let_it_come();
  EXPECT_EQ(sidecar(2).stats().lent, before.lent);
  EXPECT_EQ(sidecar(2).stats().quarantined, 1u);
  allocate(producer, 50'000);  // not memory that somebody looks at
  heir.check_views();
}

// Should a transport still bring what comes on a link that was closed.
TEST_F(Late, WhateverComesOnALinkOfTheOldInstanceIsNotHeard) {
  EXPECT_THAT(send(client(0), {.id = "there", .bytes = 50'000, .to = each({1, 2})}), IsOk());
  for (const Rank rank : {1, 2})
    EXPECT_THAT(send(client(rank), {.id = "back" + std::to_string(rank), .bytes = 50'000, .to = each({0})}),
                IsOk());
  std::array<std::vector<LinkId>, 3> links;
  for (const Rank rank : {1, 2})
    links[static_cast<std::size_t>(rank)] = sidecar(rank).transport().links_with(*old_);
  replace();
  for (const Rank rank : {1, 2}) {
    EXPECT_THAT(send(client(rank), {.id = "heir" + std::to_string(rank), .bytes = 50'000, .to = each({0})}),
                IsOk());
    const EngineStats before = sidecar(rank).stats();
    ASSERT_EQ(links[static_cast<std::size_t>(rank)].size(), 2u);
    for (const LinkId link : links[static_cast<std::size_t>(rank)]) {
      Chunk chunk;
      chunk.transfer = {1'000, 1'000};
      chunk.meta.id.assign("late");
      chunk.meta.num_chunks = 1;
      chunk.is_inline = true;
      chunk.inline_data.fill({});
      for (const Message& message :
           {Message(chunk), Message(ChunkRef{{1'001, 1'000}, chunk.meta, old_->instance(), 0}),
            Message(Ack{1, Errc::kOk, {}, 0}), Message(Ack{2, Errc::kOk, {}, 0}),
            Message(Unlink{{1'002, 1'000}, 1}), Message(Unlink{{1'003, 1'000}, 2}), Message(Goodbye{true})}) {
        sidecar(rank).engine().on_message(link, message, {});
      }
    }
    sidecar(rank).touch();
    settle();
    const EngineStats after = sidecar(rank).stats();
    EXPECT_EQ(after.counters.chunks_received, before.counters.chunks_received);
    EXPECT_EQ(after.counters.peers_lost, before.counters.peers_lost);
    EXPECT_EQ(after.counters.protocol_errors, 0u);
    EXPECT_EQ(after.chunks, before.chunks);
    EXPECT_EQ(after.lent, before.lent);
    EXPECT_EQ(after.peers_connected, before.peers_connected);
  }
}

TEST_F(Late, TheOldInstanceKnocksInVain) {
  SimClient& producer = client(0);
  EXPECT_THAT(send(producer, {.id = "before", .to = each({1})}), IsOk());
  replace();
  SimClient& heir = client(0);
  EXPECT_THAT(send(heir, {.id = "begun", .num_chunks = 2, .to = each({1})}), IsOk());
  const RequestId old_one = producer.send({.id = "x", .to = each({1})});
  EXPECT_THAT(wait(producer, old_one), IsError(Errc::kPeerLost)) << "for it, all others are";
  EXPECT_EQ(sidecar(1).stats().counters.peers_lost, 1u) << "the heir never is";
  EXPECT_THAT(send(heir, {.id = "begun", .chunk = 1, .num_chunks = 2, .to = each({1})}), IsOk());
}

TEST_F(Late, AnAnswerOfTheOldInstanceAboutItsAddressIsNotFollowed) {
  SimClient& producer = client(1);
  EXPECT_THAT(send(producer, {.id = "before", .to = each({0})}), IsOk());
  replace();
  world_.stop(sidecar(0));  // so that rank 1 goes on asking
  const RequestId request = producer.send({.id = "x", .to = each({0})});
  world_.run_for(100 * kMillisecond);
  PeerRecord record;
  record.rank = 0;
  record.instance = old_->instance();
  record.node.assign("a");
  record.net_address = net_address(0);
  record.ticket = world_.issue_ticket(sidecar(1).instance(), old_->instance(), true);
  sidecar(1).engine().on_resolved(0, record);
  sidecar(1).touch();
  world_.run_for(100 * kMillisecond);
  EXPECT_FALSE(producer.over(request));
  const auto peers = sidecar(1).engine().peers();
  ASSERT_EQ(peers.size(), 1u);
  EXPECT_EQ(peers[0].instance, sidecar(0).instance());
  world_.go_on(sidecar(0));
  EXPECT_THAT(wait(producer, request), IsOk());
}

}  // namespace
}  // namespace sidecar::sim
