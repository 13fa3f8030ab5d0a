// What one run has measured so far, and the lines that show it while it goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "perf/shared_page.h"
#include "perf/tool/histogram.h"

namespace sidecar::perf {

class Recorder {
 public:
  using Progress = std::function<void(const Recorder&)>;
  // Looks at what others do meanwhile: before the clock starts, and when all is recorded (perhaps again, with
  // more of it).
  struct Meanwhile {
    std::function<void()> begin;
    std::function<void(Recorder&)> end;
  };
  // `progress` is called about once a second, by the thread that measures.
  explicit Recorder(Progress progress = {}, Meanwhile meanwhile = {})
      : progress_(std::move(progress)), meanwhile_(std::move(meanwhile)) {}

  void begin() {
    if (meanwhile_.begin) meanwhile_.begin();
    begin_ns_ = last_shown_ns_ = monotonic_ns();
  }
  // One message, or round trip, that took `ns`.
  void add(std::uint64_t ns, std::uint64_t now) {
    times_.add(ns);
    if (progress_ && now - last_shown_ns_ >= 1'000'000'000u) {
      end_ns_ = now;
      progress_(*this);
      last_shown_ns_ = now;
    }
  }
  void end(std::uint64_t now) {
    end_ns_ = now;
    if (meanwhile_.end) meanwhile_.end(*this);
  }
  // What somebody else has measured.
  void take_over(const Histogram& times, std::uint64_t begin, std::uint64_t end) {
    times_.add(times);
    begin_ns_ = begin_ns_ == 0 ? begin : std::min(begin_ns_, begin);
    this->end(std::max(end_ns_, end));
  }

  [[nodiscard]] const Histogram& times() const { return times_; }
  [[nodiscard]] double seconds() const { return static_cast<double>(end_ns_ - begin_ns_) / 1e9; }

  // Further figures by name, for --json and the table's last column.
  std::map<std::string, double> more;

 private:
  Progress progress_;
  Meanwhile meanwhile_;
  Histogram times_;
  std::uint64_t begin_ns_ = 0;
  std::uint64_t end_ns_ = 0;
  std::uint64_t last_shown_ns_ = 0;
};

}  // namespace sidecar::perf
