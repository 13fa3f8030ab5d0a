// serve-perftest: a server for stock ucx_perftest clients; see perftest_server.h.
//
//   serve-perftest --port 13337 --poll adaptive &
//   ucx_perftest localhost -t ucp_am_lat -s 8
#include <CLI/CLI.hpp>

#include "perf/perftest_server.h"

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
  CLI11_PARSE(app, argc, argv);

  const auto policy = parse_poll_policy(poll);
  if (!policy) {
    std::fprintf(stderr, "serve-perftest: --%s\n", policy.error().what);
    return 1;
  }
  options.session.policy = *policy;
  options.session.silence_max = silence_s * kSecond;
  options.session.hello_max = std::min(options.session.hello_max, options.session.silence_max);
  return perf::serve_perftest(options);
}
