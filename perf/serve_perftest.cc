// serve-perftest: a server for stock ucx_perftest clients; see perftest_server.h.
//
//   serve-perftest --port 13337 --poll adaptive &
//   ucx_perftest localhost -t ucp_am_lat -s 8
//
//   serve-perftest --compare    the same clients against us and against a stock server, in turns
#include <CLI/CLI.hpp>

#include "perf/perftest_pairs.h"
#include "perf/perftest_server.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

int compare(const std::string& poll, int pairs) {
  struct Transport {
    const char* name;
    const char* setting;
  };
  struct Test {
    const char* name;
    std::uint64_t bytes, iterations;
  };
  for (const Transport& transport :
       {Transport{"tcp", "UCX_TLS=tcp"}, Transport{"shared memory", "UCX_TLS=sysv,posix,cma,tcp"}}) {
    for (const Test& test : {Test{"ucp_am_lat", 8, 100'000}, Test{"ucp_am_bw", 1 << 20, 2'000}}) {
      auto result = run_perftest_pairs({.test = test.name,
                                        .message_bytes = test.bytes,
                                        .iterations = test.iterations,
                                        .pairs = pairs,
                                        .poll = poll,
                                        .environment = {transport.setting, "UCX_NET_DEVICES=lo",
                                                        "UCX_HANDLE_ERRORS=none", "UCX_MEM_EVENTS=n"},
                                        .server = {program_path("serve-perftest")}});
      if (!result) {
        std::fprintf(stderr, "serve-perftest: %s\n", to_string(result.error()).c_str());
        return 1;
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
}  // namespace sidecar::perf

int main(int argc, char** argv) {
  using namespace sidecar;
  perf::PerftestServerOptions options;
  std::string poll = poll_policy_name(options.session.policy);
  unsigned silence_s = static_cast<unsigned>(options.session.silence_max / kSecond);
  CLI::App app("Serves ucx_perftest clients (ucp_am_lat and ucp_am_bw), one after the other.");
  app.add_option("--port", options.port, "TCP port, 0 for any free one")->capture_default_str();
  app.add_option("--poll", poll, "event, adaptive or busy: sleep at once, spin a little first, never sleep")
      ->capture_default_str();
  app.add_option("--silence", silence_s, "Seconds after which a client that says nothing is given up")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  app.add_flag("--once", options.once, "End after the first client");
  app.add_flag("--quiet", options.quiet, "Say only what went wrong");
  bool compare = false;
  int pairs = 9;
  app.add_flag("--compare", compare, "Measure ucx_perftest against this server and against its own");
  app.add_option("--pairs", pairs, "How many pairs of runs --compare makes")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const auto policy = parse_poll_policy(poll);
  if (!policy) {
    std::fprintf(stderr, "serve-perftest: --%s\n", policy.error().what);
    return 1;
  }
  if (compare) return perf::compare(poll, pairs);
  options.session.policy = *policy;
  options.session.silence_max = silence_s * kSecond;
  options.session.hello_max = std::min(options.session.hello_max, options.session.silence_max);
  return perf::serve_perftest(options);
}
