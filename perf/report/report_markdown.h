#pragma once

#include <string>
#include <vector>

#include "perf/report/report_groups.h"

namespace sidecar::perf {

// The table of all results, for a README, below a line that says what it was measured on.
std::string markdown_report(const std::vector<Group>& groups, const std::vector<SetupFact>& facts);

}  // namespace sidecar::perf
