//   sidecar-perf --serve-perftest -p 13337 --poll adaptive &
//   ucx_perftest localhost -t ucp_am_lat -s 8
//
//   sidecar-perf --serve-perftest --compare    the same clients against us and against a stock server, in
//   turns
#include "perf/tool/serve_perftest.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "perf/perftest/pairs.h"
#include "perf/perftest/server.h"
#include "perf/process.h"
#include "perf/tool/result.h"

namespace sidecar::perf {
namespace {

void show_json(const std::string& test, const char* path, const char* transports, std::uint64_t size,
               std::uint64_t iterations, const std::string& poll, PerftestPairs& pairs) {
  const bool latency = test == "ucp_am_lat";
  nlohmann::ordered_json json{{"test", latency ? "served_am_lat" : "served_am_bw"},
                              {"path", path},
                              {"size", size},
                              {"iterations", iterations}};
  if (latency) {
    json["latency_us"] = {{"average", pairs.ours.median()}};
  } else {
    json["bandwidth_mib_s"] = {{"overall", pairs.ours.median()}};
  }
  add_reference(json, "a stock ucx_perftest server", pairs.unit, pairs.ours, pairs.stock, pairs.ratio);
  add_machine(json, this_machine(), transports, poll);
  std::printf("%s\n", json.dump().c_str());
  std::fflush(stdout);
}

int compare(const std::string& poll, int pairs, bool json) {
  struct Transport {
    const char* path;
    const char* name;
    const char* setting;
  };
  struct Test {
    const char* name;
    std::uint64_t bytes, iterations;
  };
  for (const Transport& transport : {Transport{"net", "tcp", "UCX_TLS=tcp"},
                                     Transport{"local", "shared memory", "UCX_TLS=sysv,posix,cma,tcp"}}) {
    for (const Test& test : {Test{"ucp_am_lat", 8, 100'000}, Test{"ucp_am_bw", 1 << 20, 2'000}}) {
      auto result = run_perftest_pairs({.test = test.name,
                                        .message_bytes = test.bytes,
                                        .iterations = test.iterations,
                                        .pairs = pairs,
                                        .poll = poll,
                                        .environment = {transport.setting, "UCX_NET_DEVICES=lo",
                                                        "UCX_HANDLE_ERRORS=none", "UCX_MEM_EVENTS=n"},
                                        .server = {program_path("sidecar-perf"), "--serve-perftest"}});
      if (!result) {
        std::fprintf(stderr, "sidecar-perf: %s\n", to_string(result.error()).c_str());
        return 1;
      }
      if (json) {
        show_json(test.name, transport.path, transport.name, test.bytes, test.iterations, poll, *result);
        continue;
      }
      std::printf("%s %llu bytes, %s, %s: ours %.4g, stock %.4g %s; median ratio %.3f (%.3f to %.3f)\n",
                  test.name, static_cast<unsigned long long>(test.bytes), transport.name, poll.c_str(),
                  result->ours.median(), result->stock.median(), result->unit.c_str(), result->ratio.median(),
                  result->ratio.min(), result->ratio.max());
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace

int run_perftest_server(int argc, char** argv) {
  PerftestServerOptions options;
  std::string poll = poll_policy_name(options.session.policy);
  unsigned silence_s = static_cast<unsigned>(options.session.silence_max / kSecond);
  CLI::App app("Serves ucx_perftest clients (ucp_am_lat and ucp_am_bw), one after the other.",
               "sidecar-perf --serve-perftest");
  app.add_option("-p,--port", options.port, "TCP port, 0 for any free one")->capture_default_str();
  app.add_option("--poll", poll, "event, adaptive or busy: sleep at once, spin a little first, never sleep")
      ->capture_default_str();
  app.add_option("--silence", silence_s, "Seconds after which a client that says nothing is given up")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_flag("--once", options.once, "End after the first client");
  app.add_flag("--quiet", options.quiet, "Say only what went wrong");
  bool compares = false;
  bool json = false;
  int pairs = 9;
  app.add_flag("--compare", compares, "Measure ucx_perftest against this server and against its own");
  app.add_option("--pairs", pairs, "How many pairs of runs --compare makes")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_flag("--json", json, "With --compare: one JSON object a line, for the report");
  CLI11_PARSE(app, argc, argv);

  const auto policy = parse_poll_policy(poll);
  if (!policy) {
    std::fprintf(stderr, "sidecar-perf: --%s\n", policy.error().what);
    return 1;
  }
  if (compares) return compare(poll, pairs, json);
  options.session.policy = *policy;
  options.session.silence_max = silence_s * kSecond;
  options.session.hello_max = std::min(options.session.hello_max, options.session.silence_max);
  return serve_perftest(options);
}

}  // namespace sidecar::perf
