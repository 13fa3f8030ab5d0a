// Three hops of a 64-byte object: producer -> sidecar A -> sidecar B -> consumer, all on one node and all
// asleep when nothing happens, against perf/raw_chain. The consumer waits before the producer sends, as a raw
// process does.
#include <array>
#include <cstring>

#include "perf/bench.h"
#include "perf/chain_reference.h"
#include "perf/process.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint32_t kCountMax = 100'000;
constexpr std::size_t kObjectBytes = 64;
constexpr std::uint64_t kSpacingNs = 200'000;  // as raw_chain: everybody is asleep again

struct Page {
  std::uint32_t total = 0;  // messages over all blocks
  SharedCounter connected;
  SharedCounter allowed;  // messages that may be sent: a block at a time
  SharedCounter waiting;  // recv calls made by the consumer
  SharedCounter arrived;
  std::array<std::uint32_t, kCountMax> latency_ns;
};

std::string id_of(std::uint32_t i) { return "request-" + std::to_string(i); }

void await(SharedCounter& counter, std::uint32_t at_least, const char* what) {
  if (!counter.wait_for(at_least)) give_up(what);
}

void produce(Client& client, Page& page) {
  std::array<std::byte, kObjectBytes> bytes{};
  for (std::uint32_t i = 0; i < page.total; ++i) {
    for (int tens = 0; !page.allowed.wait_for(i + 1) && tens < 30; ++tens) {  // while the reference runs
    }
    await(page.waiting, i + 1, "the consumer went away");
    const std::string id = id_of(i);
    sleep_ns(kSpacingNs);
    const std::uint64_t now = monotonic_ns();
    std::memcpy(bytes.data(), &now, sizeof now);
    must(client.send(Object{bytes.data(), bytes.size()}, id, {{1}}), "send");
  }
}

void consume(Client& client, Page& page) {
  for (std::uint32_t i = 0; i < page.total; ++i) {
    const std::string id = id_of(i);
    Future<View> future = client.recv_async(id);
    page.waiting.increment();
    const View view = must(future.get(), "recv");
    const std::uint64_t now = monotonic_ns();
    std::uint64_t sent = 0;
    std::memcpy(&sent, view.data(), sizeof sent);
    page.latency_ns[i] = static_cast<std::uint32_t>(now - sent);
    must(client.mark_done(id), "mark_done");
    page.arrived.increment();
  }
}

}  // namespace

int latency_stage(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) return 2;
  SharedPage<Page> page(arguments[1].c_str());
  ClientOptions options;
  options.progress = Progress::kCaller;
  options.polling = Polling::kEvent;
  options.node = "a";
  options.address = arguments[2];
  options.rank = std::stoi(arguments[3]);
  Client client = must(Client::connect(options), "connecting");
  page->connected.increment();
  arguments[0] == "produce" ? produce(client, *page) : consume(client, *page);
  return 0;
}

std::vector<BenchRow> bench_latency(const BenchSettings& settings) {
  const int pairs_wanted = settings.pairs(15);
  const std::uint32_t count = settings.quick ? 200 : 500;
  const std::uint32_t warmup = 50;
  const std::uint32_t block = count + warmup;
  const auto cluster = start_cluster({.nodes = {"a", "a"}, .flags = {"--poll", "event"}});
  SharedPage<Page> page;
  page->total = block * static_cast<std::uint32_t>(pairs_wanted);
  std::vector<Process> stages;
  for (const auto& [stage, rank] : {std::pair{"consume", 1}, std::pair{"produce", 0}}) {
    stages.emplace_back(ProcessOptions{.argv = {program_folder() + "/sidecar-bench", "--stage", stage,
                                                page.path(), cluster->address(rank), std::to_string(rank)},
                                       .environment = {"UCX_HANDLE_ERRORS=none", "UCX_MEM_EVENTS=n"}});
  }
  await(page->connected, 2, "the executors did not connect");

  std::uint32_t begun = 0;
  Samples ours_p99;
  const auto ours = [&] {
    page->allowed.set(begun + block);
    while (page->arrived.get() < begun + block) {
      if (!stages[0].running() || !stages[1].running()) give_up("an executor ended early");
      sleep_ns(20'000'000);
    }
    Samples taken(count);
    for (std::uint32_t i = warmup; i < block; ++i) taken.add(page->latency_ns[begun + i] / 1e3);
    begun += block;
    ours_p99.add(taken.percentile(99));
    return taken.median();
  };
  Pairs pairs = run_pairs(pairs_wanted, ours, [&] { return raw_chain_us(count, warmup, kSpacingNs); });
  for (Process& stage : stages) stage.wait(std::chrono::seconds(10));
  BenchRow row = row_of("object-64B-three-hops", pairs, "us", "raw_chain", Bar::kAtMost, 1.5);
  row.numbers.emplace_back("ours_p99_us", ours_p99.median());
  row.numbers.emplace_back("header_bytes", static_cast<double>(chain_header_bytes()));
  return {row};
}

}  // namespace sidecar::perf
