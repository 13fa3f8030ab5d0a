// sidecar-perf: measures what the service does, in the manner of ucx_perftest. See --help.
#include <sched.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <optional>

#include "perf/report/report.h"
#include "perf/tool/compare.h"
#include "perf/tool/local.h"
#include "perf/tool/serve_perftest.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

void add_test_options(CLI::App& app, TestSettings& test, std::vector<std::string>& sizes) {
  std::string names;
  for (const TestKind& kind : all_tests()) {
    for (const char* part : {"\n  ", kind.name, ": ", kind.what, " [", kind.sizes}) names.append(part);
    if (kind.scale != nullptr) names.append("; -x ").append(kind.scale->at);
    names.append("]");
  }
  app.add_option("-t", test.test, "the test:" + names);
  app.add_option("-s", sizes, "sizes: 4K,64K or 4K:256M (doubling)")->delimiter(',');
  app.add_option("-x,--at", test.at,
                 "scale_*: of how much there is meanwhile, one line each: 1,100,10K or 1:16 (doubling). K is "
                 "1000, and 1024 in an arena's size")
      ->delimiter(',');
  app.add_option("-n", test.iterations, "iterations; without it as many as fit into -D");
  app.add_option("-w", test.warmup, "warm-up iterations [a tenth]");
  app.add_option("-D", test.seconds, "seconds that one measurement should take")->capture_default_str();
  app.add_option("-O", test.outstanding, "sends at once [the test's own]");
  app.add_option("--spacing-us", test.spacing_us,
                 "pause before each send, in which everybody falls asleep: for one send at a time")
      ->capture_default_str();
  app.add_option("--poll", test.poll,
                 "event, adaptive or busy, of both executors and with --local of sidecars")
      ->check(CLI::IsMember({"event", "adaptive", "busy"}))
      ->capture_default_str();
  app.add_option("--path", test.path, "with --local: net (two nodes, TCP) or local (one node)")
      ->check(CLI::IsMember({"net", "local"}))
      ->capture_default_str();
  app.add_option("--groups", test.groups, "fanout's receivers, manytoone's senders")->capture_default_str();
  app.add_option("--arena", test.arena, "with --local: of each sidecar [what the test needs]");
  app.add_option("--env", test.environment,
                 "NAME=VALUE for the sidecars and the other end that --local starts, such as UCX_... and "
                 "SIDECAR_...; may be given again. With --compare the defaults are measured against it")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.find('=') + 1 > 1 ? "" : text + ": NAME=VALUE is wanted";
      });
  app.add_flag("--small-pages", test.small_pages, "--env's way to do without huge pages");
  app.add_flag("--own-memory", test.own_memory, "send from private memory, not from allocated buffers");
  app.add_flag("--check", test.check, "fill in and compare contents (not for figures)");
  app.add_flag("--compare", test.compare, "beside raw UCX or memcpy, in pairs");
  app.add_option(
         "--reference", test.reference,
         "of --compare, for bandwidth: perftest, one buffer for all; or raw, bare UCX with a buffer for "
         "each message that is under way [perftest where it is installed and both ends are here]")
      ->check(CLI::IsMember({"perftest", "raw"}));
  app.add_option("--pairs", test.pairs, "of --compare")->capture_default_str();
}

Job job_of(const TestKind& kind, const TestSettings& test, std::uint64_t size, std::uint64_t x) {
  Job job;
  job.size = size;
  job.x = x;
  job.outstanding = test.outstanding > 0 ? test.outstanding : kind.outstanding;
  job.check = test.check;
  job.own_memory = test.own_memory;
  job.local = test.path == "local";
  job.spacing_ns = test.spacing_us * 1000;
  job.poll = test.poll;
  return job;
}

void measure(Session& session, Session* defaults, const TestKind& kind, const TestSettings& test,
             std::uint64_t size, std::uint64_t x, Output& output) {
  Job job = job_of(kind, test, size, x);
  if (kind.scale != nullptr) session.run(kind, job);  // makes that much, and measures nothing
  job.count = test.iterations > 0 ? test.iterations : session.calibrate(kind, job, test.seconds);
  Job warmup = job;
  warmup.count = test.warmup > 0 ? test.warmup : std::max<std::uint64_t>(job.count / 10, 1);
  session.run(kind, warmup);
  if (defaults != nullptr) defaults->run(kind, warmup);
  Result result;
  result.test = &kind;
  result.path = test.path;
  result.size = size;
  result.x = x;
  result.outstanding = job.outstanding;
  result.copies = kind.name == std::string("fanout") ? session.other_ranks().size() : 1;
  result.poll = test.poll;
  result.settings = hand_set(test);
  if (test.own_memory) result.settings += result.settings.empty() ? "private memory" : ", private memory";
  result.recorder = session.run(kind, job, [&](const Recorder& so_far) {
    Result interim = result;
    interim.recorder = so_far;
    output.progress(interim);
  });
  result.transports = kind.initiators > 0 ? session.transports() : "";
  if (test.compare) result.compared = compare(session, kind, test, job, defaults);
  output.show(result);
}

void measure_all(Session& session, Session* defaults, const TestKind& kind, const TestSettings& test,
                 const std::vector<std::uint64_t>& sizes, const std::vector<std::uint64_t>& at,
                 Output& output) {
  const auto leave_nothing = [&] {
    if (kind.scale != nullptr) session.run(kind, job_of(kind, test, 0, 0));
  };
  try {
    for (const std::uint64_t x : at)
      for (const std::uint64_t size : sizes) measure(session, defaults, kind, test, size, x, output);
  } catch (...) {
    try {
      leave_nothing();
    } catch (const std::exception&) {  // what came first is what to tell
    }
    throw;
  }
  leave_nothing();
  session.farewell();
}

// Sidecars and another end without what was set by hand, beside those that have it; they rest while those
// work.
struct Defaults {
  Defaults(const TestKind& kind, TestSettings test, const std::vector<std::uint64_t>& sizes,
           const std::vector<std::uint64_t>& at)
      : setup(kind, without(std::move(test)), sizes, at), session(setup.connect()) {}
  static TestSettings without(TestSettings test) {
    test.environment.clear();
    test.small_pages = false;
    return test;
  }
  const LocalSetup setup;
  Session session;
};

void run_test(const Settings& settings, const TestSettings& test, Output& output) {
  const TestKind& kind = find_test(test.test);
  const auto sizes = test.sizes.empty() ? parse_sizes(kind.sizes) : test.sizes;
  const auto at = values_of_x(kind, test.at);
  const bool by_hand = !hand_set(test).empty();
  if (by_hand && !settings.local) fail_measurement("--env and --small-pages are for --local");
  if (by_hand && test.compare && test.poll == "busy")
    fail_measurement("--poll busy: the sidecars that are not measured would take the others' cores");
  if (by_hand && test.compare && kind.scale != nullptr)
    fail_measurement("--env and --small-pages with --compare: not for " + test.test);
  if (settings.local) {
    output.begin(test);
    const auto measure_at = [&](const std::vector<std::uint64_t>& some) {
      const LocalSetup setup(kind, test, sizes, some);
      Session session = setup.connect();
      std::optional<Defaults> defaults;
      if (by_hand && test.compare) defaults.emplace(kind, test, sizes, some);
      measure_all(session, defaults ? &defaults->session : nullptr, kind, test, sizes, some, output);
      if (defaults) defaults->session.farewell();
    };
    if (kind.scale == nullptr || !kind.scale->of_arena) return measure_at(at);
    for (const std::uint64_t x : at) measure_at({x});
    return;
  }
  if (kind.scale != nullptr && kind.scale->local_only)
    fail_measurement(test.test + " needs --local: it measures sidecars that it starts itself");
  output.begin(test);
  const End own(settings.sidecars);
  Session session(connect_control(settings.host, settings.port, std::chrono::seconds(10)), own);
  measure_all(session, nullptr, kind, test, sizes, at, output);
}

// Each line has the options of one test, after a name for it; # begins a comment.
std::vector<TestSettings> read_batch(const std::string& path, const TestSettings& defaults) {
  std::ifstream file(path);
  if (!file) fail_measurement("cannot read " + path);
  std::vector<TestSettings> tests;
  for (std::string line; std::getline(file, line);) {
    line = line.substr(0, line.find('#'));
    const std::size_t options = line.find(" -");
    if (line.find_first_not_of(" \t") == line.npos) continue;
    if (options == line.npos)
      fail_measurement(std::string(path).append(": a line is a name and options: ").append(line));
    CLI::App app("a line of " + path);
    TestSettings& test = tests.emplace_back(defaults);
    std::vector<std::string> sizes;
    add_test_options(app, test, sizes);
    app.parse(line.substr(options));
    for (const std::string& part : sizes)
      for (const std::uint64_t size : parse_sizes(part)) test.sizes.push_back(size);
  }
  return tests;
}

void pin_to(const std::string& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : parse_cpus(cpus)) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0)
    fail_measurement("-c " + cpus + ": not CPUs of this machine");
}

void wait_for_initiators(const Settings& settings) {
  const End own(settings.sidecars);
  const ControlListener listener("", settings.port);
  char host[256] = "this-host";
  gethostname(host, sizeof host - 1);
  if (!settings.once)
    std::fprintf(stderr,
                 "waiting; on the other host: sidecar-perf %s -p %u --sidecar RANK@HOST:PORT -t TEST\n", host,
                 static_cast<unsigned>(listener.port()));
  serve(listener, own, settings.once);
}

int run(const Settings& settings) {
  if (!settings.cpus.empty()) pin_to(settings.cpus);
  const bool waits = settings.host.empty() && !settings.local;
  if (waits) {
    wait_for_initiators(settings);
    return 0;
  }
  Output output(settings.output);
  if (!settings.batch.empty()) {
    for (const TestSettings& test : read_batch(settings.batch, settings.test))
      run_test(settings, test, output);
    return 0;
  }
  if (settings.test.test.empty()) fail_measurement("which test? See -t in --help");
  run_test(settings, settings.test, output);
  return 0;
}

int run_report(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(
        stderr,
        "usage: sidecar-perf report DIR\nTurns DIR/*.jsonl, made with --json, into DIR/report.html and "
        "DIR/report.md.\n");
    return 2;
  }
  return report(argv[2], std::cout, std::cerr);
}

int run_main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "report") return run_report(argc, argv);
  if (argc > 1 && std::string_view(argv[1]) == "--serve-perftest")
    return run_perftest_server(argc - 1, argv + 1);
  CLI::App app(
      "Measures the service beside the machine's own speed. On two hosts: `sidecar-perf` on one, "
      "`sidecar-perf "
      "HOST -t TEST` on the other, each beside running sidecars; or `sidecar-perf --local -t TEST` on one "
      "machine, which starts and stops them. `sidecar-perf report DIR` makes a page of charts of what --json "
      "wrote. `sidecar-perf --serve-perftest` "
      "serves stock ucx_perftest clients (--help after it).",
      "sidecar-perf");
  Settings settings;
  std::vector<std::string> sizes, sidecars;
  app.add_option("HOST", settings.host, "where another sidecar-perf waits; without it this one waits");
  app.add_flag("--local", settings.local, "both ends, and their sidecars, on this machine");
  app.add_option("-p", settings.port, "port for what the two ends tell each other")->capture_default_str();
  app.add_option(
      "--sidecar", sidecars,
      "RANK@HOST:PORT[/NODE] of a sidecar beside this end; several for tests with several executors "
      "[as SIDECAR_RANK and SIDECAR_ADDRESS say]");
  app.add_flag("--once", settings.once, "the waiting side ends after one other end");
  app.add_option("-c", settings.cpus, "CPUs for everything that is started here, such as 0,2-3");
  app.add_option("-b", settings.batch, "a file of tests, one a line: a name, then options; see perf/sweeps");
  app.add_flag("-f", settings.output.final_only, "final lines only");
  app.add_flag("-v", settings.output.csv, "CSV");
  app.add_flag("--json", settings.output.json, "one JSON object a line");
  add_test_options(app, settings.test, sizes);
  CLI11_PARSE(app, argc, argv);
  try {
    for (const std::string& part : sizes)
      for (const std::uint64_t size : parse_sizes(part)) settings.test.sizes.push_back(size);
    for (const std::string& text : sidecars) settings.sidecars.push_back(parse_beside(text));
    if (settings.sidecars.empty()) {
      const ClientOptions options = take(ClientOptions::from_env(), "the environment");
      const Rank rank = options.rank == kNoRank ? 0 : options.rank;
      settings.sidecars.push_back({rank, options.address, options.node});
    }
    return run(settings);
  } catch (const CLI::Error& error) {
    std::fprintf(stderr, "sidecar-perf: %s: %s\n", settings.batch.c_str(), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sidecar-perf: %s\n", error.what());
  }
  return 1;
}

}  // namespace
}  // namespace sidecar::perf

int main(int argc, char** argv) { return sidecar::perf::run_main(argc, argv); }
