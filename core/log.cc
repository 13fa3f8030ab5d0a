#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>

namespace sidecar {
namespace {

constexpr std::array<std::string_view, 6> kLevelNames{"trace", "debug", "info", "warn", "error", "off"};

// The level is kept apart from spdlog so that a disabled line costs one load.
struct Log {
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<LogLevel> level{LogLevel::kInfo};
  bool level_from_environment = false;

  Log() : logger(std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
    logger->set_level(spdlog::level::trace);
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    const char* wish = std::getenv("SIDECAR_LOG");
    LogLevel parsed;
    if (wish != nullptr && parse_log_level(wish, &parsed)) {
      level = parsed;
      level_from_environment = true;
    } else if (wish != nullptr && *wish != '\0') {
      logger->warn("SIDECAR_LOG={} is none of trace, debug, info, warn, error, off: ignored", wish);
    }
  }
};

// Never destroyed: threads may log until the process ends.
Log& the_log() {
  static Log* const log = new Log;
  return *log;
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace: return spdlog::level::trace;
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
    case LogLevel::kOff: return spdlog::level::off;
  }
  return spdlog::level::off;
}

TimeNs steady_now() {
  return static_cast<TimeNs>(std::chrono::steady_clock::now().time_since_epoch() /
                             std::chrono::nanoseconds(1));
}

}  // namespace

bool log_enabled(LogLevel level) noexcept { return level >= the_log().level.load(std::memory_order_relaxed); }

void log_write(LogLevel level, std::string_view text) noexcept {
  if (!log_enabled(level)) return;
  try {
    the_log().logger->log(to_spdlog(level), spdlog::string_view_t(text.data(), text.size()));
  } catch (...) {  // spdlog reports its own errors; a lost log line must not end the process
  }
}

void set_default_log_level(LogLevel level) noexcept {
  if (!the_log().level_from_environment) the_log().level = level;
}

void set_log_level(LogLevel level) noexcept { the_log().level = level; }

void set_log_name(std::string_view name) {
  std::string escaped;  // the name becomes part of spdlog's pattern
  for (const char c : name) escaped.append(c == '%' ? "%%" : std::string(1, c));
  the_log().logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %L " + escaped + ": %v");
}

bool parse_log_level(std::string_view name, LogLevel* level) noexcept {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
    if (name != kLevelNames[i]) continue;
    *level = static_cast<LogLevel>(i);
    return true;
  }
  return false;
}

bool LogLimit::admit(TimeNs now, std::uint64_t* suppressed) noexcept {
  TimeNs next = next_.load(std::memory_order_relaxed);
  if (now < next || !next_.compare_exchange_strong(next, now + kSecond, std::memory_order_relaxed)) {
    suppressed_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  *suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
  return true;
}

namespace internal {

void log_format(LogLevel level, fmt::string_view format, fmt::format_args args) noexcept {
  try {
    fmt::memory_buffer text;
    fmt::vformat_to(std::back_inserter(text), format, args);
    log_write(level, {text.data(), text.size()});
  } catch (...) {  // out of memory, or a formatter that throws: the line is lost, nothing else
  }
}

void log_format_limited(LogLevel level, LogLimit* limit, fmt::string_view format,
                        fmt::format_args args) noexcept {
  std::uint64_t suppressed = 0;
  if (!limit->admit(steady_now(), &suppressed)) return;
  try {
    fmt::memory_buffer text;
    fmt::vformat_to(std::back_inserter(text), format, args);
    if (suppressed > 0) fmt::format_to(std::back_inserter(text), " ({} more like this)", suppressed);
    log_write(level, {text.data(), text.size()});
  } catch (...) {  // as above
  }
}

}  // namespace internal
}  // namespace sidecar
