// sidecar-perf report DIR: what was measured, as a page and as a table.
#pragma once

#include <filesystem>
#include <iosfwd>

namespace sidecar::perf {

// Reads all *.jsonl in `folder`, writes report.html and report.md there and says so on `out`. Bad lines are
// named on `complaints` and skipped. Returns the exit code: 1 when there was nothing usable, or no writing.
int report(const std::filesystem::path& folder, std::ostream& out, std::ostream& complaints);

}  // namespace sidecar::perf
