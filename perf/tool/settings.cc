#include "perf/tool/settings.h"

#include <charconv>

#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 40;

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t end = 0; (end = text.find(at)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

std::uint64_t parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  unsigned shift = 0;
  if (unit == "K" || unit == "k") {
    shift = 10;
  } else if (unit == "M" || unit == "m") {
    shift = 20;
  } else if (unit == "G" || unit == "g") {
    shift = 30;
  } else if (!unit.empty()) {
    error == std::errc() ? fail_measurement("-s " + std::string(text) + ": K, M and G are known")
                         : fail_measurement("-s " + std::string(text) + ": not a size");
  }
  if (error != std::errc() || number > (kSizeMax >> shift))
    fail_measurement("-s " + std::string(text) + ": not a size");
  return number << shift;
}

int parse_number(std::string_view text, const std::string& what) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0)
    fail_measurement(what + ": not a number: " + std::string(text));
  return number;
}

}  // namespace

std::vector<std::uint64_t> parse_sizes(std::string_view text) {
  std::vector<std::uint64_t> sizes;
  for (const std::string_view part : split(text, ',')) {
    const auto ends = split(part, ':');
    if (ends.size() > 2) fail_measurement("-s " + std::string(part) + ": a range has two ends");
    const std::uint64_t first = parse_size(ends.front());
    const std::uint64_t last = parse_size(ends.back());
    if (ends.size() == 2 && (first == 0 || first > last))
      fail_measurement("-s " + std::string(part) + ": a range goes up, from more than 0");
    sizes.push_back(first);
    for (std::uint64_t size = first; ends.size() == 2 && size * 2 <= last; size *= 2)
      sizes.push_back(size * 2);
  }
  return sizes;
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
