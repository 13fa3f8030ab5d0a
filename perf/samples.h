// Measured values and what is said about them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace sidecar::perf {

class Samples {
 public:
  explicit Samples(std::size_t expected = 0) { values_.reserve(expected); }
  void add(double value) {
    values_.push_back(value);
    sorted_ = false;
  }
  [[nodiscard]] std::size_t count() const { return values_.size(); }
  // Nearest rank: the smallest value that at least `percent` of all are not above. 0 when there is none.
  [[nodiscard]] double percentile(double percent) {
    if (values_.empty()) return 0;
    if (!sorted_) std::sort(values_.begin(), values_.end());
    sorted_ = true;
    const double rank = std::ceil(percent / 100 * static_cast<double>(values_.size()));
    return values_[std::min(values_.size(), static_cast<std::size_t>(std::max(rank, 1.0))) - 1];
  }
  [[nodiscard]] double median() { return percentile(50); }
  [[nodiscard]] double min() { return percentile(0); }
  [[nodiscard]] double max() { return percentile(100); }
  // How far repeated values lie apart, in parts of their median.
  [[nodiscard]] double spread() { return median() > 0 ? (max() - min()) / median() : 0; }

 private:
  std::vector<double> values_;
  bool sorted_ = false;
};

}  // namespace sidecar::perf
