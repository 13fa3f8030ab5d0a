#include "perf/perftest_client.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sstream>
#include <thread>

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr const char* kProgram = "/usr/bin/ucx_perftest";
constexpr std::chrono::minutes kRunMax{2};
constexpr std::uint64_t kUnderWayNs = 500'000'000;  // for two processes to connect and warm up

std::vector<std::string> arguments(const PerftestRun& run, std::uint16_t port) {
  std::vector<std::string> list{kProgram,
                                "-t",
                                run.test,
                                "-s",
                                std::to_string(run.size),
                                "-n",
                                std::to_string(run.count),
                                "-w",
                                std::to_string(run.warmup),
                                "-O",
                                std::to_string(run.outstanding),
                                "-p",
                                std::to_string(port),
                                "-R",
                                std::to_string(run.percentile),
                                "-f",
                                "-v"};
  if (run.sleeps) list.insert(list.end(), {"-E", "sleep"});
  return list;
}

}  // namespace

std::vector<std::string> perftest_environment() {
  return {"UCX_TLS=tcp",
          "UCX_NET_DEVICES=lo",
          "UCX_TCP_TX_SEG_SIZE=64K",
          "UCX_TCP_RX_SEG_SIZE=256K",
          "UCX_TCP_SNDBUF=512K",
          "UCX_TCP_CONN_NB=y",
          "UCX_TCP_CM_REUSEADDR=y",
          "UCX_MAX_RNDV_RAILS=1",
          "UCX_KEEPALIVE_INTERVAL=1s",
          "UCX_ALLOC_PRIO=thp,mmap,heap",
          "UCX_HANDLE_ERRORS=none",
          "UCX_MEM_EVENTS=n"};
}

bool has_perftest() { return access(kProgram, X_OK) == 0; }

Process start_perftest_server(const PerftestRun& run, std::uint16_t port,
                              const std::vector<std::string>& environment) {
  Process server({.argv = arguments(run, port), .environment = environment, .log = "/dev/null"});
  if (!wait_until_listening(port, [&] { return server.running(); })) give_up("ucx_perftest does not listen");
  return server;
}

PerftestFigures run_perftest_client(const PerftestRun& run, const std::string& host, std::uint16_t port,
                                    const std::vector<std::string>& environment) {
  std::vector<std::string> argv = arguments(run, port);
  argv.insert(argv.begin() + 1, host);
  Process client({.argv = std::move(argv), .environment = environment, .talk = true});
  // iterations, percentile latency, average latency, overall latency, average bandwidth, overall bandwidth,
  // average rate, overall rate
  std::vector<double> last;
  while (const auto line = client.read_line(kRunMax)) {
    std::vector<double> columns;
    std::istringstream text(*line);
    for (std::string column; std::getline(text, column, ',');) {
      char* end = nullptr;
      columns.push_back(std::strtod(column.c_str(), &end));
      if (end == column.c_str()) columns.clear();
    }
    if (columns.size() == 8) last = columns;
  }
  if (last.empty()) give_up("ucx_perftest gave no result");
  return {last[1], last[2], last[3], last[4], last[5], last[6], last[7]};
}

double run_perftests_at_once(const PerftestRun& run, std::size_t many,
                             const std::vector<std::string>& environment) {
  std::vector<double> figures(many);
  {
    std::vector<std::jthread> threads;
    for (double& figure : figures)
      threads.emplace_back([&] { figure = run_perftest(run, environment).overall_mib_s; });
  }
  return std::accumulate(figures.begin(), figures.end(), 0.0);
}

PerftestLoad::PerftestLoad(const PerftestRun& run, const std::vector<std::string>& environment)
    : server_(start_perftest_server(run, port_.number(), environment)) {
  std::vector<std::string> argv = arguments(run, port_.number());
  argv.insert(argv.begin() + 1, "127.0.0.1");
  client_ = Process({.argv = std::move(argv), .environment = environment, .log = "/dev/null"});
  sleep_ns(kUnderWayNs);
}

PerftestFigures run_perftest(const PerftestRun& run, const std::vector<std::string>& environment) {
  const ReservedPort port;
  const Process server = start_perftest_server(run, port.number(), environment);
  return run_perftest_client(run, "127.0.0.1", port.number(), environment);
}

}  // namespace sidecar::perf
