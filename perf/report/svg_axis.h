// One axis of a chart: which part of the numbers it shows, where each lies, and which are labelled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sidecar::perf {

enum class Scale : std::uint8_t {
  kLinear,
  kLinearFrom0,
  kBytes,  // logarithmic, labelled at powers of two: "64 B", "1 KiB"
  kLog,    // labelled at powers of ten, where there are few also in between
  kNines,  // parts of a whole, each 9 more the same distance: 0, 90 %, 99 %, 99.9 %
};

struct Tick {
  double at = 0;
  std::string label;  // empty: only a line
};

class Axis {
 public:
  // Shows at least all from `low` to `high`. On a logarithmic one both must be above 0; of kNines, below 1.
  Axis(Scale scale, double low, double high);
  // 0 at the axis's begin, 1 at its end; what lies outside is moved to the nearer one.
  [[nodiscard]] double place(double value) const;
  [[nodiscard]] const std::vector<Tick>& ticks() const { return ticks_; }

 private:
  [[nodiscard]] double position(double value) const;
  void linear(double low, double high);
  void powers_of_two(double low, double high);
  void powers_of_ten(double low, double high);
  void nines(double high);

  Scale scale_;
  double begin_ = 0, end_ = 1;  // as positions
  std::vector<Tick> ticks_;
};

}  // namespace sidecar::perf
