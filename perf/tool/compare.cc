#include "perf/tool/compare.h"

#include <cstring>
#include <string_view>

#include "perf/chain_reference.h"
#include "perf/perftest_client.h"
#include "perf/tool/flow.h"
#include "perf/tool/meanwhile.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kKiB = 1 << 10, kMiB = 1 << 20;
constexpr std::uint64_t kChainMax = 5000;
constexpr std::uint64_t kEndless = 1'000'000'000;
constexpr double kWithin = 0.95;  // defaults, of the best that was set by hand

struct Reference {
  std::string name;
  std::function<double()> measure;
};

double percentile_us(const Recorder& recorder, double percent) {
  return static_cast<double>(recorder.times().percentile(percent)) / 1e3;
}
double p50_us(const Recorder& recorder) { return percentile_us(recorder, 50); }
double mib_s(const Recorder& recorder, const Job& job) {
  return static_cast<double>(recorder.times().count()) * static_cast<double>(job.size) /
         static_cast<double>(kMiB) / recorder.seconds();
}

double memcpy_us(std::uint64_t size) {
  static std::vector<std::byte> from, to;
  from.resize(size, std::byte{1});
  to.resize(size, std::byte{2});
  Samples times;
  for (int i = 0; i < 9; ++i) {
    const std::uint64_t begin = monotonic_ns();
    std::memcpy(to.data(), from.data(), size);
    asm volatile("" : : "r"(to.data()) : "memory");
    times.add(static_cast<double>(monotonic_ns() - begin) / 1e3);
  }
  return times.median();
}

std::optional<Reference> perftest_for(const std::string& test, const TestSettings& settings, const Job& job) {
  PerftestRun run{.test = "ucp_am_bw",
                  .size = job.size,
                  .count = std::max<std::uint64_t>(job.count, 4),
                  .warmup = 2ull * job.outstanding,
                  .outstanding = job.outstanding,
                  .sleeps = settings.poll == "event"};
  const std::string waits = run.sleeps ? ", sleeping" : "";
  if (test == "chunk_bw" || test == "sharded")
    return Reference{"ucx_perftest ucp_am_bw" + waits,
                     [run] { return run_perftest(run, perftest_environment()).overall_mib_s; }};
  if (test == "manytoone") {
    run.sleeps = true;  // there are not so many cores
    return Reference{"as many ucx_perftest ucp_am_bw, sleeping, together", [run, many = settings.groups] {
                       return run_perftests_at_once(run, many, perftest_environment());
                     }};
  }
  if (test == "stream") {
    const PerftestRun beside{.test = "ucp_am_bw",
                             .size = kBackgroundBytes,
                             .count = kEndless,
                             .outstanding = 2,
                             .sleeps = run.sleeps};
    run = {
        .test = "ucp_am_lat", .size = job.size, .count = job.count, .sleeps = run.sleeps, .percentile = 99};
    return Reference{"ucx_perftest ucp_am_lat beside ucp_am_bw of 64 MiB, 99 %" + waits, [run, beside] {
                       const PerftestLoad load(beside, perftest_environment());
                       return run_perftest(run, perftest_environment()).typical_us;
                     }};
  }
  return std::nullopt;
}

Reference bare_ucx(Session& session, const std::string& test, Job job, const std::string& name) {
  job.bare = true;
  return {name, [&session, test, job] {
            const Recorder recorder = session.run(find_test(test), job);
            return test == "am_lat" ? p50_us(recorder) : mib_s(recorder, job);
          }};
}

std::optional<Reference> reference_for(Session& session, const std::string& test,
                                       const TestSettings& settings, const Job& job) {
  const bool local = settings.path == "local";
  if (test == "am_lat" || test == "am_bw") return bare_ucx(session, test, job, "a bare progress loop");
  if (test == "object_cpu" && session.watched()) {
    Job echo = job;
    echo.bare = true;
    return Reference{"a raw UCX echo of as many at once", [&session, echo] {
                       return session.run(find_test("am_lat"), echo).more.at(kOtherEndCpu);
                     }};
  }
  if (test == "d2h_send")
    return Reference{"a plain copy into pinned memory",
                     [size = job.size] { return plain_gpu_copy_us(size); }};
  const bool perftest = has_perftest() && session.other_host().starts_with("127.");
  if (settings.reference == "perftest" && !perftest)
    fail_measurement("--reference perftest: ucx_perftest is not installed, or the other end is not here");
  if (!local && perftest && settings.reference != "raw") return perftest_for(test, settings, job);
  if (!local && test == "chunk_bw")
    return bare_ucx(session, "am_bw", job, "bare UCX, a buffer for each message under way");
  if (test == "object_lat" && local) {
    const std::uint64_t count = std::min<std::uint64_t>(job.count, kChainMax);
    return Reference{"raw_chain: three hops of bare UCX",
                     [=] { return raw_chain_us(count, count / 10 + 1, job.spacing_ns); }};
  }
  if (local && (test == "chunk_lat" || test == "allocate_send"))
    return Reference{"memcpy", [size = job.size] { return memcpy_us(size); }};
  return std::nullopt;
}

// The bars that hold for any machine; see perf/NOTES.md.
void set_bar(Compared& compared, const TestSettings& settings, const Job& job, std::string_view test) {
  const auto least = [&](double bar) { compared.bar = bar, compared.bar_is = Bar::kAtLeast; };
  const auto most = [&](double bar) { compared.bar = bar, compared.bar_is = Bar::kAtMost; };
  if (test == "chunk_bw" && settings.path == "net") {
    if (job.own_memory && job.size >= kMiB) return least(0.65);
    if (job.own_memory) return;
    if (job.size >= kMiB) return least(0.95);
    if (job.size == 256 * kKiB) return least(0.85);
    if (job.size == 64 * kKiB && job.outstanding == 16) return least(0.70);
  }
  if (test == "am_lat" && settings.path == "net" && settings.poll == "busy") return most(1.05);
  if (test == "am_lat" && settings.path == "net" && settings.poll == "event") return most(1.10);
  if (test == "object_lat" && settings.path == "local" && settings.poll == "event") return most(1.3);
  if (test == "object_cpu" && settings.path == "local" && settings.poll == "event") return most(6);
  if (test == "manytoone" && settings.path == "net" && settings.groups == 8) return least(0.9);
  if (test == "stream" && settings.path == "net") return most(3);
}

}  // namespace

std::optional<Compared> compare(Session& session, const TestKind& test, const TestSettings& settings,
                                const Job& job, Session* defaults) {
  const std::string name = test.name;
  const bool cpu = name == "object_cpu";
  const bool times = test.latency || cpu || name == "allocate_send" || name == "d2h_send";
  const double percent = name == "stream" ? 99 : 50;
  const auto run_in = [&](Session& where) {
    const Recorder recorder = where.run(test, job);
    return cpu     ? recorder.more.at(kSidecarCpu)
           : times ? percentile_us(recorder, percent)
                   : mib_s(recorder, job);
  };
  const auto reference = defaults != nullptr ? Reference{"what was set by hand, for our defaults",
                                                         [&] { return run_in(session); }}
                                             : reference_for(session, name, settings, job);
  if (!reference) return std::nullopt;
  Session& ours = defaults != nullptr ? *defaults : session;
  Pairs pairs = run_pairs(settings.pairs, [&] { return run_in(ours); }, reference->measure);
  Compared compared{reference->name,        cpu ? "us of CPU time" : times ? "us" : "MiB/s",
                    std::move(pairs.ours),  std::move(pairs.reference),
                    std::move(pairs.ratio), std::nullopt};
  if (defaults == nullptr) {
    set_bar(compared, settings, job, name);
  } else {  // within 5 % of the best
    compared.bar = times ? 1 / kWithin : kWithin;
    compared.bar_is = times ? Bar::kAtMost : Bar::kAtLeast;
  }
  return compared;
}

}  // namespace sidecar::perf
