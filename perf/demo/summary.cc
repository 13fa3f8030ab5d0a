#include "perf/demo/summary.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "perf/cluster.h"

namespace sidecar::demo {
namespace {

using perf::counter;

constexpr std::uint64_t kSmallObjectsMax =
    1 << 20;  // the list and the hashes, which are bytes in messages on every path

std::string path_text(const Arrival& arrival) {
  return arrival.same_node ? arrival.path.path : arrival.path.path + " (" + arrival.path.transports + ")";
}

std::string number_text(const char* format, double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), format, number);
  return text.data();
}

}  // namespace

std::string mib_text(std::uint64_t bytes) {
  return number_text("%.1f MiB", static_cast<double>(bytes) / static_cast<double>(1 << 20));
}

Expected<void> check_path(const Arrival& arrival) {
  const std::uint64_t bytes = arrival.readers.front().bytes;
  const std::uint64_t mapped = counter(arrival.sidecar, "bytes_mapped");
  const std::uint64_t received = counter(arrival.sidecar, "bytes_received");
  const std::string rank = "rank " + std::to_string(arrival.rank);
  const auto wrong = [&](const std::string& text) {
    return Failure{Errc::kInternal, kNoRank, rank + ": " + text};
  };
  if (arrival.path.path != (arrival.same_node ? "shared memory" : "network")) {
    return wrong("was reached by " + arrival.path.path);
  }
  if (arrival.same_node ? mapped < bytes : mapped != 0)
    return wrong(std::to_string(mapped) + " bytes were mapped");
  if (arrival.same_node ? received > kSmallObjectsMax : received < bytes) {
    return wrong(std::to_string(received) + " bytes were received");
  }
  const std::uint64_t copied_out = counter(arrival.sidecar, "bytes_copied_out");
  if (copied_out != 0) return wrong(std::to_string(copied_out) + " bytes were copied to a consumer");
  return {};
}

void print_table(const std::vector<Arrival>& arrivals) {
  constexpr const char* kRow = "   %-13s  %-6s  %4s  %6s  %9s  %6s  %5s  %9s  %9s  %9s  %s\n";
  std::printf(kRow, "path", "to", "data", "chunks", "bytes", "time", "GB/s", "mapped", "network", "copied",
              "SHA-256");
  for (const Arrival& arrival : arrivals) {
    double seconds = 0;
    for (const Outcome& reader : arrival.readers) seconds = std::max(seconds, reader.seconds);
    const Outcome& first = arrival.readers.front();
    std::string right = std::to_string(first.data) + " of " + std::to_string(first.data) + " right";
    if (arrival.readers.size() > 1) right += ", twice";
    std::printf(kRow, path_text(arrival).c_str(), ("rank " + std::to_string(arrival.rank)).c_str(),
                std::to_string(first.data).c_str(), std::to_string(first.chunks).c_str(),
                mib_text(first.bytes).c_str(), number_text("%.2f s", seconds).c_str(),
                number_text("%.2f", static_cast<double>(first.bytes) / 1e9 / seconds).c_str(),
                mib_text(counter(arrival.sidecar, "bytes_mapped")).c_str(),
                mib_text(counter(arrival.sidecar, "bytes_received")).c_str(),
                mib_text(counter(arrival.sidecar, "bytes_copied_out")).c_str(), right.c_str());
  }
}

}  // namespace sidecar::demo
