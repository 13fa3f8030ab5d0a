// What sidecar-perf report makes of a folder: the page must be well-formed whatever the lines hold, and
// nothing that was measured may be missing.
#include "perf/report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sidecar::perf {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kFull =
    R"({"test":"chunk_bw","path":"net","size":1048576,"outstanding":4,"iterations":2000,
"latency_us":{"typical":1290,"average":1301.5,"overall":1302,"p50":1290,"p90":1400,"p99":1800.5,"p999":2500,"max":9000},
"bandwidth_mib_s":{"average":3040,"overall":3027.1},"rate_s":{"average":3040,"overall":3027.1},
"histogram":[[1300,1500],[1900,490],[9000,10]],"ratio":0.97,
"reference":{"name":"ucx_perftest ucp_am_bw","value":3120.5,"unit":"MiB/s","ours":3027.1,"pairs":9,"spread":0.04,
"ratio_p25":0.95,"ratio_p75":0.99,"noisy":false},"bar":{"is":"at least","value":0.95,"holds":true},"git":"0b151b6",
"ucx":"1.13.1","transports":"tcp","cpu":"A CPU","cores":2,"kernel":"6.1.0","poll":"adaptive","unknown":[1,{}],
"time":"2026-11-27T14:00:00Z"})";

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    std::string name = (std::filesystem::temp_directory_path() / "report-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no folder " << name;
    folder_ = name;
  }
  ~ReportTest() override { std::filesystem::remove_all(folder_); }
  // One line, however it is written here.
  void add(std::string line, const char* file = "a.jsonl") {
    std::ranges::replace(line, '\n', ' ');
    std::ofstream(folder_ / file, std::ios::app) << line << "\n";
  }
  int run() { return report(folder_, out_, complaints_); }
  [[nodiscard]] std::string read(const char* name) const {
    std::stringstream text;
    text << std::ifstream(folder_ / name).rdbuf();
    return text.str();
  }
  [[nodiscard]] std::string page() const { return read("report.html"); }
  [[nodiscard]] std::string table() const { return read("report.md"); }
  // By a parser that forgives nothing. Last in a test, which is skipped from here where there is no such
  // parser.
  void expect_well_formed() const {
    if (std::system("python3 -c 0 2>&1") != 0) GTEST_SKIP() << "no python3 to parse XML with";
    const std::string command =
        "python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' '" +
        (folder_ / "report.html").string() + "'";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }

  std::filesystem::path folder_;
  std::ostringstream out_, complaints_;
};

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t times = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) ++times;
  return times;
}

TEST_F(ReportTest, WritesAPageAndATableAndSaysWhere) {
  add(kFull);
  EXPECT_EQ(run(), 0);
  EXPECT_EQ(complaints_.str(), "");
  EXPECT_EQ(out_.str(), (folder_ / "report.html").string() + "\n" + (folder_ / "report.md").string() + "\n");
  for (const char* const part :
       {"0b151b6", "A CPU", "1.13.1", "6.1.0", "adaptive", "2026-11-27T14:00:00Z", "ucx_perftest ucp_am_bw",
        "prefers-color-scheme: dark", "1 hold, 0 missed"}) {
    EXPECT_THAT(page(), HasSubstr(part));
  }
  // Bandwidth, latency, rate and ratio, and one distribution.
  EXPECT_EQ(count(page(), "<svg "), 5u);
  EXPECT_EQ(count(page(), "<desc "), 5u);
  expect_well_formed();
}

TEST_F(ReportTest, ThePageNeedsNothingFromOutside) {
  add(kFull);
  ASSERT_EQ(run(), 0);
  std::string text = page();
  for (std::size_t at; (at = text.find("http://www.w3.org/")) != std::string::npos;)
    text.erase(at, 18);  // namespaces
  for (const char* const part : {"http:", "https:", "<script", "<link", "<img", "@import", "url(", "src="}) {
    EXPECT_THAT(text, Not(HasSubstr(part)));
  }
}

TEST_F(ReportTest, TheTableIsAsItAlwaysWas) {
  add(kFull);
  add(R"({"test":"am_lat","path":"local","size":64,"latency_us":{"p50":2.5,"p99":12.25},"git":"0b151b6","ucx":"1.13.1",
          "transports":"tcp","cpu":"A CPU","cores":2,"kernel":"6.1.0","poll":"adaptive","time":"2026-11-27T14:00:01Z"})");
  ASSERT_EQ(run(), 0);
  EXPECT_EQ(table(),
            "Commit: 0b151b6; CPU: A CPU; Cores: 2; Kernel: 6.1.0; UCX: 1.13.1; Transports: tcp; Poll mode: "
            "adaptive; "
            "Measured: 2026-11-27T14:00:00Z to 2026-11-27T14:00:01Z.\n"
            "\n"
            "| Test | Path | Size | Arguments | p50 us | p99 us | MiB/s | per s | Reference | Ratio | Bar |\n"
            "|---|---|---:|---|---:|---:|---:|---:|---|---:|---|\n"
            "| am_lat | local | 64 B | | 2.500 | 12.25 | | | | | |\n"
            "| chunk_bw | net | 1 MiB | 4 outstanding | 1,290 | 1,800 | 3,027 | 3,027 | ucx_perftest "
            "ucp_am_bw 3,120 "
            "MiB/s | 0.970 (0.950 to 0.990) | at least 0.95: holds |\n");
}

TEST_F(ReportTest, EveryTestIsInBoth) {
  const std::vector<std::string> tests{"am_lat",  "am_bw",     "object_lat", "object_rate",   "chunk_lat",
                                       "stream",  "manytoone", "chunk_bw",   "allocate_send", "fanout",
                                       "sharded", "d2h_send",  "scale_ids",  "scale_waiting", "a_new_test"};
  for (const std::string& test : tests) {
    for (const char* const path : {"local", "net"})
      add(R"({"test":")" + test + R"(","path":")" + path + R"("})");
  }
  ASSERT_EQ(run(), 0);
  for (const std::string& test : tests) {
    EXPECT_EQ(count(page(), "(" + test + ")</span></h2>"), 2u) << test;
    EXPECT_EQ(count(page(), "<td>" + test + "</td>"), 2u) << test;
    EXPECT_EQ(count(table(), "| " + test + " |"), 2u) << test;
  }
  expect_well_formed();
}

TEST_F(ReportTest, BadLinesAreNamedAndSkipped) {
  add("{\"test\":\"am_lat\"");
  add("");
  add("[1,2]");
  add(R"({"path":"net"})");
  add(R"({"test":"am_lat","size":-1})");
  add(R"({"test":"am_lat","latency_us":{"p50":"fast"}})");
  add(R"({"test":"am_lat","histogram":[[1]]})");
  add("{\"test\":\"\xFF\"}");
  add(R"({"test":"am_lat","size":1e999})");
  add(R"({"test":"am_lat","path":"net","size":64,"latency_us":{"p50":3}})", "b.jsonl");
  add("not JSON, and not looked at", "c.txt");
  EXPECT_EQ(run(), 0);
  const std::string at = (folder_ / "a.jsonl").string() + ":";
  EXPECT_EQ(complaints_.str(), at + "1: not JSON\n" +                                      //
                                   at + "3: the line is not an object\n" +                 //
                                   at + "4: test is missing\n" +                           //
                                   at + "5: size is not a whole number\n" +                //
                                   at + "6: latency_us p50 is not a number from 0 on\n" +  //
                                   at + "7: histogram is not a list of [upper_us, count]\n" + at +
                                   "8: not JSON\n" +  //
                                   at + "9: not JSON\n");
  EXPECT_THAT(table(), HasSubstr("| am_lat | net | 64 B | 3.000 |"));
}

TEST_F(ReportTest, NothingUsableIsAnError) {
  EXPECT_EQ(run(), 1);
  EXPECT_THAT(complaints_.str(), HasSubstr("no measurements in *.jsonl"));
  add("nonsense");
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(out_.str(), "");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "report.html"));
  EXPECT_EQ(report(folder_ / "absent", out_, complaints_), 1);
  EXPECT_THAT(complaints_.str(), HasSubstr("No such file or directory"));
}

TEST_F(ReportTest, HostileTextStaysText) {
  const std::string hostile =
      R"(</style></svg><script>alert(1)</script>\" onload=\"x' ]]> &amp; &#0; \u0000\u0008\u001b\uffff)"
      R"( | \n\n# | `code` [a](b) <!-- \\)";
  std::string line =
      R"({"size":64,"outstanding":2,"x":3,"histogram":[[1,5]],"latency_us":{"p50":3,"p99":9},"ratio":1,)"
      R"("cores":2,"reference":{"unit":"us","value":2,"name":"H"},"bar":{"value":1,"is":"H"})";
  for (const char* const field :
       {"test", "path", "x_name", "git", "ucx", "transports", "cpu", "kernel", "poll", "settings", "time"}) {
    line += std::string(",\"") + field + "\":\"H\"";
  }
  line += "}";
  const auto fill = [](std::string text, const std::string& with) {
    for (std::size_t at = 0; (at = text.find("\"H\"", at)) != std::string::npos; at += with.size()) {
      text.replace(at, 3, "\"" + with + "\"");
    }
    return text;
  };
  add(fill(line, hostile));
  add(fill(line, hostile + "2"));
  add(fill(line, "scale_" + hostile));
  EXPECT_EQ(run(), 0) << complaints_.str();
  EXPECT_THAT(page(), Not(HasSubstr("<script")));
  EXPECT_THAT(page(), Not(HasSubstr("onload=\"")));
  EXPECT_EQ(count(page(), "</style>"), 1u);
  EXPECT_THAT(table(), Not(HasSubstr("<")));
  EXPECT_THAT(table(), Not(HasSubstr("\n#")));
  // Each row has as many cells as the head: no hostile bar or newline ends one.
  std::istringstream lines(table());
  std::size_t rows = 0, cells = 0;
  for (std::string text; std::getline(lines, text);) {
    if (!text.starts_with("|")) continue;
    std::size_t bars = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == '|') {
        ++bars;
      }
    }
    if (rows++ == 0) cells = bars;
    EXPECT_EQ(bars, cells) << text;
  }
  EXPECT_EQ(rows, 5u);
  expect_well_formed();
}

TEST_F(ReportTest, WarnsOfSeveralMachinesOrCommits) {
  add(R"({"test":"am_lat","size":1,"git":"a","cpu":"X"})");
  add(R"({"test":"am_lat","size":2,"git":"a","cpu":"X","transports":"tcp"})");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(page(), Not(HasSubstr("class=\"warning\"")));
  add(R"({"test":"am_lat","size":2,"git":"b","cpu":"Y"})");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(page(), HasSubstr("Commit differs (a, b)"));
  EXPECT_THAT(page(), HasSubstr("CPU differs (X, Y)"));
  EXPECT_THAT(table(),
              HasSubstr("**Warning:** These results cannot be compared with each other: Commit differs"));
}

TEST_F(ReportTest, OfTheSameMeasurementTheNewestCounts) {
  add(R"({"test":"am_lat","size":8,"latency_us":{"p50":111},"time":"2026-11-27T14:00:02Z"})");
  add(R"({"test":"am_lat","size":8,"latency_us":{"p50":222},"time":"2026-11-27T14:00:01Z"})", "b.jsonl");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(table(), HasSubstr("111.0"));
  EXPECT_THAT(table(), Not(HasSubstr("222.0")));
  EXPECT_THAT(page(), HasSubstr("Not shown: 1 older"));
}

TEST_F(ReportTest, WhatWasMeasuredWithOtherSettingsIsAnotherRowAndSaysSo) {
  for (const char* const settings :
       {"", R"(,"settings":"UCX_MAX_RNDV_RAILS=2")", R"(,"settings":"small pages")"})
    add(std::string(R"({"test":"chunk_bw","size":8,"outstanding":4)") + settings + "}");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(table(), HasSubstr("| 4 outstanding |"));
  EXPECT_THAT(table(), HasSubstr("| 4 outstanding, UCX_MAX_RNDV_RAILS=2 |"));
  EXPECT_THAT(table(), HasSubstr("| 4 outstanding, small pages |"));
}

TEST_F(ReportTest, WhatWasSetBesideAnotherReferenceIsAnotherRowAndSaysSo) {
  for (const char* const name : {"ucx_perftest", "bare UCX"})
    add(std::string(
            R"({"test":"chunk_bw","size":8,"ratio":0.5,"reference":{"value":10,"unit":"MiB/s","name":")") +
        name + R"("}})");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(table(), HasSubstr("ucx_perftest 10"));
  EXPECT_THAT(table(), HasSubstr("bare UCX 10"));
  EXPECT_THAT(page(), HasSubstr("beside bare UCX"));
}

TEST_F(ReportTest, AMissedBarIsSaidFirstAndANoisyOneIsNeither) {
  add(R"({"test":"am_bw","size":64,"ratio":0.5,"bar":{"is":"at least","value":0.95,"holds":false}})");
  add(R"({"test":"am_bw","size":128,"ratio":0.6,"bar":{"is":"at least","value":0.95,"holds":false},
          "reference":{"noisy":true}})");
  add(R"({"test":"am_bw","size":256,"ratio":0.7,"bar":{"is":"at least","value":0.95,"holds":"noisy"}})");
  ASSERT_EQ(run(), 0);
  EXPECT_THAT(page(), HasSubstr("0 hold, 1 missed, 2 too noisy"));
  EXPECT_THAT(page(), HasSubstr("</a>, 64 B: 0.500, <span class=\"missed\">"));
}

}  // namespace
}  // namespace sidecar::perf
