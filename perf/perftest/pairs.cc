#include "perf/perftest/pairs.h"

#include <algorithm>
#include <sstream>

#include "perf/port.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

constexpr const char* kStock = "/usr/bin/ucx_perftest";
constexpr std::chrono::minutes kRunMax{5};
constexpr std::chrono::seconds kStartMax{10};

using Words = std::vector<std::string>;

// The numbers of a line of ucx_perftest -v; empty for any other line.
std::vector<double> numbers_of(const std::string& line) {
  std::vector<double> numbers;
  std::istringstream text(line);
  for (std::string column; std::getline(text, column, ',');) {
    char* end = nullptr;
    numbers.push_back(std::strtod(column.c_str(), &end));
    if (end == column.c_str()) return {};
  }
  return numbers;
}

// One run of the client. Nothing: it gave no result.
std::optional<double> run_client(const PerftestPairsOptions& options, std::uint16_t port) {
  Process client(
      {.argv = {kStock, "127.0.0.1", "-p", std::to_string(port), "-t", options.test, "-s",
                std::to_string(options.message_bytes), "-n", std::to_string(options.iterations), "-f", "-v"},
       .environment = options.environment,
       .talk = true});
  // iterations, percentile latency, average latency, overall latency, average bandwidth, overall bandwidth,
  // ...
  std::vector<double> last;
  while (const auto line = client.read_line(kRunMax)) {
    if (auto numbers = numbers_of(*line); numbers.size() == 8) last = std::move(numbers);
  }
  if (last.empty() || client.wait(kStartMax) != Ending{0, 0}) return std::nullopt;
  return options.test == "ucp_am_lat" ? last[3] : last[5];
}

std::optional<double> measure(const PerftestPairsOptions& options, const Words& server,
                              const char* port_option) {
  const ReservedPort port;
  Words argv = server;
  argv.insert(argv.end(), {port_option, std::to_string(port.number())});
  Process process({.argv = argv, .environment = options.environment, .log = "/dev/null"});
  if (!wait_until_listening(port.number(), [&] { return process.running(); })) return std::nullopt;
  const auto result = run_client(options, port.number());
  process.wait(kStartMax);  // both end after one client
  return result;
}

}  // namespace

Result<PerftestPairs> run_perftest_pairs(const PerftestPairsOptions& options) {
  Words our_server = options.server;
  our_server.insert(our_server.end(), {"--once", "--quiet", "--poll", options.poll});
  PerftestPairs pairs;
  pairs.unit = options.test == "ucp_am_lat" ? "us" : "MiB/s";
  for (int i = 0; i < options.pairs; ++i) {
    std::optional<double> ours, stock;
    for (const bool our_turn : {i % 2 == 0, i % 2 != 0}) {
      if (our_turn) {
        ours = measure(options, our_server, "--port");
      } else {
        stock = measure(options, {kStock}, "-p");
      }
    }
    if (!ours) return fail(Errc::kIo, "ucx_perftest got no result from our server");
    if (!stock || *stock <= 0) return fail(Errc::kIo, "ucx_perftest got no result from a stock server");
    pairs.ours.add(*ours);
    pairs.stock.add(*stock);
    pairs.ratio.add(*ours / *stock);
  }
  return pairs;
}

}  // namespace sidecar::perf
