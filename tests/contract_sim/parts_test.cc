// Parts of chunks where attempts, links and processes overlap, where they do not fit together, and in bad
// weather.
#include <gtest/gtest.h>

#include "tests/contract_sim/group_fixture.h"

namespace sidecar::sim {
namespace {

// --- attempts and links that overlap
// ---------------------------------------------------------------------------------------------------------------

// With the next answer; the receiver hears of it later.
void end_link_at_sender(SimWorld& world, SimProcess& receiver, SimProcess& sender) {
  world.network().spoil([&, ended = false](SimProcess& from, SimProcess& to, Message& message) mutable {
    if (ended || &from != &receiver || &to != &sender) return false;
    ended = true;
    message = Goodbye{false};
    return false;
  });
}

TEST_F(ContractGroupFailures, ASecondAttemptDoesNotLoseWhatTheEndOfTheFirstTakesBack) {
  const RequestId first = producers_[0]->send(spec_);
  ASSERT_TRUE(world_.run_until([&] { return producers_[0]->outcome(first).captured; }));
  world_.conditions().rendezvous_delay = 20 * kSecond;
  world_.run_for(5 * kMillisecond);  // its part moves, and takes its time
  world_.conditions().rendezvous_delay = 100 * kMicrosecond;
  producers_[0]->cancel(first);
  EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kCancelled));
  spec_.salt = producers_[0]->new_salt(spec_);
  const RequestId second = producers_[1]->send(spec_);
  world_.run_for(25 * kSecond);
  EXPECT_THAT(send(*producers_[0], spec_), IsOk());
  EXPECT_THAT(wait(*producers_[1], second), IsOk());
  EXPECT_THAT(wait(*consumer_, consumer_->recv("x", 0, kSecond)), IsOk());
}

TEST_F(ContractGroupFailures, ASecondSendInPartsDoesNotHurtTheFirst) {
  const RequestId first = producers_[0]->send(spec_);
  half_is_there();
  SimClient& other = client({.rank = 0});
  const RequestId second =
      other.send({.id = "x", .bytes = 400'000, .to = each({2}), .source = Source::kDevice});
  settle();
  EXPECT_THAT(send(*producers_[1], spec_), IsOk());
  EXPECT_THAT(wait(*producers_[0], first), IsOk());
  EXPECT_THAT(wait(other, second), IsError(Errc::kAlreadyExists));
  const RequestId there = consumer_->recv("x", 0, kSecond);
  ASSERT_THAT(wait(*consumer_, there), IsOk());
  EXPECT_EQ(consumer_->outcome(there).salt, spec_.salt);
}

TEST_F(ContractGroupFailures, WhatWasGivenUpIsTakenBackAfterMoreThanAWindowOfOtherTransfers) {
  world_.stop(sidecar(2));
  const RequestId first = producers_[0]->send(spec_);
  ASSERT_TRUE(world_.run_until([&] { return producers_[0]->outcome(first).captured; }));
  producers_[0]->cancel(first);
  constexpr ChunkIndex kMany = kTransferWindow + 100;
  std::vector<RequestId> many;
  for (ChunkIndex chunk = 0; chunk < kMany; ++chunk) {
    many.push_back(producers_[1]->send({.id = "many",
                                        .chunk = chunk,
                                        .num_chunks = kMany,
                                        .bytes = 8,
                                        .to = each({2}),
                                        .kind = ChunkKind::kObject}));
  }
  world_.run_for(50 * kMillisecond);
  world_.network().reset(sidecar(0), sidecar(2));
  world_.run_for(100 * kMillisecond);
  world_.go_on(sidecar(2));
  for (const RequestId request : many) ASSERT_THAT(wait(*producers_[1], request), IsOk());
  settle();
  EXPECT_EQ(sidecar(0).stats().outgoing, 0u);
  for (ChunkIndex chunk = 0; chunk < kMany; ++chunk) consumer_->mark_done("many", chunk);
  nothing_is_there();
}

// Room for one chunk, parts of which were refused, while more wait for room than may for the others to be
// asked for again.
class ContractCrowd : public Groups {
 protected:
  void SetUp() override {
    add(0, "a", 16 * kMiB);
    add(3, "d", 16 * kMiB);
    add({.rank = 2, .node = "b", .arena_bytes = 4 * kMiB, .adjust = [](EngineOptions& o) {
           o.parked_max = 3;
         }});
    producers_ = members({0, 1, 5, 6, 7, 8});
    other_ = &client(3);
    consumer_ = &client(2);
    EXPECT_THAT(send(*producers_[0], {.id = "connects", .bytes = 10, .to = each({2})}), IsOk());
    EXPECT_THAT(done(*consumer_, "connects"), IsOk());
  }
  void crowd() {
    for (const char* id : {"p", "q"}) {
      waiting_.push_back(other_->send({.id = id, .bytes = 1100 * kKiB, .to = each({2})}));
      settle();
    }
  }
  void the_crowd_gets_in() {
    EXPECT_THAT(done(*consumer_, "y"), IsOk());
    EXPECT_THAT(wait(*other_, waiting_[0]), IsOk());
    EXPECT_THAT(done(*consumer_, "p"), IsOk());
    EXPECT_THAT(wait(*other_, waiting_[1]), IsOk());
    EXPECT_THAT(done(*consumer_, "q"), IsOk());
  }
  SendSpec spec_{.id = "y", .bytes = 800 * kKiB, .to = each({2}), .together = true};
  std::vector<SimClient*> producers_;
  SimClient* other_ = nullptr;
  SimClient* consumer_ = nullptr;
  std::vector<RequestId> waiting_;
};

TEST_F(ContractCrowd, PartsRefusedWhileTheirChunkWaitedForRoomComeWhenItHasRoom) {
  EXPECT_THAT(send(*other_, {.id = "full", .bytes = 1700 * kKiB, .to = each({2})}), IsOk());
  spec_.salt = producers_[0]->new_salt(spec_);
  std::vector<RequestId> requests{producers_[0]->send(spec_)};
  settle();
  crowd();
  for (std::size_t m = 1; m < producers_.size(); ++m) requests.push_back(producers_[m]->send(spec_));
  settle();
  ASSERT_EQ(sidecar(2).stats().parked_chunks, 3u);
  ASSERT_GT(sidecar(2).stats().counters.refusals, 0u);
  EXPECT_THAT(done(*consumer_, "full"), IsOk());
  all_ok(producers_, requests);
  the_crowd_gets_in();
}

TEST_F(ContractCrowd, APartThatBrokeOffComesAgainThoughMoreWaitForRoom) {
  spec_.salt = producers_[0]->new_salt(spec_);
  std::vector<RequestId> requests{producers_[0]->send(spec_)};
  settle();
  crowd();
  ASSERT_EQ(sidecar(2).stats().parked_chunks, 2u);
  for (std::size_t m = 1; m < producers_.size(); ++m) requests.push_back(producers_[m]->send(spec_));
  ASSERT_TRUE(world_.run_until([&] { return producers_[5]->outcome(requests[5]).captured; }));
  world_.conditions().rendezvous_delay = 20 * kSecond;
  world_.run_for(2 * kMillisecond);
  world_.conditions().rendezvous_delay = 100 * kMicrosecond;
  world_.network().slow_bulk(sidecar(0), sidecar(2), 5 * kSecond);  // so that the receiver hears late of the
  const RequestId slow = producers_[0]->send({.id = "slow", .bytes = 2000, .to = each({2})});  // link's end
  ASSERT_TRUE(world_.run_until([&] { return producers_[0]->outcome(slow).captured; }));
  world_.network().slow_bulk(sidecar(0), sidecar(2), 0);
  end_link_at_sender(world_, sidecar(2), sidecar(0));
  all_ok(producers_, requests);
  the_crowd_gets_in();
  EXPECT_THAT(wait(*producers_[0], slow), IsOk());
}

TEST_F(ContractGroupFailures, APartThatComesOnAnOldLinkAfterItWasTakenBackLeavesNothing) {
  spec_.bytes = 100'000;  // eager parts
  world_.network().slow_bulk(sidecar(0), sidecar(2), 3 * kSecond);
  for (int round = 0; round < 4; ++round) {  // what a link had under way when it ended may come, or may not
    spec_.id = "x" + std::to_string(round);
    spec_.salt = 0;
    // Not over when the part is given up; and what lets the link stand until the part has come.
    const std::string before = "before" + std::to_string(round), after = "after" + std::to_string(round);
    const RequestId one = producers_[1]->send({.id = before, .bytes = 200'000, .to = each({2})});
    ASSERT_TRUE(world_.run_until([&] { return producers_[1]->outcome(one).captured; }));
    const RequestId first = producers_[0]->send(spec_);
    ASSERT_TRUE(world_.run_until([&] { return producers_[0]->outcome(first).captured; }));
    world_.run_for(10 * kMillisecond);
    const RequestId two = producers_[1]->send({.id = after, .bytes = 200'000, .to = each({2})});
    ASSERT_TRUE(world_.run_until([&] { return producers_[1]->outcome(two).captured; }));
    end_link_at_sender(world_, sidecar(2), sidecar(0));
    ASSERT_TRUE(world_.run_until([&] { return world_.network().links_up(sidecar(0), sidecar(2)) == 0; }));
    producers_[0]->cancel(first);
    EXPECT_THAT(wait(*producers_[0], first), IsError(Errc::kCancelled));
    EXPECT_THAT(wait(*producers_[1], one), IsOk());
    EXPECT_THAT(wait(*producers_[1], two), IsOk());
    EXPECT_THAT(done(*consumer_, before), IsOk());
    EXPECT_THAT(done(*consumer_, after), IsOk());
    nothing_is_there();
  }
}

// --- a peer that sends parts that do not fit together
// ---------------------------------------------------------------------------------------------------------------

class ContractParts : public ContractGroupFailures {
 protected:
  // Changes the second of the chunk's two parts on its way, and sends both.
  void expect_refused(const std::function<void(Chunk&)>& damage, Errc code) {
    int parts = 0;
    world_.network().spoil([&, damage](SimProcess&, SimProcess&, Message& message) {
      Chunk* const chunk = std::get_if<Chunk>(&message);
      if (chunk != nullptr && chunk->part_bytes > 0 && ++parts == 2) damage(*chunk);
      return false;
    });
    const auto requests = send_together(producers_, spec_);
    for (std::size_t i = 0; i < requests.size(); ++i)
      EXPECT_THAT(wait(*producers_[i], requests[i], kSecond), IsError(code));
    EXPECT_EQ(parts, 2);
    nothing_is_there();
    works_now();
  }
};

TEST_F(ContractParts, APartThatOverlapsAnotherIsRefused) {
  expect_refused([](Chunk& chunk) { chunk.part_begin = chunk.part_begin == 0 ? 64 : chunk.part_begin - 64; },
                 Errc::kAlreadyExists);
}

TEST_F(ContractParts, APartOfAnotherChunkThanTheFirstIsRefused) {
  expect_refused([](Chunk& chunk) { chunk.meta.bytes += 64; }, Errc::kInvalidArgument);
}

// --- weather
// ---------------------------------------------------------------------------------------------------------------

class GroupWeather : public Groups, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(GroupWeather, EveryChunkIsWholeOrItsFailureIsTold) {
  Random chance(GetParam());
  world_.conditions().spike = 0.05;
  world_.conditions().reorder = 0.3;
  add(0, "a", 2 * kMiB);
  add(4, "a", 2 * kMiB);
  add(2, "b", 2 * kMiB);
  add(3, "c", kMiB);
  auto producers = members({0, 1, 5});
  for (int round = 0; round < 40; ++round) {
    const std::string id = "x" + std::to_string(round);
    const std::uint64_t bytes = 1 + chance.below(400'000);
    SendSpec spec{.id = id, .bytes = bytes, .to = each({2, 3, 4}), .timeout = 20 * kSecond, .together = true};
    spec.salt = producers[0]->new_salt(spec);
    std::vector<RequestId> requests;
    const bool one_missing = chance.chance(0.1);
    for (std::size_t m = 0; m < producers.size(); ++m) {
      if (one_missing && m == 1) continue;
      requests.push_back(producers[m]->send(spec));
      if (chance.chance(0.3)) world_.run_for(chance.below(3 * kMillisecond));
      if (chance.chance(0.1)) producers[m]->cancel(requests.back());
    }
    const Rank shaken = chance.chance(0.5) ? 2 : 3;
    if (chance.chance(0.3)) {  // a link breaks and comes back
      world_.cut_off(sidecar(0), sidecar(shaken));
      world_.run_for(chance.below(12 * kSecond));
      world_.heal();
    }
    const bool killed = chance.chance(0.1);
    if (killed) {
      world_.kill(sidecar(shaken));
      add(shaken, shaken == 2 ? "b" : "c", shaken == 2 ? 2 * kMiB : kMiB);
    }
    std::size_t sent = 0, good = 0;
    for (std::size_t m = 0; m < producers.size(); ++m) {
      if (one_missing && m == 1) continue;
      good += wait(*producers[m], requests[sent++]).ok() ? 1 : 0;
    }
    for (const Rank rank : {2, 3, 4}) {
      SimClient& consumer = client(rank);
      if (good == producers.size() && !(killed && rank == shaken)) {
        EXPECT_THAT(recv(consumer, id), IsOk()) << rank;
      }
      EXPECT_THAT(done(consumer, id), IsOk());
      consumer.disconnect();
    }
  }
  leaves_data(100);  // marked done, and given up before they were whole
}

INSTANTIATE_TEST_SUITE_P(Seeds, GroupWeather, ::testing::Range<std::uint64_t>(1, 13));

}  // namespace
}  // namespace sidecar::sim
