#include "perf/report/report.h"

#include <fstream>
#include <ostream>
#include <string>

#include "perf/report/report_groups.h"
#include "perf/report/report_html.h"
#include "perf/report/report_markdown.h"
#include "perf/report/report_model.h"

namespace sidecar::perf {
namespace {

bool write(const std::filesystem::path& path, const std::string& text, std::ostream& out,
           std::ostream& complaints) {
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    complaints << path.string() << ": cannot be written\n";
    return false;
  }
  out << path.string() << "\n";
  return true;
}

}  // namespace

int report(const std::filesystem::path& folder, std::ostream& out, std::ostream& complaints) {
  std::vector<Measurement> measurements = read_measurements(folder, complaints);
  if (measurements.empty()) {
    complaints << folder.string() << ": no measurements in *.jsonl\n";
    return 1;
  }
  const std::size_t dropped = keep_newest(measurements);
  const std::vector<Group> groups = group(measurements);
  const std::vector<SetupFact> facts = setup_facts(measurements);
  const bool page = write(folder / "report.html", html_report(groups, facts, dropped), out, complaints);
  const bool table = write(folder / "report.md", markdown_report(groups, facts), out, complaints);
  return page && table ? 0 : 1;
}

}  // namespace sidecar::perf
