#include "perf/report/report_table.h"

#include <algorithm>
#include <optional>

#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

std::string or_nothing(std::optional<double> value) { return value ? figure(*value) : std::string(); }

std::string reference_text(const Measurement& m) {
  if (!m.reference) return {};
  const Reference& r = *m.reference;
  std::string out = r.name;
  if (r.value) out += (out.empty() ? "" : " ") + figure(*r.value) + " " + r.unit;
  return out;
}

std::string pairs_text(const Measurement& m) {
  if (!m.reference) return {};
  const Reference& r = *m.reference;
  return joined({r.pairs ? std::to_string(*r.pairs) + " pairs" : "",
                 r.spread ? "reference spread " + figure(*r.spread) : ""});
}

std::string ratio_text(const Measurement& m) {
  std::string out = or_nothing(m.ratio);
  if (m.ratio && m.reference && m.reference->ratio_p25 && m.reference->ratio_p75) {
    out += " (" + figure(*m.reference->ratio_p25) + " to " + figure(*m.reference->ratio_p75) + ")";
  }
  return out;
}

struct Row {
  const Group& group;
  const Variant& variant;
  const Measurement& m;
};

struct Column {
  const char* head;
  bool numeric;
  bool in_summary;
  std::string (*text)(const Row&);
};
const std::vector<Column>& columns() {
  static const std::vector<Column> all{
      {"Test", false, true, [](const Row& row) { return row.m.test; }},
      {"Path", false, true, [](const Row& row) { return row.m.path; }},
      {"Size", true, true,
       [](const Row& row) {
         return row.m.size ? bytes_label(static_cast<double>(*row.m.size)) : std::string();
       }},
      {"Arguments", false, true, [](const Row& row) { return arguments_of(row.group, row.m); }},
      {"Setup", false, true, [](const Row& row) { return row.variant.setup; }},
      {"Iterations", true, false,
       [](const Row& row) { return row.m.iterations ? whole_number(*row.m.iterations) : std::string(); }},
      {"p50 us", true, true, [](const Row& row) { return or_nothing(row.m.latency.median()); }},
      {"average us", true, true,  // hides what a median shows
       [](const Row& row) { return row.m.latency.median() ? "" : or_nothing(row.m.latency.middle()); }},
      {"p90 us", true, false, [](const Row& row) { return or_nothing(row.m.latency.p90); }},
      {"p99 us", true, true, [](const Row& row) { return or_nothing(row.m.latency.p99); }},
      {"p99.9 us", true, false, [](const Row& row) { return or_nothing(row.m.latency.p999); }},
      {"max us", true, false, [](const Row& row) { return or_nothing(row.m.latency.max); }},
      {"MiB/s", true, true, [](const Row& row) { return or_nothing(row.m.bandwidth_mib_s.best_known()); }},
      {"per s", true, true, [](const Row& row) { return or_nothing(row.m.rate_s.best_known()); }},
      {"Reference", false, true, [](const Row& row) { return reference_text(row.m); }},
      {"Taken from", false, false, [](const Row& row) { return pairs_text(row.m); }},
      {"Ratio", true, true, [](const Row& row) { return ratio_text(row.m); }},
      {"Bar", false, true, [](const Row& row) { return bar_text(row.m); }},
  };
  return all;
}

}  // namespace

std::string_view verdict_of(const Measurement& m) {
  if (!m.bar) return "";
  if (!m.bar->holds || (m.reference && m.reference->noisy)) return "noisy";
  return *m.bar->holds ? "holds" : "missed";
}

std::string bar_text(const Measurement& m) {
  if (!m.bar) return {};
  return m.bar->is + (m.bar->is.empty() ? "" : " ") + short_label(m.bar->value) + ": " +
         std::string(verdict_of(m));
}

Table table_of(const std::vector<Group>& groups, Detail detail) {
  Table table;
  std::vector<Row> rows;
  for (const Group& group : groups) {
    for (const Variant& variant : group.variants) {
      for (const Measurement* m : variant.points) rows.push_back({group, variant, *m});
    }
  }
  std::vector<const Column*> shown;
  for (const Column& column : columns()) {
    if (detail == Detail::kSummary && !column.in_summary) continue;
    if (std::ranges::all_of(rows, [&](const Row& row) { return column.text(row).empty(); })) continue;
    shown.push_back(&column);
    table.columns.push_back({column.head, column.numeric});
  }
  for (const Row& row : rows) {
    std::vector<std::string> cells;
    for (const Column* column : shown) cells.push_back(column->text(row));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace sidecar::perf
