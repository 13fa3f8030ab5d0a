#include "perf/report/report_text.h"

#include <fmt/core.h>

#include <array>
#include <cctype>
#include <cmath>
#include <cstddef>

namespace sidecar::perf {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

// U+FFFE and U+FFFF, the only ones above the control characters that valid UTF-8 may hold and XML may not.
bool is_noncharacter(std::string_view rest) {
  return rest.starts_with("\xEF\xBF\xBE") || rest.starts_with("\xEF\xBF\xBF");
}

// At most `decimals` of them, no zeros at the end.
std::string trimmed(double value, int decimals) {
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

// Digits, with a comma between thousands.
std::string apart(std::string digits) {
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    switch (c) {
      case '&': out += "&amp;"; continue;
      case '<': out += "&lt;"; continue;
      case '>': out += "&gt;"; continue;
      case '"': out += "&quot;"; continue;
      case '\'': out += "&#39;"; continue;
    }
    if (is_control(c)) {
      out += c == '\n' || c == '\t' ? std::string_view(" ") : kReplacement;
    } else if (is_noncharacter(text.substr(i))) {
      out += kReplacement;
      i += 2;
    } else {
      out += c;
    }
  }
  return out;
}

std::string markdown_text(std::string_view text) {
  constexpr std::string_view kMeaning = "\\`*[]|~#!";
  const auto in_word = [&](std::size_t at) {
    return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '&' || c == '<' || c == '>') {
      out += xml_text({&c, 1});
    } else if (is_control(c)) {
      out += ' ';
    } else {
      // Within a word an underscore means nothing, and test names are full of them.
      const bool plain_underscore = i > 0 && in_word(i - 1) && in_word(i + 1);
      if (kMeaning.find(c) != std::string_view::npos || (c == '_' && !plain_underscore)) out += '\\';
      out += c;
    }
  }
  return out;
}

std::string bytes_label(double bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return trimmed(bytes, 2) + " " + kUnits[unit];
}

std::string short_label(double value) {
  const double size = std::abs(value);
  if (size >= 1e9) return trimmed(value / 1e9, 2) + "G";
  if (size >= 1e6) return trimmed(value / 1e6, 2) + "M";
  if (size >= 1e3) return trimmed(value / 1e3, 2) + "k";
  return trimmed(value, size < 0.1 ? 4 : 2);
}

std::string figure(double value) {
  if (value < 10) return fmt::format("{:.3f}", value);
  if (value < 100) return fmt::format("{:.2f}", value);
  if (value < 1000) return fmt::format("{:.1f}", value);
  return apart(fmt::format("{:.0f}", value));
}

std::string whole_number(std::uint64_t value) { return apart(std::to_string(value)); }

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!out.empty()) out += ", ";
    out += part;
  }
  return out;
}

}  // namespace sidecar::perf
