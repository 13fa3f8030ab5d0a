// What a sidecar costs while nothing happens: heartbeats with eight peers.
#include <cstdio>

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr int kPeers = 8;
constexpr double kPercentMax = 0.5;

void connect_all(Cluster& cluster) {
  Client hub = must(cluster.connect(0), "connecting");
  std::vector<Client> others;
  for (int rank = 1; rank <= kPeers; ++rank) others.push_back(must(cluster.connect(rank), "connecting"));
  const Object object{"hello", 5, 0};
  for (int rank = 1; rank <= kPeers; ++rank) {
    const std::string there = "to-" + std::to_string(rank);
    const std::string back = "from-" + std::to_string(rank);
    Client& other = others[static_cast<std::size_t>(rank - 1)];
    must(hub.send(object, there, {{rank}}), "send");
    must(other.recv(there), "recv");
    must(other.mark_done(there), "mark_done");
    must(other.send(object, back, {{0}}), "send");
    must(hub.recv(back), "recv");
    must(hub.mark_done(back), "mark_done");
  }
}

}  // namespace

std::vector<BenchRow> bench_idle(const BenchSettings& settings) {
  const auto cluster = start_cluster({.nodes = std::vector<std::string>(kPeers + 1, "a"), .arena = "16M"});
  connect_all(*cluster);
  sleep_ns(2'000'000'000);  // the clients' goodbyes
  const auto connected = client_internal::ask_peers(cluster->address(0), std::chrono::seconds(5));
  int up = 0;
  for (const auto& peer : must(connected, "asking for the peers")) up += peer.state == "connected" ? 1 : 0;
  if (up != kPeers) give_up("only " + std::to_string(up) + " peers are connected");

  const int periods = settings.quick ? 1 : 3;
  const std::uint64_t period_ns = settings.quick ? 3'000'000'000 : 10'000'000'000;
  Samples percent;
  for (int i = 0; i < periods; ++i) {
    const std::uint64_t begin = monotonic_ns();
    const std::uint64_t before = cluster->process(0).cpu_ns();
    sleep_ns(period_ns);
    const std::uint64_t used = cluster->process(0).cpu_ns() - before;
    percent.add(100.0 * static_cast<double>(used) / static_cast<double>(monotonic_ns() - begin));
  }
  BenchRow row;
  row.name = "idle-8-peers";
  row.value = percent.median();
  row.unit = "% core";
  row.bar = kPercentMax;
  row.numbers = {{"min", percent.min()},
                 {"max", percent.max()},
                 {"seconds", static_cast<double>(period_ns) * periods / 1e9}};
  char text[80];
  std::snprintf(text, sizeof text, "%.3f to %.3f over %d periods", percent.min(), percent.max(), periods);
  row.note = text;
  return {judged(std::move(row))};
}

}  // namespace sidecar::perf
