// How the report writes text and figures: what comes from outside is escaped, what is for people is rounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sidecar::perf {

// For elements and attributes of HTML and SVG alike. What XML cannot hold at all becomes U+FFFD.
std::string xml_text(std::string_view text);

// For one cell of a Markdown table: stays in the cell and means nothing to Markdown or HTML.
std::string markdown_text(std::string_view text);

// "64 B", "1 KiB", "1.5 MiB".
std::string bytes_label(double bytes);

// For axes: "0.5", "20", "5k", "1M".
std::string short_label(double value);

// For tables, of what is measured and so not below 0: three or four figures that mean something, "0.950",
// "12.30", and all that are left of the point, "31,205".
std::string figure(double value);
std::string whole_number(std::uint64_t value);

// "a, b, c"; empty ones are left out.
std::string joined(const std::vector<std::string>& parts);

}  // namespace sidecar::perf
