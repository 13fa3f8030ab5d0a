// Fairness where many send to one that is full all the time. Each test runs with several seeds of the
// network.
#include "tests/contract_sim/fairness_fixture.h"

namespace sidecar::sim {
namespace {

#ifdef __SANITIZE_ADDRESS__  // which makes each take ten times as long, and finds what it finds with one
constexpr int kSeeds = 1;
#else
constexpr int kSeeds = 4;
#endif

constexpr std::size_t kChunks = 2'000;
constexpr std::size_t kSenders = 8;

TEST_P(ManyToOne, WhoWaitsInLineIsServedInTurn) {
  start(kParkedMax, std::vector<SenderPlan>(kSenders));
  serve(kChunks);
  EXPECT_EQ(refusals(), 0u);
  EXPECT_GT(sidecar(0).stats().counters.parked, kChunks / 2);
  EXPECT_LT(idle(), kChunks / 20) << "and nobody waits in vain";
  expect_fair();
  drain();
}

TEST_P(ManyToOne, WhoIsRefusedAgainAndAgainIsServedLikeTheOthers) {
  start(kFew, std::vector<SenderPlan>(kSenders));
  serve(kChunks);
  EXPECT_GT(refusals(), kChunks / 10);
  EXPECT_LT(idle(), kChunks / 20);
  expect_fair();
  drain();
}

TEST_P(ManyToOne, AConsumerThatWaitsForEachGetsOfEach) {
  start(kFew, std::vector<SenderPlan>(kSenders));
  serve_awaited(kChunks);
  EXPECT_GT(refusals(), 0u);
  expect_fair();
  drain();
}

// One that always has as many under way as there are places in line, so that there is never room for half of
// them.
TEST_P(ManyToOne, WhoIsRefusedComesBackThoughAnotherKeepsTheLineFull) {
  pace_ = 10 * kMillisecond;
  start(kFew, {{.outstanding = kFew}, {.outstanding = 1, .after = 50}});
  serve(kChunks / 4);
  EXPECT_GT(refusals(), 0u);
  EXPECT_GE(counts(0, kChunks / 4)[1], kChunks / 4 / (2 * kFew)) << "of each seventh chunk at least half";
  drain();
}

// Two that never send more than their share keep two thirds of it full.
TEST_P(ManyToOne, WhoIsRefusedComesBackThoughTheLineIsNeverHalfEmpty) {
  pace_ = 10 * kMillisecond;
  start(kFew, {{.outstanding = kFew / 3}, {.outstanding = kFew / 3}, {.outstanding = kFew}});
  serve(kChunks / 4);
  EXPECT_GT(refusals(), 0u);
  EXPECT_GE(counts(kWindow, kChunks / 4)[2], (kChunks / 4 - kWindow) / 6);
  drain();
}

TEST_P(ManyToOne, WhereSendersAreMoreThanPlacesOneThatIsFarAwayHasItsPlaceToo) {
  std::vector<SenderPlan> plans(kSenders);
  plans.front().late = kMillisecond;
  pace_ = 400 * kMicrosecond;
  start(2, plans);
  serve(kChunks);
  EXPECT_GT(refusals(), kChunks / 10);
  expect_fair();
  drain();
}

TEST_P(ManyToOne, AChunkThatIsRefusedIsNotPassedByLaterOnesForEver) {
  pace_ = 10 * kMillisecond;
  start(kFew, {{.outstanding = kFew + 2}});
  serve(kChunks / 4);
  EXPECT_GT(refusals(), 0u);
  EXPECT_LE(most_overtaken(), 2 * kFew);
  drain();
}

std::vector<SenderPlan> different_sizes() {
  std::vector<SenderPlan> plans;
  for (const std::uint64_t parts : {1, 2, 3, 4, 6, 8, 12, 12})
    plans.push_back({.outstanding = parts, .bytes = 48 * kKiB / parts});
  return plans;
}

TEST_P(ManyToOne, LargeChunksGetAsManyBytesInAsSmallOnes) {
  start(kParkedMax, different_sizes());
  serve(kChunks);
  expect_fair(true);
  drain();
}

// A place in line is a chunk's, whatever its size.
TEST_P(ManyToOne, LargeChunksGetAsManyTurnsAsSmallOnesWhereMostAreRefused) {
  std::vector<SenderPlan> plans = different_sizes();
  for (SenderPlan& plan : plans) plan.outstanding = 8;
  start(kFew, plans);
  serve(kChunks);
  EXPECT_GT(refusals(), kChunks / 10);
  expect_fair();
  drain();
}

std::vector<SenderPlan> one_that_sends_more() {
  std::vector<SenderPlan> plans(kSenders, {.outstanding = 2});
  plans.back().outstanding = 64;
  return plans;
}

// First come, first served: each chunk waits as long as any other, so one sender is served 32 times as often.
TEST_P(ManyToOne, OneWith64SendsUnderWayKeepsNobodyFromHisTurn) {
  start(kParkedMax, one_that_sends_more());
  serve(3 * kChunks);
  expect_fair(false, kSenders - 1);
  drain();
}

// Here it has only its share of the line.
TEST_P(ManyToOne, OneWith64SendsUnderWayGetsItsShareWhereMostAreRefused) {
  start(kFew, one_that_sends_more());
  serve(3 * kChunks);
  expect_fair(false, kSenders - 1);
  const std::vector<std::uint64_t> all = counts(kWindow, 3 * kChunks);
  EXPECT_LT(all.back(), 4 * all.front());
  drain();
}

std::vector<SenderPlan> objects_and_chunks() {
  std::vector<SenderPlan> plans(kSenders);
  for (std::size_t i = 0; i < kSenders; i += 2) plans[i] = {.bytes = 600, .kind = ChunkKind::kObject};
  return plans;
}

TEST_P(ManyToOne, SmallObjectsAndLargeChunksTakeTurns) {
  start(kParkedMax, objects_and_chunks());
  serve(kChunks);
  expect_fair();
  drain();
}

TEST_P(ManyToOne, SmallObjectsAndLargeChunksTakeTurnsWhereMostAreRefused) {
  window_ = 2 * kWindow;  // what a large one held up is let in together
  start(kFew, objects_and_chunks());
  serve(kChunks);
  expect_fair();
  drain();
}

std::vector<SenderPlan> one_far_away() {
  std::vector<SenderPlan> plans(kSenders);
  plans.front().late = 500 * kMicrosecond;
  return plans;
}

TEST_P(ManyToOne, OneThatIsFarAwayIsServedLikeTheOthers) {
  start(kParkedMax, one_far_away());
  serve(kChunks);
  expect_fair();
  drain();
}

TEST_P(ManyToOne, OneThatIsFarAwayIsServedLikeTheOthersWhereMostAreRefused) {
  start(kFew, one_far_away());
  serve(kChunks);
  expect_fair();
  drain();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ManyToOne, ::testing::Range(0, kSeeds));

}  // namespace
}  // namespace sidecar::sim
