#include "perf/tool/settings.h"

#include <charconv>

#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 40;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t end = 0; (end = text.find(at)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

std::uint64_t parse_one(std::string_view text, const std::string& option, std::uint64_t k) {
  const std::string where = option + " " + std::string(text) + ": ";
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  std::uint64_t factor = 1;
  if (unit == "K" || unit == "k") {
    factor = k;
  } else if (unit == "M" || unit == "m") {
    factor = k * k;
  } else if (unit == "G" || unit == "g") {
    factor = k * k * k;
  } else if (!unit.empty() && error == std::errc()) {
    fail_measurement(where + "K, M and G are known");
  }
  if (error != std::errc() || number > kNumberMax / factor)
    fail_measurement(where + (k == kOfSizes ? "not a size" : "not a number"));
  return number * factor;
}

int parse_number(std::string_view text, const std::string& what) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0)
    fail_measurement(what + ": not a number: " + std::string(text));
  return number;
}

}  // namespace

std::vector<std::uint64_t> parse_list(std::string_view text, const std::string& option, std::uint64_t k) {
  std::vector<std::uint64_t> numbers;
  for (const std::string_view part : split(text, ',')) {
    const auto ends = split(part, ':');
    const std::string where = option + " " + std::string(part) + ": ";
    if (ends.size() > 2) fail_measurement(where + "a range has two ends");
    const std::uint64_t first = parse_one(ends.front(), option, k);
    const std::uint64_t last = parse_one(ends.back(), option, k);
    if (ends.size() == 2 && (first == 0 || first > last))
      fail_measurement(where + "a range goes up, from more than 0");
    numbers.push_back(first);
    for (std::uint64_t number = first; ends.size() == 2 && number * 2 <= last; number *= 2)
      numbers.push_back(number * 2);
  }
  return numbers;
}

std::string size_text(std::uint64_t bytes) {
  const char* const units[] = {"", "K", "M", "G"};
  unsigned unit = 0;
  for (; unit < 3 && bytes >= 1024 && bytes % 1024 == 0; ++unit) bytes /= 1024;
  return std::to_string(bytes) + units[unit];
}

std::string hand_set(const TestSettings& test) {
  std::string text;
  for (const std::string& one : test.environment) text += (text.empty() ? "" : ", ") + one;
  if (test.small_pages) text += text.empty() ? "small pages" : ", small pages";
  return text;
}

Beside parse_beside(const std::string& text) {
  const std::size_t at = text.find('@');
  if (at == text.npos || at + 1 == text.size())
    fail_measurement("--sidecar " + text + ": RANK@HOST:PORT or RANK@HOST:PORT/NODE");
  const std::size_t slash = text.find('/', at);
  return {parse_number(std::string_view(text).substr(0, at), "--sidecar"),
          text.substr(at + 1, slash == text.npos ? slash : slash - at - 1),
          slash == text.npos ? "" : text.substr(slash + 1)};
}

std::vector<int> parse_cpus(const std::string& text) {
  std::vector<int> cpus;
  for (const std::string_view part : split(text, ',')) {
    const auto ends = split(part, '-');
    if (ends.size() > 2) fail_measurement("-c " + text + ": not a set of CPUs");
    const int last = parse_number(ends.back(), "-c");
    for (int cpu = parse_number(ends.front(), "-c"); cpu <= last; ++cpu) cpus.push_back(cpu);
  }
  if (cpus.empty()) fail_measurement("-c " + text + ": not a set of CPUs");
  return cpus;
}

}  // namespace sidecar::perf
