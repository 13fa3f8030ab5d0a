// All results as rows of text, for HTML and for Markdown alike. Columns in which nothing stands are left out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "perf/report/report_groups.h"

namespace sidecar::perf {

struct TableColumn {
  std::string head;
  bool numeric = false;
};

struct Table {
  std::vector<TableColumn> columns;
  std::vector<std::vector<std::string>> rows;  // not escaped
};

enum class Detail : std::uint8_t { kAll, kSummary };  // kSummary: as many columns as a README has room for
Table table_of(const std::vector<Group>& groups, Detail detail);

// "at least 0.95: holds", and the one word that is the verdict: holds, missed or noisy.
std::string bar_text(const Measurement& measurement);
std::string_view verdict_of(const Measurement& measurement);

}  // namespace sidecar::perf
