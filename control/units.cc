#include "control/units.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "fmt/format.h"

namespace sidecar {
namespace {

// A non-negative number and what follows it.
tl::expected<std::pair<double, std::string_view>, std::string> split(std::string_view text,
                                                                     const char* example) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) {
    return tl::unexpected(fmt::format("'{}' is not {}", text, example));
  }
  return std::pair{value, text.substr(static_cast<std::size_t>(end - text.data()))};
}

}  // namespace

tl::expected<std::uint64_t, std::string> parse_size(std::string_view text) {
  constexpr const char* kExample = "a size such as 4096, 64K, 512M or 1.5G";
  const auto number = split(text, kExample);
  if (!number) return tl::unexpected(number.error());
  auto [value, unit] = *number;
  constexpr std::string_view kUnits = "KMGT";
  if (!unit.empty()) {
    const auto power = kUnits.find(static_cast<char>(std::toupper(static_cast<unsigned char>(unit.front()))));
    const std::string_view rest = power == std::string_view::npos ? unit : unit.substr(1);
    if (rest != "" && rest != "B" && rest != "iB")
      return tl::unexpected(fmt::format("'{}' is not {}", text, kExample));
    if (power != std::string_view::npos) value = std::ldexp(value, 10 * static_cast<int>(power + 1));
  }
  if (value >= 0x1p63) return tl::unexpected(fmt::format("'{}' is too large", text));
  return static_cast<std::uint64_t>(value);
}

tl::expected<TimeNs, std::string> parse_duration(std::string_view text) {
  constexpr const char* kExample = "a duration such as 250ms, 30s, 10m, 1h or never";
  if (text == "never") return kNever;
  const auto number = split(text, kExample);
  if (!number) return tl::unexpected(number.error());
  const auto [value, unit] = *number;
  double seconds = 0;
  if (unit.empty() || unit == "s") {
    seconds = value;
  } else if (unit == "ms") {
    seconds = value / 1e3;
  } else if (unit == "us") {
    seconds = value / 1e6;
  } else if (unit == "m" || unit == "min") {
    seconds = value * 60;
  } else if (unit == "h") {
    seconds = value * 3600;
  } else {
    return tl::unexpected(fmt::format("'{}' is not {}", text, kExample));
  }
  if (seconds > 1e9) return tl::unexpected(fmt::format("'{}' is too long; say never to wait for ever", text));
  return static_cast<TimeNs>(std::llround(seconds * 1e9));
}

std::string size_text(std::uint64_t bytes) {
  int power = 0;
  while (power < 4 && bytes >= 1024 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++power;
  }
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  return fmt::format("{} {}", bytes, kUnits[power]);
}

std::string duration_text(TimeNs duration) {
  if (duration == kNever) return "never";
  if (duration % kSecond == 0) return fmt::format("{}s", duration / kSecond);
  if (duration % kMillisecond == 0) return fmt::format("{}ms", duration / kMillisecond);
  return fmt::format("{}us", duration / 1000);
}

}  // namespace sidecar
