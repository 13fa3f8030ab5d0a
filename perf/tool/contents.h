// What --check puts into a message, and looks for: a pattern that depends on the run and the message.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "core/hash.h"
#include "perf/tool/job.h"
#include "perf/tool/take.h"

namespace sidecar::perf {

inline std::uint64_t pattern_of(const std::string& run, std::uint64_t message) {
  return mix(std::hash<std::string>{}(run), message);
}

inline void fill(std::span<std::byte> bytes, std::uint64_t pattern) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = pattern + at * 0x9e3779b97f4a7c15u;
    std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
  }
}

inline void check(std::span<const std::byte> bytes, std::uint64_t size, std::uint64_t pattern) {
  if (bytes.size() != size)
    fail_measurement("wrong contents: " + std::to_string(bytes.size()) + " bytes instead of " +
                     std::to_string(size));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = pattern + at * 0x9e3779b97f4a7c15u;
    if (std::memcmp(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at)) != 0)
      fail_measurement("wrong contents at byte " + std::to_string(at));
  }
}

}  // namespace sidecar::perf
