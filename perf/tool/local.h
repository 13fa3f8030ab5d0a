// --local: sidecars and the other end on this machine, started for one test and ended after it.
#pragma once

#include <memory>

#include "perf/cluster.h"
#include "perf/port.h"
#include "perf/tool/session.h"
#include "perf/tool/settings.h"

namespace sidecar::perf {

class LocalSetup {
 public:
  // For all of these sizes and values of x.
  LocalSetup(const TestKind& test, const TestSettings& settings, const std::vector<std::uint64_t>& sizes,
             const std::vector<std::uint64_t>& at);
  [[nodiscard]] const End& own() const { return own_; }
  [[nodiscard]] Session connect() const;

 private:
  std::unique_ptr<Cluster> cluster_;
  ReservedPort port_;
  Process other_;
  End own_{{}};
};

}  // namespace sidecar::perf
