#include "perf/report/report_markdown.h"

#include "perf/report/report_table.h"
#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

std::string setup_line(const std::vector<SetupFact>& facts) {
  std::string out;
  for (const SetupFact& fact : facts) {
    out += (out.empty() ? "" : "; ") + fact.name + ": " + markdown_text(joined(fact.values));
  }
  return out + ".\n";
}

}  // namespace

std::string markdown_report(const std::vector<Group>& groups, const std::vector<SetupFact>& facts) {
  std::string out = setup_line(facts) + "\n";
  for (const std::string& warning : setup_warnings(facts)) {
    out += "**Warning:** " + markdown_text(warning) + "\n\n";
  }
  const Table table = table_of(groups, Detail::kSummary);
  std::string rule;
  for (const TableColumn& column : table.columns) {
    out += "| " + column.head + " ";
    rule += column.numeric ? "|---:" : "|---";
  }
  out += "|\n" + rule + "|\n";
  for (const auto& row : table.rows) {
    for (const std::string& cell : row) out += "| " + markdown_text(cell) + (cell.empty() ? "" : " ");
    out += "|\n";
  }
  return out;
}

}  // namespace sidecar::perf
