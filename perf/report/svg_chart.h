// A chart as an <svg> element that needs nothing from outside but the page's style sheet, for its colours.
// Well-formed XML; its title, description and the values of its points are there for screen readers too.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "perf/report/svg_axis.h"

namespace sidecar::perf {

struct ChartPoint {
  double x = 0, y = 0;
  // A whisker's ends.
  std::optional<double> low, high;
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;  // by x
  int color = 0;                   // below kChartColors
  bool reference = false;          // dashed, with hollow points
  bool steps = false;              // stays at a point's y until the next one's x; no points are drawn
};
inline constexpr int kChartColors = 5;

// A value that was promised, for the sizes between.
struct ChartLevel {
  double y = 0, x_from = 0, x_to = 0;
  std::string label;
};

struct Chart {
  std::string id;                  // unique on the page
  std::string caption;             // for beside the picture
  std::string title, description;  // in it, for who does not see it
  std::string x_title, y_title;
  Scale x_scale = Scale::kBytes, y_scale = Scale::kLinearFrom0;
  std::vector<ChartSeries> series;
  std::vector<ChartLevel> levels;
  bool small = false;
};

// Points that a scale cannot show are left out: those at 0 on a logarithmic one. Empty: nothing is left.
std::string svg(Chart chart);

}  // namespace sidecar::perf
