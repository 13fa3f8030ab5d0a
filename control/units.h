// Sizes and durations as people write them.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "core/types.h"

namespace sidecar {

// "4096", "64K", "1.5G", "2GiB": bytes, in powers of 1024.
tl::expected<std::uint64_t, std::string> parse_size(std::string_view text);
// "250ms", "30s", "10m", "1h", a bare number of seconds, or "never" (kNever).
tl::expected<TimeNs, std::string> parse_duration(std::string_view text);

std::string size_text(std::uint64_t bytes);
std::string duration_text(TimeNs duration);

}  // namespace sidecar
