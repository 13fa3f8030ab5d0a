#include "perf/report/svg_chart.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

constexpr double kLeft = 72, kRight = 14, kBottom = 46, kLegendRow = 20;
constexpr double kInset = 12;    // between the axis and the first point, the last one and the end
constexpr double kLetter = 6.9;  // width, on average and rounded up: SVG cannot measure text
constexpr double kSwatch = 34, kGap = 18;

bool is_log(Scale scale) { return scale == Scale::kBytes || scale == Scale::kLog; }

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

class Drawing {
 public:
  Drawing(const Chart& chart, Extent x, Extent y)
      : chart_(chart),
        x_(chart.x_scale, x.low, x.high),
        y_(chart.y_scale, y.low, y.high),
        width_(chart.small ? 330 : 640),
        height_(chart.small ? 210 : 360) {
    lay_out_legend();
  }

  std::string draw() {
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" "
        "aria-labelledby=\"{}-title "
        "{}-desc\">\n",
        width_, height_, chart_.id, chart_.id);
    out_ += fmt::format("<title id=\"{}-title\">{}</title>\n<desc id=\"{}-desc\">{}</desc>\n", chart_.id,
                        xml_text(chart_.title), chart_.id, xml_text(chart_.description));
    grid();
    legend();
    for (const ChartLevel& level : chart_.levels) draw_level(level);
    for (const ChartSeries& series : chart_.series) draw_series(series);
    return std::move(out_ += "</svg>\n");
  }

 private:
  [[nodiscard]] double right() const { return width_ - kRight; }
  [[nodiscard]] double bottom() const { return height_ - kBottom; }
  [[nodiscard]] double at_x(double value) const {
    return kLeft + kInset + x_.place(value) * (right() - kLeft - 2 * kInset);
  }
  [[nodiscard]] double at_y(double value) const { return bottom() - y_.place(value) * (bottom() - top_); }

  // Rows of swatches with names above the plot, as many to a row as there is room for. A small chart has one
  // line, and its caption says which.
  void lay_out_legend() {
    if (chart_.small) {
      top_ = 12;
      return;
    }
    double x = kLeft, row = 0;
    for (const ChartSeries& series : chart_.series) {
      const double needs = kSwatch + kLetter * static_cast<double>(series.name.size());
      if (x > kLeft && x + needs > right()) {
        x = kLeft;
        ++row;
      }
      legend_.emplace_back(x, 18 + row * kLegendRow);
      x += needs + kGap;
    }
    top_ = 18 + (row + 1) * kLegendRow;
    height_ += row * kLegendRow;
  }

  void legend() {
    for (std::size_t i = 0; i < legend_.size(); ++i) {
      const ChartSeries& series = chart_.series[i];
      const auto [x, y] = legend_[i];
      out_ +=
          fmt::format("<g class=\"{}\"><path class=\"line\" d=\"M{:.1f} {:.1f}h26\"/>", style(series), x, y);
      if (!series.steps) out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>", x + 13, y);
      out_ += fmt::format("</g><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + kSwatch, y + 4,
                          xml_text(series.name));
    }
  }

  void grid() {
    for (const Tick& tick : y_.ticks()) {
      const double y = at_y(tick.at);
      out_ += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", kLeft, y, right());
      out_ += fmt::format("<text class=\"tick\" text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                          kLeft - 8, y + 4, tick.label);
    }
    for (const Tick& tick : x_.ticks()) {
      const double x = at_x(tick.at);
      out_ += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>", x, top_, bottom());
      out_ += fmt::format("<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                          x, bottom() + 17, tick.label);
    }
    out_ += fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>\n", kLeft, top_, bottom(),
                        right());
    out_ += fmt::format("<text text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                        (kLeft + right()) / 2, height_ - 8, xml_text(chart_.x_title));
    out_ +=
        fmt::format("<text text-anchor=\"middle\" transform=\"translate(14 {:.1f}) rotate(-90)\">{}</text>\n",
                    (top_ + bottom()) / 2, xml_text(chart_.y_title));
  }

  void draw_level(const ChartLevel& level) {
    double from = at_x(level.x_from), to = at_x(level.x_to);
    const double y = at_y(level.y);
    if (chart_.levels.size() == 1) {
      from = kLeft;
      to = right();
    } else if (to - from < 24) {
      from -= 12;
      to += 12;
    }
    out_ += fmt::format("<path class=\"level\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", from, y, to);
    out_ += fmt::format("<text class=\"level\" text-anchor=\"end\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
                        to - 4, y - 5, xml_text(level.label));
  }

  void draw_series(const ChartSeries& series) {
    out_ += fmt::format("<g class=\"{}\">\n<path class=\"line\" d=\"", style(series));
    double last_x = 0, last_y = 0;
    for (const ChartPoint& point : series.points) {
      const double x = at_x(point.x), y = at_y(point.y);
      const bool first = &point == series.points.data();
      // Of thousands of steps most cannot be told apart.
      if (series.steps && !first && &point != &series.points.back() && x - last_x < 0.5 && last_y - y < 0.5)
        continue;
      if (first) {
        out_ += fmt::format("M{:.1f} {:.1f}", x, y);
      } else if (series.steps) {
        out_ += fmt::format("H{:.1f}V{:.1f}", x, y);
      } else {
        out_ += fmt::format("L{:.1f} {:.1f}", x, y);
      }
      last_x = x;
      last_y = y;
    }
    out_ += "\"/>\n";
    if (!series.steps) {
      for (const ChartPoint& point : series.points) draw_point(series, point);
    }
    out_ += "</g>\n";
  }

  void draw_point(const ChartSeries& series, const ChartPoint& point) {
    const double x = at_x(point.x), y = at_y(point.y);
    std::string tells = fmt::format(
        "{}, {}: {}", series.name,
        chart_.x_scale == Scale::kBytes ? bytes_label(point.x) : short_label(point.x), figure(point.y));
    if (point.low || point.high) {
      const double low = point.low.value_or(point.y), high = point.high.value_or(point.y);
      tells += fmt::format(" (to {})", figure(high));
      if (point.low)
        tells = fmt::format("{} ({} to {})", tells.substr(0, tells.rfind(" (")), figure(low), figure(high));
      out_ += fmt::format("<path class=\"whisker\" d=\"M{:.1f} {:.1f}V{:.1f}", x, at_y(low), at_y(high));
      if (point.low) out_ += fmt::format("M{:.1f} {:.1f}h8", x - 4, at_y(low));
      out_ += fmt::format("M{:.1f} {:.1f}h8\"/>", x - 4, at_y(high));
    }
    out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"><title>{}</title></circle>\n", x, y,
                        xml_text(tells));
  }

  static std::string style(const ChartSeries& series) {
    return fmt::format("c{}{}", series.color % kChartColors, series.reference ? " reference" : "");
  }

  const Chart& chart_;
  Axis x_, y_;
  double width_, height_, top_ = 0;
  std::vector<std::pair<double, double>> legend_;
  std::string out_;
};

}  // namespace

std::string svg(Chart chart) {
  Extent x, y;
  for (ChartSeries& series : chart.series) {
    std::erase_if(series.points, [&](const ChartPoint& point) {
      return !std::isfinite(point.x) || !std::isfinite(point.y) || (is_log(chart.x_scale) && point.x <= 0) ||
             (is_log(chart.y_scale) && point.y <= 0);
    });
    for (const ChartPoint& point : series.points) {
      x.add(point.x);
      for (const double value : {point.y, point.low.value_or(point.y), point.high.value_or(point.y)}) {
        if (value > 0 || !is_log(chart.y_scale)) y.add(value);
      }
    }
  }
  std::erase_if(chart.series, [](const ChartSeries& series) { return series.points.empty(); });
  if (chart.series.empty()) return {};
  for (const ChartLevel& level : chart.levels) y.add(level.y);
  return Drawing(chart, x, y).draw();
}

}  // namespace sidecar::perf
