// raw_chain: the least that three hops over shared memory cost. Four processes P -> A -> B -> C pass the same
// bytes with raw UCX active messages; each sleeps on its worker's descriptor while there is nothing to do.
// Prints one line of JSON with the one-way times from P's send to C's receipt: all processes read the same
// monotonic clock, and P sends only when everybody is asleep again.
//
//   raw_chain [--header BYTES] [--count N] [--warmup N] [--spacing-us N]
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "perf/process.h"
#include "perf/raw_ucx.h"
#include "perf/samples.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint32_t kStages = 4;
constexpr std::uint32_t kCountMax = 100'000;

struct Page {
  std::uint32_t header_bytes, count, warmup;
  std::uint64_t spacing_ns;
  std::array<SharedCounter, kStages> port;  // of the stage's listener, 0 until it is ready
  SharedCounter arrived;                    // messages that reached the last stage
  std::array<std::uint32_t, kCountMax> latency_ns;
};

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "raw_chain: %s\n", why);
  std::exit(1);
}

void await(SharedCounter& counter, std::uint32_t at_least, const char* what) {
  if (!counter.wait_for(at_least)) give_up(what);
}

// The first stage: stamps a message, sends it, and waits until it is known to have arrived.
void produce(RawUcx& ucx, Page& page) {
  std::vector<std::byte> header(page.header_bytes);
  for (std::uint32_t i = 0; i < page.warmup + page.count; ++i) {
    sleep_ns(page.spacing_ns);
    const std::uint64_t now = monotonic_ns();
    std::memcpy(header.data(), &now, sizeof(now));
    ucx.send(header);
    while (!ucx.sent()) ucx.wait();
    await(page.arrived, i + 1, "a message did not arrive within ten seconds");
  }
}

int run_stage(std::uint32_t stage, Page& page) {
  const bool last = stage == kStages - 1;
  std::vector<std::byte> forwarded;
  std::uint32_t seen = 0;
  RawUcx* out = nullptr;
  RawUcx ucx([&](std::span<const std::byte> header) {
    ++seen;
    if (!last) {
      forwarded.assign(header.begin(), header.end());
      out->send(forwarded);
      return;
    }
    std::uint64_t sent = 0;
    std::memcpy(&sent, header.data(), sizeof(sent));
    const std::uint64_t taken = monotonic_ns() - sent;
    if (seen > page.warmup) page.latency_ns[seen - page.warmup - 1] = static_cast<std::uint32_t>(taken);
    page.arrived.increment();
  });
  out = &ucx;
  // The next stage is in its loop before we connect to it: a connection is only made while both sides make
  // progress.
  if (!last) {
    await(page.port[stage + 1], 1, "the next stage did not start");
    ucx.connect(static_cast<std::uint16_t>(page.port[stage + 1].get()));
  }
  page.port[stage].set(ucx.listen());
  if (stage == 0) {
    produce(ucx, page);
    return 0;
  }
  while (seen < page.warmup + page.count || !ucx.sent()) ucx.wait();
  return 0;
}

int run_parent(int argc, char** argv) {
  SharedPage<Page> page;
  page->header_bytes = 256;
  page->count = 2000;
  page->warmup = 200;
  page->spacing_ns = 200'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const auto value = static_cast<std::uint32_t>(std::stoul(argv[i + 1]));
    if (name == "--header")
      page->header_bytes = value;
    else if (name == "--count")
      page->count = value;
    else if (name == "--warmup")
      page->warmup = value;
    else if (name == "--spacing-us")
      page->spacing_ns = value * 1000ull;
    else
      give_up("usage: raw_chain [--header BYTES] [--count N] [--warmup N] [--spacing-us N]");
  }
  if (page->count == 0 || page->count > kCountMax || page->header_bytes < 8 || page->header_bytes > 4096) {
    give_up("--count is 1 to 100000, --header 8 to 4096");
  }
  std::vector<Process> stages;
  for (std::uint32_t stage = 0; stage < kStages; ++stage) {
    stages.emplace_back(ProcessOptions{
        .argv = {program_folder() + "/raw_chain", "--stage", std::to_string(stage), page.path()},
        .environment = {"UCX_HANDLE_ERRORS=none", "UCX_MEM_EVENTS=n"}});
  }
  for (Process& stage : stages) {
    const auto ending = stage.wait(std::chrono::minutes(2));
    if (ending != Ending{0, 0}) give_up("a stage failed");
  }
  Samples samples(page->count);
  for (std::uint32_t i = 0; i < page->count; ++i) samples.add(page->latency_ns[i]);
  std::printf("{\"count\": %u, \"header\": %u, \"p50_us\": %.3f, \"p90_us\": %.3f, \"p99_us\": %.3f}\n",
              page->count, page->header_bytes, samples.percentile(50) / 1e3, samples.percentile(90) / 1e3,
              samples.percentile(99) / 1e3);
  return 0;
}

}  // namespace
}  // namespace sidecar::perf

int main(int argc, char** argv) {
  using namespace sidecar::perf;
  if (argc == 4 && std::string(argv[1]) == "--stage") {
    SharedPage<Page> page(argv[3]);
    return run_stage(static_cast<std::uint32_t>(std::stoul(argv[2])), *page);
  }
  return run_parent(argc, argv);
}
