// What a sidecar costs while nothing happens: heartbeats with eight peers.
#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr int kPeers = 8;
constexpr double kPercentMax = 0.5;

// CPU time of all threads, nanoseconds: from the scheduler, because /proc/PID/stat counts hundredths of a
// second. Where the kernel has no schedstat, from there all the same.
std::uint64_t cpu_ns(pid_t pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  std::uint64_t sum = 0;
  DIR* const tasks = ::opendir((process + "/task").c_str());
  if (tasks == nullptr) give_up("a sidecar has ended");
  while (const dirent* const task = ::readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    const std::string text = read_file(process + "/task/" + task->d_name + "/schedstat");
    sum += std::strtoull(text.c_str(), nullptr, 10);
  }
  ::closedir(tasks);
  if (sum > 0) return sum;
  const std::string stat = read_file(process + "/stat");
  unsigned long user = 0;
  unsigned long system = 0;
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos ||
      std::sscanf(stat.c_str() + name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                  &system) != 2) {
    give_up("cannot read a process's CPU time");
  }
  return (user + system) * (1'000'000'000u / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
}

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
  const pid_t pid = cluster->process(0).pid();
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
    const std::uint64_t before = cpu_ns(pid);
    sleep_ns(period_ns);
    const std::uint64_t used = cpu_ns(pid) - before;
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
