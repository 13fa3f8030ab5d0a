#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "perf/report/report_charts.h"
#include "perf/report/report_groups.h"
#include "perf/report/report_text.h"
#include "perf/report/svg_axis.h"
#include "perf/report/svg_chart.h"

namespace sidecar::perf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks()) out.push_back(tick.label);
  return out;
}

TEST(Axis, BytesAreLabelledAtPowersOfTwo) {
  EXPECT_THAT(labels(Axis(Scale::kBytes, 8, 64)), ElementsAre("8 B", "16 B", "32 B", "64 B"));
  EXPECT_THAT(labels(Axis(Scale::kBytes, 64, 16 << 20)),
              ElementsAre("64 B", "256 B", "1 KiB", "4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB", "4 MiB",
                          "16 MiB"));
  EXPECT_THAT(labels(Axis(Scale::kBytes, 1, 1 << 30)),
              ElementsAre("1 B", "32 B", "1 KiB", "32 KiB", "1 MiB", "32 MiB", "1 GiB"));
}

TEST(Axis, OneSizeAloneStandsInTheMiddle) {
  const Axis axis(Scale::kBytes, 1024, 1024);
  EXPECT_THAT(labels(axis), ElementsAre("512 B", "1 KiB", "2 KiB"));
  EXPECT_DOUBLE_EQ(axis.place(1024), 0.5);
}

TEST(Axis, ALogarithmicOneKeepsRatios) {
  const Axis axis(Scale::kLog, 1.5, 900'000);
  EXPECT_THAT(labels(axis), ElementsAre("1", "10", "100", "1k", "10k", "100k", "1M"));
  EXPECT_NEAR(axis.place(100) - axis.place(10), axis.place(1000) - axis.place(100), 1e-9);
  EXPECT_THAT(labels(Axis(Scale::kLog, 2.1, 45)), ElementsAre("2", "5", "10", "20", "50"));
  EXPECT_THAT(labels(Axis(Scale::kLog, 5, 5)), Not(ElementsAre()));
}

TEST(Axis, ALinearOneHasRoundSteps) {
  EXPECT_THAT(labels(Axis(Scale::kLinearFrom0, 80, 93)), ElementsAre("0", "20", "40", "60", "80", "100"));
  EXPECT_THAT(labels(Axis(Scale::kLinear, 0.93, 1.02)),
              ElementsAre("0.92", "0.94", "0.96", "0.98", "1", "1.02"));
  EXPECT_THAT(labels(Axis(Scale::kLinear, 1, 1)), Not(ElementsAre()));
  EXPECT_THAT(labels(Axis(Scale::kLinearFrom0, 0, 0)), Not(ElementsAre()));
}

TEST(Axis, EachNineIsAsFarFromTheOneBefore) {
  const Axis axis(Scale::kNines, 0, 0.99995);
  EXPECT_THAT(labels(axis), ElementsAre("0", "90 %", "99 %", "99.9 %", "99.99 %"));
  EXPECT_NEAR(axis.place(0.999) - axis.place(0.99), axis.place(0.99) - axis.place(0.9), 1e-9);
  EXPECT_DOUBLE_EQ(axis.place(1), 1);
}

Chart chart_of_sizes() {
  Chart chart;
  chart.id = "c";
  chart.title = "T";
  chart.x_title = "size";
  chart.y_title = "us";
  return chart;
}

TEST(Svg, DrawsWhiskersReferencesAndBars) {
  Chart chart = chart_of_sizes();
  chart.series = {{"ours", {{64, 3, std::nullopt, 9.0}, {1024, 4, std::nullopt, 12.0}}, 0},
                  {"theirs", {{64, 2.5, std::nullopt, std::nullopt}}, 1, true}};
  chart.levels = {{5, 64, 64, "at most 5"}};
  const std::string text = svg(chart);
  EXPECT_THAT(text, HasSubstr("<title>ours, 64 B: 3.000 (to 9.000)</title>"));
  EXPECT_THAT(text, HasSubstr("class=\"c1 reference\""));
  EXPECT_THAT(text, HasSubstr("class=\"whisker\""));
  EXPECT_THAT(text, HasSubstr("at most 5"));
  EXPECT_THAT(text, HasSubstr("aria-labelledby=\"c-title c-desc\""));
}

TEST(Svg, LeavesOutWhatAScaleCannotShow) {
  Chart chart = chart_of_sizes();
  chart.series = {{"ours", {{0, 3, std::nullopt, std::nullopt}}}};
  EXPECT_EQ(svg(chart), "");
  chart.series[0].points.push_back({64, 3, std::nullopt, std::nullopt});
  const std::string text = svg(chart);
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  EXPECT_THAT(text, Not(HasSubstr("inf")));
}

Measurement measurement(std::uint64_t size, std::uint64_t outstanding, double mib_s) {
  Measurement m;
  m.test = "chunk_bw";
  m.path = "net";
  m.size = size;
  m.outstanding = outstanding;
  m.bandwidth_mib_s.overall = mib_s;
  m.reference = Reference{"raw", "GiB/s", 2.0, {}, {}, {}, {}, {}, false};
  return m;
}

TEST(Charts, OneLineForEachArgumentThatDiffers) {
  const std::vector<Measurement> all{measurement(4096, 16, 900), measurement(64, 16, 90),
                                     measurement(64, 4, 30)};
  const std::vector<Group> groups = group(all);
  ASSERT_EQ(groups.size(), 1u);
  const std::vector<Chart> charts = charts_of(groups[0], "g");
  ASSERT_EQ(charts.size(), 1u);  // no latency, no rate, no ratio
  std::vector<std::string> names;
  for (const ChartSeries& series : charts[0].series) names.push_back(series.name);
  EXPECT_THAT(names, ElementsAre("ours, 4 outstanding", "raw, 4 outstanding", "ours, 16 outstanding",
                                 "raw, 16 outstanding"));
  EXPECT_EQ(charts[0].series[2].points[0].x, 64);
  EXPECT_EQ(charts[0].series[1].points[0].y, 2048);  // in our unit
}

TEST(Charts, ScalingTestsHaveOneAgainstWhatGrows) {
  std::vector<Measurement> all;
  for (const double x : {1000.0, 1.0}) {
    Measurement m = measurement(64, 1, 1);
    m.test = "scale_ids";
    m.x = x;
    m.x_name = "ids held";
    m.latency.p50 = 5;
    m.latency.p99 = 50;
    all.push_back(m);
  }
  const std::vector<Group> groups = group(all);
  const std::vector<Chart> charts = charts_of(groups[0], "g");
  ASSERT_EQ(charts.size(), 1u);
  EXPECT_EQ(charts[0].x_title, "ids held");
  EXPECT_EQ(charts[0].series[0].points[0].x, 1);
  EXPECT_EQ(charts[0].series[0].points[0].high, 50);
}

TEST(Charts, ADistributionReachesOneHundredPercent) {
  Measurement m = measurement(64, 1, 1);
  m.histogram = {{1, 90}, {2, 9}, {50, 1}};
  const std::vector<Measurement> all{m};
  const std::vector<Group> groups = group(all);
  const std::vector<Chart> charts = distributions_of(groups[0], "g");
  ASSERT_EQ(charts.size(), 1u);
  const auto& points = charts[0].series[0].points;
  ASSERT_EQ(points.size(), 3u);
  EXPECT_DOUBLE_EQ(points[0].y, 0.9);
  EXPECT_DOUBLE_EQ(points[1].y, 0.99);
  EXPECT_GT(points[2].y, 0.99);
  EXPECT_THAT(svg(charts[0]), HasSubstr("99 %"));
}

TEST(ReportText, FiguresHaveWhatMeansSomething) {
  EXPECT_EQ(figure(0.9512), "0.951");
  EXPECT_EQ(figure(12.345), "12.35");
  EXPECT_EQ(figure(123.45), "123.5");
  EXPECT_EQ(figure(1234.5), "1,234");
  EXPECT_EQ(figure(1234567), "1,234,567");
  EXPECT_EQ(whole_number(999), "999");
  EXPECT_EQ(whole_number(20'000), "20,000");
  EXPECT_EQ(bytes_label(1536), "1.5 KiB");
  EXPECT_EQ(bytes_label(0), "0 B");
  EXPECT_EQ(short_label(2'500'000), "2.5M");
}

}  // namespace
}  // namespace sidecar::perf
