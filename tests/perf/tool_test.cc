// The parts of sidecar-perf that need no sidecar.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>
#include <thread>

#include "perf/process.h"
#include "perf/samples.h"
#include "perf/tool/contents.h"
#include "perf/tool/histogram.h"
#include "perf/tool/recorder.h"
#include "perf/tool/settings.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

using Sizes = std::vector<std::uint64_t>;

TEST(Histogram, APercentileIsAtMostOneSixtyFourthAboveTheExactOne) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> times(10, 3);
  Histogram histogram;
  Samples exact;
  for (int i = 0; i < 100'000; ++i) {
    const auto ns = static_cast<std::uint64_t>(times(random));
    histogram.add(ns);
    exact.add(static_cast<double>(ns));
  }
  for (const double percent : {0.1, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99}) {
    const double wanted = exact.percentile(percent);
    const auto got = static_cast<double>(histogram.percentile(percent));
    EXPECT_GE(got, wanted) << percent;
    EXPECT_LE(got, wanted * (1 + 1.0 / 64) + 1) << percent;
  }
  EXPECT_EQ(static_cast<double>(histogram.max()), exact.max());
  EXPECT_EQ(histogram.percentile(100), histogram.max());
}

TEST(Histogram, HoldsAnyTimeAndSaysNothingOfNone) {
  Histogram histogram;
  EXPECT_EQ(histogram.percentile(50), 0u);
  EXPECT_EQ(histogram.average(), 0);
  std::set<std::uint64_t> steps;
  for (int bit = 0; bit < 64; ++bit) histogram.add(std::uint64_t{1} << bit);
  histogram.add(0);
  histogram.add(~std::uint64_t{0});
  histogram.for_each([&](std::uint64_t highest, std::uint64_t count) {
    EXPECT_GT(count, 0u);
    EXPECT_TRUE(steps.insert(highest).second) << "two steps end at " << highest;
  });
  EXPECT_EQ(histogram.count(), 66u);
  EXPECT_EQ(histogram.max(), ~std::uint64_t{0});
  EXPECT_EQ(histogram.percentile(1), 0u);
}

TEST(Histogram, TwoTogetherAreAsIfAllHadGoneIntoOne) {
  Histogram one, other, both;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    (i % 3 == 0 ? one : other).add(i * i);
    both.add(i * i);
  }
  one.add(other);
  EXPECT_EQ(one.count(), both.count());
  EXPECT_EQ(one.percentile(50), both.percentile(50));
  EXPECT_EQ(one.average(), both.average());
}

TEST(PerfSettings, SizesAreListsAndRanges) {
  EXPECT_EQ(parse_sizes("0"), Sizes{0});
  EXPECT_EQ(parse_sizes("64"), Sizes{64});
  EXPECT_EQ(parse_sizes("1K,3m,2G"), (Sizes{1 << 10, 3 << 20, std::uint64_t{2} << 30}));
  EXPECT_EQ(parse_sizes("4K:32K"), (Sizes{4096, 8192, 16384, 32768}));
  EXPECT_EQ(parse_sizes("3:13"), (Sizes{3, 6, 12}));
  EXPECT_EQ(parse_sizes("8:8,64"), (Sizes{8, 64}));
}

TEST(PerfSettings, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", ",", "K", "4X", "4KB", "-4", "1.5K", "0:8", "8:4", "1:2:4",
                           "99999999999999999999", "9999999999G", "4 K"})
    EXPECT_THROW(parse_sizes(text), std::runtime_error) << text;
}

TEST(PerfSettings, AThousandOfWhatIsCountedIsNot1024) {
  EXPECT_EQ(parse_list("1,3K,2M,1G", "-x", kOfCounts), (Sizes{1, 3'000, 2'000'000, 1'000'000'000}));
  EXPECT_EQ(parse_list("1K:4K", "-x", kOfCounts), (Sizes{1'000, 2'000, 4'000}));
}

TEST(PerfSettings, AScalingTestTakesItsXUpwardsAndAllOthersTakeNone) {
  EXPECT_EQ(values_of_x(find_test("scale_ids"), {"1K,10", "1K"}), (Sizes{10, 1'000}));
  EXPECT_EQ(values_of_x(find_test("scale_arena"), {"64M"}), Sizes{64 << 20});
  EXPECT_EQ(values_of_x(find_test("object_lat"), {}), Sizes{0});
  EXPECT_THROW(values_of_x(find_test("object_lat"), {"1"}), std::runtime_error);
  EXPECT_THROW(values_of_x(find_test("scale_ids"), {"10X"}), std::runtime_error);
  EXPECT_THROW(values_of_x(find_test("scale_peers"), {"0"}), std::runtime_error);
  EXPECT_THROW(values_of_x(find_test("scale_peers"), {"1,65"}), std::runtime_error);
  EXPECT_THROW(values_of_x(find_test("scale_arena"), {"1K"}), std::runtime_error);
}

TEST(PerfTests, WhatTheReportTakesForAScalingTestIsOneAndItsOwnXIsAllowed) {
  for (const TestKind& test : all_tests()) {
    EXPECT_EQ(std::string(test.name).starts_with("scale_"), test.scale != nullptr) << test.name;
    EXPECT_NO_THROW(values_of_x(test, {})) << test.name;
  }
  EXPECT_EQ(values_of_x(find_test("scale_ids"), {}), (Sizes{1, 100, 10'000, 100'000, 1'000'000}));
  EXPECT_EQ(values_of_x(find_test("scale_peers"), {}), (Sizes{1, 2, 4, 8, 16}));
}

TEST(PerfSettings, SizesAreShownAsTheyAreGiven) {
  for (const char* text : {"0", "64", "1000", "4K", "1M", "2G"}) {
    EXPECT_EQ(size_text(parse_sizes(text).at(0)), text);
  }
  EXPECT_EQ(size_text(1536), "1536");
}

TEST(PerfSettings, ASidecarIsARankAndAnAddress) {
  const Beside plain = parse_beside("3@host:10003");
  EXPECT_EQ(plain.rank, 3);
  EXPECT_EQ(plain.address, "host:10003");
  EXPECT_EQ(plain.node, "");
  const Beside full = parse_beside("0@[::1]:1/node-7");
  EXPECT_EQ(full.address, "[::1]:1");
  EXPECT_EQ(full.node, "node-7");
  for (const char* text : {"", "host:1", "@host:1", "x@host:1", "-1@host:1", "0@"})
    EXPECT_THROW(parse_beside(text), std::runtime_error) << text;
}

TEST(PerfSettings, CpusAreListsAndRanges) {
  EXPECT_EQ(parse_cpus("0"), std::vector<int>{0});
  EXPECT_EQ(parse_cpus("0,2-4"), (std::vector<int>{0, 2, 3, 4}));
  for (const char* text : {"", "a", "1-", "3-1", "1-2-3", "-1"})
    EXPECT_THROW(parse_cpus(text), std::runtime_error) << text;
}

TEST(PerfSettings, WhatIsSetByHandIsSaidInOneLine) {
  TestSettings test;
  EXPECT_EQ(hand_set(test), "");
  test.small_pages = true;
  EXPECT_EQ(hand_set(test), "small pages");
  test.environment = {"UCX_MAX_RNDV_RAILS=2", "SIDECAR_EAGER_MAX=8K"};
  EXPECT_EQ(hand_set(test), "UCX_MAX_RNDV_RAILS=2, SIDECAR_EAGER_MAX=8K, small pages");
}

TEST(Recorder, WhatOthersDoMeanwhileIsLookedAtBeforeTheClockStartsAndWhenAllIsRecorded) {
  std::uint64_t begun = 0;
  Recorder recorder({},
                    {[&] { begun = monotonic_ns(); },
                     [](Recorder& over) { over.more["seen"] = static_cast<double>(over.times().count()); }});
  recorder.begin();
  EXPECT_GT(begun, 0u);
  Histogram times;
  times.add(5);
  const std::uint64_t now = monotonic_ns();
  for (int i = 0; i < 2; ++i) recorder.take_over(times, now, now + 1000);
  EXPECT_EQ(recorder.more.at("seen"), 2);
}

TEST(Process, ItsCpuTimeIsOfAllItsThreadsAndItsSleepIsNot) {
  Process busy({.argv = {"/bin/sh", "-c", "while :; do :; done"}});
  Process idle({.argv = {"/bin/sleep", "60"}});
  for (const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
       busy.cpu_ns() < 100'000'000 && std::chrono::steady_clock::now() < until;)
    std::this_thread::sleep_for(milliseconds(10));
  EXPECT_GE(busy.cpu_ns(), 100'000'000u);
  EXPECT_LT(idle.cpu_ns(), 50'000'000u);
}

TEST(PerfJob, ChunksOfARunHaveNamesOfTheirOwnAndEachIdKnowsItsLength) {
  constexpr std::uint64_t kCount = 2 * kChunksPerId + 3;
  std::map<std::string, std::pair<ChunkIndex, ChunkIndex>> ids;  // seen, told
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const ChunkName name = chunk_name("run", "-there", i, kCount);
    auto& [seen, told] = ids[name.id];
    EXPECT_EQ(name.chunk, seen++);
    told = name.num_chunks;
  }
  EXPECT_EQ(ids.size(), 3u);
  for (const auto& [id, chunks] : ids) EXPECT_EQ(chunks.first, chunks.second) << id;
}

TEST(PerfContents, AnyByteThatIsNotAsItWasFilledInIsFound) {
  for (const std::size_t size : {0u, 1u, 7u, 8u, 9u, 4096u}) {
    std::vector<std::byte> bytes(size);
    fill(bytes, pattern_of("run", 5));
    EXPECT_NO_THROW(check(bytes, size, pattern_of("run", 5)));
    EXPECT_THROW(check(bytes, size + 1, pattern_of("run", 5)), std::runtime_error);
    if (size >= 8) {
      EXPECT_THROW(check(bytes, size, pattern_of("run", 6)), std::runtime_error);
    }
    for (const std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
      if (at >= size) continue;
      bytes[at] ^= std::byte{1};
      EXPECT_THROW(check(bytes, size, pattern_of("run", 5)), std::runtime_error);
      bytes[at] ^= std::byte{1};
    }
  }
}

}  // namespace
}  // namespace sidecar::perf
