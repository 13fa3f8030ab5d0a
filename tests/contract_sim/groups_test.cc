// Groups: members that register with their leader, send their shards of one chunk, and receive the same
// memory.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

class ContractGroups : public Groups {
 protected:
  void SetUp() override {
    add(0, "a", 4 * kMiB);
    add(1, "a", 4 * kMiB);
    add(2, "b", 4 * kMiB);
    add(3, "b", 4 * kMiB);
  }
};
using RegressionR10 = ContractGroups;
using RegressionR11 = ContractGroups;
using RegressionC7 = ContractGroups;

// --- receiving
// ---------------------------------------------------------------------------------------------------------------

TEST_F(ContractGroups, EveryMemberOfAGroupReceivesTheSameMemory) {
  NEEDS_MAPPED_ARENAS();
  SimClient& producer = client(0);
  const auto consumers = members({5, 2, 9});
  EXPECT_THAT(send(producer, {.id = "x", .bytes = 10'000, .to = {{9, 5, 2}}}), IsOk());
  std::vector<Outcome> got;
  for (SimClient* consumer : consumers) got.push_back(recv(*consumer, "x"));
  for (const Outcome& outcome : got) {
    EXPECT_THAT(outcome, IsOk());
    EXPECT_EQ(outcome.reply.offset, got[0].reply.offset);
    EXPECT_EQ(outcome.reply.arena.instance, sidecar(2).instance());
  }
  EXPECT_THAT(done(*consumers[1], "x"), IsOk());
  for (SimClient* consumer : consumers) EXPECT_THAT(recv(*consumer, "x"), IsError(Errc::kAlreadyDone));
}

TEST_F(ContractGroups, AMemberMayComeLateLeaveAndComeBack) {
  SimClient& producer = client(0);
  SimClient& second = client({.rank = 2, .group = {2, 3}, .member = 3});
  EXPECT_THAT(send(producer, {.id = "x", .to = {{2, 3}}}), IsOk());
  EXPECT_THAT(recv(second, "x"), IsOk());
  second.disconnect();
  settle();
  SimClient& first = client({.rank = 2, .group = {2, 3}});
  SimClient& again = client({.rank = 2, .group = {2, 3}, .member = 3});
  EXPECT_THAT(recv(first, "x"), IsOk());
  EXPECT_THAT(recv(again, "x"), IsOk());
}

TEST_F(RegressionC7, TheLeaderIsTheSmallestRankInWhateverOrderTheyAreWritten) {
  const auto producers = members({1, 0});
  const auto consumers = members({3, 2});
  all_ok(producers, send_together(producers, {.id = "x", .bytes = 10'000, .to = {{3, 2}}}));
  for (SimClient* consumer : consumers) EXPECT_THAT(recv(*consumer, "x"), IsOk());
  EXPECT_EQ(sidecar(3).stats().counters.chunks_received, 0u);
}

// --- one copies for all
// ---------------------------------------------------------------------------------------------------------------

TEST_F(ContractGroups, WithoutConcurrentCopyTheFirstCopiesAndTheOthersAreAcknowledged) {
  const auto producers = members({0, 1, 6});
  SendSpec spec{.id = "x", .bytes = 10'000, .to = each({2})};
  SendSpec other = spec;
  other.source = Source::kNothing;
  EXPECT_THAT(send(*producers[1], other), IsOk());
  EXPECT_THAT(send(*producers[0], spec), IsOk());
  EXPECT_THAT(send(*producers[2], other), IsOk());
  EXPECT_EQ(sidecar(0).stats().counters.bytes_captured, 10'000u);
  EXPECT_EQ(sidecar(2).stats().counters.chunks_received, 1u);
  EXPECT_THAT(recv(client(2), "x"), IsOk());
}

TEST_F(ContractGroups, TheFirstMemberCannotLeaveTheCopyingToOthers) {
  const auto producers = members({0, 1});
  SendSpec spec{.id = "x", .bytes = 10'000, .to = each({2}), .source = Source::kNothing};
  EXPECT_THAT(send(*producers[0], spec), IsError(Errc::kInvalidArgument));
  spec.to = each({1});
  EXPECT_THAT(send(*producers[1], spec), IsError(Errc::kInvalidArgument)) << "its own group";
}

// --- all copy
// ---------------------------------------------------------------------------------------------------------------

TEST_F(ContractGroups, ShardsOfAllMembersMakeTheChunk) {
  add(20, "a", 4 * kMiB);
  const std::vector<std::vector<Rank>> groups{{0, 1}, {0, 4, 5}, {0, 7, 3, 5}, {8, 0, 9, 11, 10, 12, 13, 14}};
  for (const auto& group : groups) {
    const auto producers = members(group);
    for (const std::uint64_t bytes : {1, 63, 64, 65, 130, 4'099, 100'003, 300'000}) {
      const std::string id = std::to_string(group.size()) + "/" + std::to_string(bytes);
      all_ok(producers, send_together(producers, {.id = id, .bytes = bytes, .to = each({2, 20})}));
      for (const Rank rank : {2, 20}) {
        EXPECT_THAT(recv(client(rank), id), IsOk());
        EXPECT_THAT(done(client(rank), id), IsOk());
      }
    }
    settle();
    EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  }
}

TEST_F(ContractGroups, ToAnotherNodeAShardLeavesAsSoonAsItIsIn) {
  const auto producers = members({0, 1});
  SimClient& consumer = client(2);
  EXPECT_THAT(send(*producers[0], {.id = "connects", .to = each({2})}), IsOk());
  SendSpec spec{.id = "x", .bytes = 400'000, .to = each({2}), .together = true};
  spec.salt = producers[0]->new_salt(spec);
  const RequestId second = producers[1]->send(spec);
  const RequestId waiting = consumer.recv("x");
  settle();
  EXPECT_TRUE(producers[1]->outcome(second).captured);
  EXPECT_EQ(sidecar(2).stats().counters.bytes_received, 256 + 400'000 - shard_of(400'000, 0, 2).bytes);
  EXPECT_FALSE(consumer.over(waiting)) << "half of it";
  const RequestId first = producers[0]->send(spec);
  EXPECT_THAT(wait(*producers[0], first), IsOk());
  EXPECT_THAT(wait(*producers[1], second), IsOk());
  EXPECT_THAT(wait(consumer, waiting), IsOk()) << "in place, whichever came first";
}

TEST_F(ContractGroups, ToTheSameNodeItIsToldOnceAllShardsAreIn) {
  NEEDS_MAPPED_ARENAS();
  add(4, "a", 4 * kMiB);
  const auto producers = members({0, 1});
  SimClient& consumer = client(4);
  SendSpec spec{.id = "x", .bytes = 400'000, .to = each({4}), .together = true};
  spec.salt = producers[0]->new_salt(spec);
  const RequestId waiting = consumer.recv("x");
  const RequestId first = producers[0]->send(spec);
  settle();
  EXPECT_TRUE(producers[0]->outcome(first).captured);
  EXPECT_FALSE(consumer.over(waiting));
  const RequestId second = producers[1]->send(spec);
  EXPECT_THAT(wait(*producers[0], first), IsOk());
  EXPECT_THAT(wait(*producers[1], second), IsOk());
  EXPECT_THAT(wait(consumer, waiting), IsOk());
  EXPECT_EQ(sidecar(4).stats().counters.bytes_received, 0u) << "nothing was copied";
}

TEST_F(ContractGroups, OneSlotServesABroadcastToGroupsOfAllKinds) {
  NEEDS_MAPPED_ARENAS();
  add(4, "a", 4 * kMiB);
  const auto producers = members({0, 1});
  const auto near = members({4, 6, 7});
  const auto far = members({2, 3});
  const auto requests =
      send_together(producers, {.id = "x", .bytes = 500'000, .to = {{7, 4, 6}, {3, 2}, {11}}});
  add(11, "c", 4 * kMiB);
  all_ok(producers, requests);
  EXPECT_EQ(sidecar(0).stats().send.runs, 1u) << "lent to the same node";
  for (SimClient* consumer : near) EXPECT_THAT(recv(*consumer, "x"), IsOk());
  for (SimClient* consumer : far) EXPECT_THAT(recv(*consumer, "x"), IsOk());
  EXPECT_THAT(recv(client(11), "x"), IsOk());
}

TEST_F(ContractGroups, ChunksOfManyDataAreGatheredAtOnceInAnyOrder) {
  const auto producers = members({0, 1, 6});
  std::vector<std::pair<SimClient*, RequestId>> calls;
  std::vector<std::pair<std::size_t, SendSpec>> plan;
  for (ChunkIndex chunk = 0; chunk < 12; ++chunk) {
    for (const char* id : {"x", "y"}) {
      SendSpec spec{.id = id, .chunk = chunk, .num_chunks = 12, .bytes = 30'000 + chunk, .to = each({2})};
      spec.together = true;
      spec.salt = producers[0]->new_salt(spec);
      for (std::size_t member = 0; member < producers.size(); ++member) plan.emplace_back(member, spec);
    }
  }
  for (std::size_t i = plan.size(); i > 1; --i) std::swap(plan[i - 1], plan[world_.random().below(i)]);
  for (auto& [member, spec] : plan) calls.emplace_back(producers[member], producers[member]->send(spec));
  for (const auto& [member, request] : calls) EXPECT_THAT(wait(*member, request), IsOk());
  SimClient& consumer = client(2);
  for (ChunkIndex chunk = 0; chunk < 12; ++chunk) {
    for (const char* id : {"x", "y"}) EXPECT_THAT(recv(consumer, id, chunk), IsOk());
  }
}

TEST_F(ContractGroups, TwoGroupsWithOneLeaderAreNotMixedUp) {
  const auto pair = members({0, 1});
  const auto others = members({0, 5});
  SendSpec spec{.id = "x", .bytes = 10'000, .to = each({2}), .together = true};
  spec.salt = pair[0]->new_salt(spec);
  const RequestId of_pair = pair[0]->send(spec);
  SendSpec theirs = spec;
  theirs.to = each({3});
  const RequestId of_others = others[1]->send(theirs);
  expect_waits(*pair[0], of_pair, kSecond);
  EXPECT_FALSE(others[1]->over(of_others));
  const RequestId first = others[0]->send(theirs), second = pair[1]->send(spec);
  EXPECT_THAT(wait(*pair[0], of_pair), IsOk());
  EXPECT_THAT(wait(*others[1], of_others), IsOk());
  EXPECT_THAT(wait(*others[0], first), IsOk());
  EXPECT_THAT(wait(*pair[1], second), IsOk());
}

TEST_F(ContractGroups, MembersThatDisagreeAreToldAndTheOthersGoOn) {
  const auto producers = members({0, 1});
  SendSpec spec{.id = "x", .bytes = 10'000, .to = each({2}), .together = true};
  spec.salt = producers[0]->new_salt(spec);
  const RequestId first = producers[0]->send(spec);
  settle();
  EXPECT_THAT(send(*producers[0], spec), IsError(Errc::kAlreadyExists)) << "the same member again";
  SendSpec longer = spec, counted = spec, elsewhere = spec, shaped = spec;
  longer.bytes = 10'001;
  counted.num_chunks = 2;
  elsewhere.to = each({2, 3});
  shaped.shape = {100, 100};
  for (const SendSpec& wrong : {longer, counted, elsewhere, shaped})
    EXPECT_THAT(send(*producers[1], wrong), IsError(Errc::kInvalidArgument));
  EXPECT_FALSE(producers[0]->over(first));
  EXPECT_THAT(send(*producers[1], spec), IsOk());
  EXPECT_THAT(wait(*producers[0], first), IsOk());
}

TEST_F(ContractGroups, AShardThatIsNotTheClientsOwnIsRefused) {
  SimClient& alone = client(0);
  Message holder;
  Send& message = renew<Send>(holder);
  message.request = 100;
  message.meta.id.assign("x");
  message.meta.num_chunks = 1;
  message.meta.shape.dims = 1;
  message.meta.shape.extent[0] = message.meta.bytes = 64;
  message.destinations = destinations({{2}});
  message.source = Source::kPayload;
  message.shard = 1;
  message.shards = 2;
  alone.raw(holder, 100);
  EXPECT_THAT(wait(alone, 100), IsError(Errc::kInvalidArgument));
}

TEST_F(RegressionR10, FewerBytesThanShardsLeaveNobodyWaiting) {
  const auto producers = members({0, 1, 4, 5, 6, 7, 8, 9});
  SimClient& consumer = client(2);
  for (const std::uint64_t bytes : {1, 5, 65, 200}) {
    const std::string id = "x" + std::to_string(bytes);
    const RequestId waiting = consumer.recv(id);
    all_ok(producers, send_together(producers, {.id = id, .bytes = bytes, .to = each({2})}));
    EXPECT_THAT(wait(consumer, waiting), IsOk());
    EXPECT_THAT(done(consumer, id), IsOk());
  }
  settle();
  EXPECT_EQ(sidecar(0).stats().send.runs, 0u);
  EXPECT_EQ(sidecar(2).stats().receive.runs, 0u);
}

TEST_F(RegressionR10, AnEmptyShardThatComesLastEndsTheSendThatWentInParts) {
  add({.rank = 30, .node = "g", .adjust = [](EngineOptions& options) { options.eager_max = 64; }});
  std::vector<SimClient*> producers;
  for (const Rank rank : {30, 31, 32})
    producers.push_back(&client({.rank = 30, .group = {30, 31, 32}, .member = rank}));
  EXPECT_THAT(send(*producers[0], {.id = "connects", .to = each({2})}), IsOk());
  SendSpec spec{.id = "x", .bytes = 128, .to = each({2}), .together = true};
  spec.salt = producers[0]->new_salt(spec);
  const RequestId first = producers[0]->send(spec), second = producers[1]->send(spec);
  settle();
  EXPECT_THAT(recv(client(2), "x"), IsOk()) << "all of it has come";
  EXPECT_FALSE(producers[0]->over(first));
  EXPECT_THAT(send(*producers[2], spec), IsOk());
  EXPECT_THAT(wait(*producers[0], first), IsOk());
  EXPECT_THAT(wait(*producers[1], second), IsOk());
}

TEST_F(RegressionR11, ManySendsTogetherOnOneNodeLeaveNothing) {
  add(4, "a", 4 * kMiB);
  const auto producers = members({0, 1});
  SimClient& consumer = client(4);
  for (int i = 0; i < 500; ++i) {
    const std::string id = "x" + std::to_string(i);
    all_ok(producers, send_together(producers, {.id = id, .bytes = 5'000, .to = each({4})}));
    EXPECT_THAT(done(consumer, id), IsOk());
  }
  settle();
  for (const Rank rank : {0, 4}) {
    EXPECT_EQ(sidecar(rank).stats().outgoing, 0u);
    EXPECT_EQ(sidecar(rank).stats().data, 0u);
    EXPECT_EQ(sidecar(rank).stats().lent, 0u);
    EXPECT_EQ(sidecar(rank).stats().send.runs, 0u);
  }
}

}  // namespace
}  // namespace sidecar::sim
