// The two ends' conversation about runs: the initiator tells what is to be run, both run it.
#pragma once

#include "perf/tool/control.h"
#include "perf/tool/end.h"
#include "perf/tool/recorder.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {

class Session {
 public:
  // Learns who the other end is. Throws when it is of another kind: other versions of this program or UCX.
  Session(Control control, const End& own);

  // How each run of a test is looked at.
  using Watch = std::function<Recorder::Meanwhile(const TestKind&)>;
  void watch(Watch watch) { watch_ = std::move(watch); }
  [[nodiscard]] bool watched() const { return watch_ != nullptr; }

  // One run of that test; names in `job` are filled in here.
  Recorder run(const TestKind& test, Job job, Recorder::Progress progress = {});
  // As many messages as fit into that time, found by growing runs; at least 4.
  std::uint64_t calibrate(const TestKind& test, Job job, double seconds);

  // No more runs.
  void farewell() const { control_.say(Job{}); }

  [[nodiscard]] const std::vector<Rank>& other_ranks() const { return other_ranks_; }
  // UCX's names for what carries data from this end's first sidecar to the other's; empty when it is not
  // known.
  [[nodiscard]] std::string transports() const;
  [[nodiscard]] std::string other_host() const { return control_.other_host(); }

 private:
  Control control_;
  const End& own_;
  std::vector<Rank> other_ranks_;
  std::string name_;
  std::uint64_t runs_ = 0;
  std::uint64_t x_ = 0;  // the last run's
  Watch watch_;
};

// The waiting side: serves one initiator after the other, for ever or once. What goes wrong in a run is told
// to the initiator and to standard error.
void serve(const ControlListener& listener, const End& own, bool once);

}  // namespace sidecar::perf
