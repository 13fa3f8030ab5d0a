#include "perf/report/svg_axis.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

constexpr double kStepsMax = 10;

}  // namespace

Axis::Axis(Scale scale, double low, double high) : scale_(scale) {
  switch (scale) {
    case Scale::kLinear: linear(low, high); break;
    case Scale::kLinearFrom0: linear(0, high); break;
    case Scale::kBytes: powers_of_two(low, high); break;
    case Scale::kLog: powers_of_ten(low, high); break;
    case Scale::kNines: nines(high); break;
  }
}

double Axis::position(double value) const {
  switch (scale_) {
    case Scale::kLinear:
    case Scale::kLinearFrom0: break;
    case Scale::kBytes: return std::log2(value);
    case Scale::kLog: return std::log10(value);
    case Scale::kNines: return -std::log10(1 - value);
  }
  return value;
}

double Axis::place(double value) const {
  const double at = (position(value) - begin_) / (end_ - begin_);
  return std::isnan(at) ? 0 : std::clamp(at, 0.0, 1.0);
}

void Axis::linear(double low, double high) {
  if (!(high > low)) high = low + std::max(1.0, std::abs(low));
  // The smallest of 1, 2 and 5 times a power of ten that needs no more than six steps.
  double step = std::pow(10, std::floor(std::log10((high - low) / 6)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    if ((high - low) / (step * factor) > 6) continue;
    step *= factor;
    break;
  }
  begin_ = std::floor(low / step + 1e-9) * step;
  end_ = std::ceil(high / step - 1e-9) * step;
  const auto steps = static_cast<int>(std::lround((end_ - begin_) / step));
  for (int i = 0; i <= steps; ++i) ticks_.push_back({begin_ + i * step, short_label(begin_ + i * step)});
}

void Axis::powers_of_two(double low, double high) {
  begin_ = std::floor(std::log2(low) + 1e-9);
  end_ = std::ceil(std::log2(high) - 1e-9);
  if (end_ - begin_ < 2) {  // one size alone stands in the middle
    begin_ -= 1;
    end_ += 1;
  }
  // Steps that meet at 1 KiB and 1 MiB.
  double step = 10;
  for (const double wanted : {5.0, 2.0, 1.0}) step = (end_ - begin_) / wanted <= kStepsMax ? wanted : step;
  for (double power = std::ceil(begin_ / step) * step; power <= end_; power += step) {
    ticks_.push_back({std::exp2(power), bytes_label(std::exp2(power))});
  }
}

void Axis::powers_of_ten(double low, double high) {
  // To the next of 1, 2 and 5 times a power of ten outside.
  const std::array steps{0.0, std::log10(2), std::log10(5)};
  const auto round = [&](double value, bool up) {
    const double whole = std::floor(value + 1e-9);
    double best = up ? whole + 1 : whole;
    for (const double step : steps) {
      if (up && whole + step >= value - 1e-9) best = std::min(best, whole + step);
      if (!up && whole + step <= value + 1e-9) best = std::max(best, whole + step);
    }
    return best;
  };
  begin_ = round(std::log10(low), false);
  end_ = round(std::log10(high), true);
  if (end_ - begin_ < 0.1) {
    begin_ = round(begin_ - 0.2, false);
    end_ = round(end_ + 0.2, true);
  }
  const bool few = end_ - begin_ <= 3;
  const double stride = std::max(1.0, std::ceil((end_ - begin_) / kStepsMax));
  for (double power = std::floor(begin_); power <= end_ + 1e-9; power += stride) {
    for (const double step : steps) {
      const double at = power + step;
      if (at < begin_ - 1e-9 || at > end_ + 1e-9) continue;
      const double value = std::pow(10, at);
      if (few || step == 0) ticks_.push_back({value, short_label(value)});
    }
  }
}

void Axis::nines(double high) {
  begin_ = 0;
  end_ = std::max(2.0, position(std::min(high, 1 - 1e-9)));
  ticks_ = {{0, "0"}};
  if (end_ <= 3) ticks_.push_back({0.5, "50 %"});  // otherwise too near to 0
  double part = 0.9;
  for (int power = 1; power <= static_cast<int>(end_ + 1e-9); ++power) {
    ticks_.push_back({part, fmt::format("{:.{}f} %", part * 100, std::max(0, power - 2))});
    part = 1 - (1 - part) / 10;
  }
}

}  // namespace sidecar::perf
