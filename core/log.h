// Log lines on stderr. For events that an operator should see, never one per message: a line costs
// microseconds and may block when nobody reads stderr. Thread-safe.
//
//   LOG_INFO("listening on {}", address);
//   LOG_WARN_LIMITED("peer {} sent junk", rank);  // this place at most once a second, with the number left
//   out
//
// SIDECAR_LOG=trace|debug|info|warn|error|off sets the level; without it `info`, or what a library chose.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <string_view>

#include "core/types.h"

namespace sidecar {

enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

bool log_enabled(LogLevel level) noexcept;
void log_write(LogLevel level, std::string_view text) noexcept;

// The level to use unless SIDECAR_LOG says another.
void set_default_log_level(LogLevel level) noexcept;
// Overrides SIDECAR_LOG: for a flag.
void set_log_level(LogLevel level) noexcept;
// Appears in every line ("sidecard 2"), so that several processes may share a terminal.
void set_log_name(std::string_view name);
// False when `name` is none of the levels.
bool parse_log_level(std::string_view name, LogLevel* level) noexcept;

// Admits one event a second and counts the rest.
class LogLimit {
 public:
  // True: log, and say that *suppressed events since the last one were not.
  bool admit(TimeNs now, std::uint64_t* suppressed) noexcept;

 private:
  std::atomic<TimeNs> next_{0};
  std::atomic<std::uint64_t> suppressed_{0};
};

namespace internal {
void log_format(LogLevel level, fmt::string_view format, fmt::format_args args) noexcept;
void log_format_limited(LogLevel level, LogLimit* limit, fmt::string_view format,
                        fmt::format_args args) noexcept;

// The format string is checked when the program is compiled.
template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) noexcept {
  log_format(level, format, fmt::make_format_args(args...));
}
template <class... Args>
void log_limited(LogLevel level, LogLimit* limit, fmt::format_string<Args...> format,
                 Args&&... args) noexcept {
  log_format_limited(level, limit, format, fmt::make_format_args(args...));
}
}  // namespace internal
}  // namespace sidecar

// Arguments are evaluated only when the level is on.
#define SIDECAR_LOG_AT(level, ...) \
  (::sidecar::log_enabled(level) ? ::sidecar::internal::log(level, __VA_ARGS__) : static_cast<void>(0))

#define LOG_DEBUG(...) SIDECAR_LOG_AT(::sidecar::LogLevel::kDebug, __VA_ARGS__)
#define LOG_INFO(...) SIDECAR_LOG_AT(::sidecar::LogLevel::kInfo, __VA_ARGS__)
#define LOG_WARN(...) SIDECAR_LOG_AT(::sidecar::LogLevel::kWarn, __VA_ARGS__)
#define LOG_ERROR(...) SIDECAR_LOG_AT(::sidecar::LogLevel::kError, __VA_ARGS__)
#define LOG_WARN_LIMITED(...)                                                                        \
  do {                                                                                               \
    static ::sidecar::LogLimit sidecar_log_limit;                                                    \
    if (::sidecar::log_enabled(::sidecar::LogLevel::kWarn)) {                                        \
      ::sidecar::internal::log_limited(::sidecar::LogLevel::kWarn, &sidecar_log_limit, __VA_ARGS__); \
    }                                                                                                \
  } while (false)
