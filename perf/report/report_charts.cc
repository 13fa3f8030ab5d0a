#include "perf/report/report_charts.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

// A linear axis shows no small value beside one that is so many times larger.
constexpr double kLinearMax = 20;

struct Unit {
  Metric metric;
  std::string_view name;
  double factor;
};
constexpr std::array kUnits{
    Unit{Metric::kBandwidth, "MiB/s", 1},
    Unit{Metric::kBandwidth, "GiB/s", 1024},
    Unit{Metric::kBandwidth, "MB/s", 1e6 / (1 << 20)},
    Unit{Metric::kBandwidth, "GB/s", 1e9 / (1 << 20)},
    Unit{Metric::kLatency, "us", 1},
    Unit{Metric::kLatency, "ns", 1e-3},
    Unit{Metric::kLatency, "ms", 1e3},
    Unit{Metric::kRate, "/s", 1},
    Unit{Metric::kRate, "1/s", 1},
    Unit{Metric::kRate, "msg/s", 1},
};

struct MetricText {
  const char* name;
  const char* y_title;
  const char* id;
  const char* whisker;
};
MetricText text_of(Metric metric) {
  switch (metric) {
    case Metric::kBandwidth: return {"Bandwidth", "MiB/s", "bandwidth", ""};
    case Metric::kLatency:
      return {"Latency", "microseconds", "latency", " Points are medians, whiskers end at p99."};
    case Metric::kRate: return {"Rate", "per second", "rate", ""};
  }
  return {};
}

std::optional<double> ours_as(Metric metric, const Measurement& m) {
  std::optional<double> own;
  switch (metric) {
    case Metric::kBandwidth: own = m.bandwidth_mib_s.best_known(); break;
    case Metric::kLatency: own = m.latency.middle(); break;
    case Metric::kRate: own = m.rate_s.best_known(); break;
  }
  if (own || !m.reference) return own;
  return reference_as(metric, *m.reference, m.reference->ours);
}

std::string named(const std::string& what, const std::string& variant) {
  return variant.empty() ? what : what + ", " + variant;
}

// "ours: 12.1 at 64 B, 3,027 at 1 MiB. ..." for who does not see the lines.
std::string describe(const Chart& chart) {
  std::string out = chart.y_title + " against " + chart.x_title + ".";
  const auto x = [&](double value) {
    return chart.x_scale == Scale::kBytes ? bytes_label(value) : short_label(value);
  };
  for (const ChartSeries& series : chart.series) {
    const ChartPoint &first = series.points.front(), &last = series.points.back();
    out += " " + series.name + ": " + figure(first.y) + " at " + x(first.x);
    if (series.points.size() > 1) out += ", " + figure(last.y) + " at " + x(last.x);
    out += ".";
  }
  for (const ChartLevel& level : chart.levels) out += " Bar: " + level.label + ".";
  return out;
}

Chart empty_chart(const Group& group, const std::string& id, const std::string& name) {
  Chart chart;
  chart.id = id;
  chart.caption = name + " against " + group.x_title;
  chart.title = chart.caption + ": " + group.title;
  chart.x_title = group.x_title;
  if (group.scaling) {
    const auto all = group.all();
    const bool from_0 = std::ranges::any_of(all, [](const Measurement* m) { return m->x.value_or(0) <= 0; });
    chart.x_scale = from_0 ? Scale::kLinear : Scale::kLog;
  }
  return chart;
}

void add(Chart& chart, ChartSeries series) {
  if (!series.points.empty()) chart.series.push_back(std::move(series));
}

Scale y_scale(const Chart& chart) {
  double low = 0, high = 0;
  for (const ChartSeries& series : chart.series) {
    for (const ChartPoint& point : series.points) {
      if (point.y > 0) low = low == 0 ? point.y : std::min(low, point.y);
      high = std::max({high, point.y, point.high.value_or(0)});
    }
  }
  return low > 0 && high / low > kLinearMax ? Scale::kLog : Scale::kLinearFrom0;
}

Chart metric_chart(const Group& group, Metric metric, const std::string& id) {
  const MetricText text = text_of(metric);
  Chart chart = empty_chart(group, id + "-" + text.id, text.name);
  chart.y_title = text.y_title;
  int color = 0;
  for (const Variant& variant : group.variants) {
    ChartSeries ours{named("ours", variant.name), {}, color % kChartColors};
    // Beside one line of ours the reference has a colour of its own, beside several its partner's.
    ChartSeries reference{"", {}, (group.variants.size() == 1 ? 1 : color) % kChartColors, true};
    for (const Measurement* m : variant.points) {
      const auto x = group.x_of(*m);
      if (!x) continue;
      if (const auto y = ours_as(metric, *m)) {
        ours.points.push_back(
            {*x, *y, std::nullopt, metric == Metric::kLatency ? m->latency.p99 : std::nullopt});
      }
      if (!m->reference) continue;
      if (const auto y = reference_as(metric, *m->reference, m->reference->value)) {
        reference.points.push_back({*x, *y, std::nullopt, std::nullopt});
        if (reference.name.empty()) reference.name = named(m->reference->name, variant.name);
      }
    }
    add(chart, std::move(ours));
    add(chart, std::move(reference));
    ++color;
  }
  chart.y_scale = y_scale(chart);
  chart.description = describe(chart) + text.whisker;
  return chart;
}

Chart ratio_chart(const Group& group, const std::string& id) {
  Chart chart = empty_chart(group, id + "-ratio", "Ratio");
  chart.y_title = "ours / reference";
  chart.y_scale = Scale::kLinear;
  int color = 0;
  for (const Variant& variant : group.variants) {
    ChartSeries ours{named("ratio", variant.name), {}, color++ % kChartColors};
    for (const Measurement* m : variant.points) {
      const auto x = group.x_of(*m);
      if (!x || !m->ratio) continue;
      ours.points.push_back({*x, *m->ratio, m->reference ? m->reference->ratio_p25 : std::nullopt,
                             m->reference ? m->reference->ratio_p75 : std::nullopt});
      if (!m->bar) continue;
      const auto same = std::ranges::find(chart.levels, m->bar->value, &ChartLevel::y);
      if (same == chart.levels.end()) {
        chart.levels.push_back({m->bar->value, *x, *x, m->bar->is + " " + short_label(m->bar->value)});
      } else {
        same->x_from = std::min(same->x_from, *x);
        same->x_to = std::max(same->x_to, *x);
      }
    }
    add(chart, std::move(ours));
  }
  chart.description = describe(chart) + " Points are medians over pairs, whiskers their quartiles.";
  return chart;
}

}  // namespace

std::optional<double> reference_as(Metric metric, const Reference& reference, std::optional<double> value) {
  const auto unit = std::ranges::find_if(
      kUnits, [&](const Unit& u) { return u.metric == metric && u.name == reference.unit; });
  if (!value || unit == kUnits.end()) return std::nullopt;
  return *value * unit->factor;
}

std::vector<Chart> charts_of(const Group& group, const std::string& id) {
  std::vector<Chart> charts;
  for (const Metric metric : {Metric::kBandwidth, Metric::kLatency, Metric::kRate}) {
    if (!group.scaling || metric == Metric::kLatency) charts.push_back(metric_chart(group, metric, id));
  }
  // What a test is about comes first.
  if (group.test.ends_with("_lat")) std::swap(charts[0], charts[1]);
  if (!group.scaling) charts.push_back(ratio_chart(group, id));
  std::erase_if(charts, [](const Chart& chart) { return chart.series.empty(); });
  return charts;
}

std::vector<Chart> distributions_of(const Group& group, const std::string& id) {
  std::vector<Chart> charts;
  for (const Variant& variant : group.variants) {
    for (const Measurement* m : variant.points) {
      std::uint64_t total = 0, below = 0;
      for (const auto& [upper, count] : m->histogram) total += count;
      if (total == 0) continue;
      Chart chart;
      chart.id = id + "-distribution-" + std::to_string(charts.size());
      const std::string what = joined({point_text(group, *m), variant.setup});
      chart.caption = what.empty() ? "Latency" : what;
      chart.title = "Distribution: " + joined({group.title, what});
      chart.x_title = "microseconds";
      chart.y_title = "took no longer";
      chart.x_scale = Scale::kLog;
      chart.y_scale = Scale::kNines;
      chart.small = true;
      ChartSeries series{"ours", {}, 0, false, true};
      for (const auto& [upper, count] : m->histogram) {
        below += count;
        // The last one's 100 % has infinitely many nines: shown where one more measurement would be.
        const double part = static_cast<double>(below) / static_cast<double>(total);
        series.points.push_back({upper, std::min(part, 1 - 0.5 / static_cast<double>(total)), {}, {}});
      }
      chart.description = "Cumulative distribution of " + std::to_string(total) + " latencies, up to " +
                          figure(series.points.back().x) + " us.";
      chart.series.push_back(std::move(series));
      charts.push_back(std::move(chart));
    }
  }
  return charts;
}

}  // namespace sidecar::perf
