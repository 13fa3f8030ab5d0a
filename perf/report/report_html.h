#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "perf/report/report_groups.h"

namespace sidecar::perf {

// One page that needs nothing else, no network and no script: what it was measured on, charts, and all
// results as a table. Well-formed XML as well as HTML. `dropped`: how many older measurements it does not
// show.
std::string html_report(const std::vector<Group>& groups, const std::vector<SetupFact>& facts,
                        std::size_t dropped);

}  // namespace sidecar::perf
