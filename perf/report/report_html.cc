#include "perf/report/report_html.h"

#include <fmt/core.h>

#include <string_view>

#include "perf/report/report_charts.h"
#include "perf/report/report_style.h"
#include "perf/report/report_table.h"
#include "perf/report/report_text.h"

namespace sidecar::perf {
namespace {

std::string header(const std::vector<SetupFact>& facts, std::size_t dropped) {
  std::string out = "<header>\n<h1>Sidecar: measured performance</h1>\n<dl>\n";
  for (const SetupFact& fact : facts) {
    out += "<dt>" + xml_text(fact.name) + "</dt><dd>" + xml_text(joined(fact.values)) + "</dd>\n";
  }
  out += "</dl>\n";
  for (const std::string& warning : setup_warnings(facts)) {
    out += "<p class=\"warning\" role=\"note\"><strong>Warning.</strong> " + xml_text(warning) + "</p>\n";
  }
  if (dropped > 0) {
    out += fmt::format("<p class=\"quiet\">Not shown: {} older, measured again later.</p>\n", dropped);
  }
  return out + "</header>\n";
}

// How many bars there are and which do not hold, each a link to its charts.
std::string verdicts(const std::vector<Group>& groups) {
  std::size_t holds = 0, missed = 0, noisy = 0;
  std::string list;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const Measurement* m : groups[i].all()) {
      const std::string_view verdict = verdict_of(*m);
      holds += verdict == "holds" ? 1 : 0;
      missed += verdict == "missed" ? 1 : 0;
      noisy += verdict == "noisy" ? 1 : 0;
      if (verdict != "missed") continue;
      const std::string what = point_text(groups[i], *m);
      list += fmt::format("<li><a href=\"#group-{}\">{}</a>{}: ", i, xml_text(groups[i].title),
                          what.empty() ? "" : ", " + xml_text(what));
      if (m->ratio) list += figure(*m->ratio) + ", ";
      list += fmt::format("<span class=\"missed\">{}</span></li>\n", xml_text(bar_text(*m)));
    }
  }
  if (holds + missed + noisy == 0) return {};
  std::string out =
      fmt::format("<p>Bars: {} hold, {} missed, {} too noisy to tell.</p>\n", holds, missed, noisy);
  return list.empty() ? out : out + "<ul>\n" + list + "</ul>\n";
}

std::string contents(const std::vector<Group>& groups) {
  std::string out = "<nav aria-label=\"Tests\"><ul>\n";
  for (std::size_t i = 0; i < groups.size(); ++i) {
    out += fmt::format("<li><a href=\"#group-{}\">{}</a></li>\n", i, xml_text(groups[i].title));
  }
  return out + "<li><a href=\"#results\">All results</a></li>\n</ul></nav>\n";
}

std::string figures(const std::vector<Chart>& charts, const char* style) {
  std::string out;
  for (const Chart& chart : charts) {
    const std::string picture = svg(chart);
    if (picture.empty()) continue;
    out += "<figure><figcaption>" + xml_text(chart.caption) + "</figcaption>\n" + picture + "</figure>\n";
  }
  if (out.empty()) return out;
  return std::string("<div class=\"") + style + "\">\n" + out + "</div>\n";
}

std::string section(const Group& group, std::size_t number) {
  const std::string id = fmt::format("group-{}", number);
  std::string out = fmt::format("<section id=\"{}\">\n<h2>{} <span class=\"quiet\">({})</span></h2>\n", id,
                                xml_text(group.title), xml_text(group.test));
  const std::string charts = figures(charts_of(group, id), "charts");
  out += charts.empty() ? "<p class=\"quiet\">Nothing to draw; see the table.</p>\n" : charts;
  const std::string distributions = figures(distributions_of(group, id), "charts small");
  if (!distributions.empty()) {
    out += "<details><summary>How latencies are distributed</summary>\n" + distributions + "</details>\n";
  }
  return out + "</section>\n";
}

std::string results(const std::vector<Group>& groups) {
  const Table table = table_of(groups, Detail::kAll);
  const auto style = [&](std::size_t column) {
    return table.columns[column].numeric ? " class=\"number\"" : "";
  };
  std::vector<std::string_view> row_verdicts;
  for (const Group& group : groups) {
    for (const Measurement* m : group.all()) row_verdicts.push_back(verdict_of(*m));
  }
  std::string out =
      "<section id=\"results\">\n<h2>All results</h2>\n"
      "<div class=\"table\" role=\"region\" aria-label=\"All results\" tabindex=\"0\">\n<table>\n<thead><tr>";
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", style(i), xml_text(table.columns[i].head));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    out += "<tr>";
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      const bool is_bar = table.columns[i].head == "Bar" && !row_verdicts[r].empty();
      out += fmt::format("<td{}>{}</td>", is_bar ? fmt::format(" class=\"{}\"", row_verdicts[r]) : style(i),
                         xml_text(table.rows[r][i]));
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table>\n</div>\n</section>\n";
}

}  // namespace

std::string html_report(const std::vector<Group>& groups, const std::vector<SetupFact>& facts,
                        std::size_t dropped) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta "
      "charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<title>Sidecar: measured performance</title>\n<style>";
  out += kReportStyle;
  out += "</style>\n</head>\n<body>\n" + header(facts, dropped) + "<main>\n" + verdicts(groups) +
         contents(groups);
  for (std::size_t i = 0; i < groups.size(); ++i) out += section(groups[i], i);
  out += results(groups);
  out +=
      "<p class=\"quiet\">Where an axis is logarithmic, results at 0 are in the table only. Points show "
      "their values "
      "when pointed at.</p>\n";
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace sidecar::perf
