// Three hops of a 64-byte object: producer -> sidecar A -> sidecar B -> consumer, all on one node and all
// asleep when nothing happens, against perf/raw_chain. The consumer waits before the producer sends, as a raw
// process does.
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "am_protocol/codec.h"
#include "core/check.h"
#include "perf/bench.h"
#include "perf/process.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint32_t kCountMax = 100'000;
constexpr std::size_t kObjectBytes = 64;
constexpr std::uint64_t kSpacingNs = 200'000;  // as raw_chain: everybody is asleep again
constexpr std::chrono::minutes kBlockMax{2};

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

// What raw_chain passes along on each of its hops: as many bytes as our three messages for such an object
// have on average, so that it moves the same bytes in all.
std::size_t header_bytes() {
  ChunkMeta meta;
  meta.id.assign(id_of(12345));
  meta.num_chunks = 1;
  meta.kind = ChunkKind::kObject;
  meta.bytes = kObjectBytes;
  Encoder encoder;
  Message message;
  alignas(16) std::array<std::byte, kHeaderBytesMax> buffer;
  auto& send = renew<Send>(message);
  send.request = 12345;
  send.meta = meta;
  const std::array<Rank, 1> to{1};
  CHECK(send.destinations.add_group(to));
  send.inline_bytes = kObjectBytes;
  std::size_t sum = encoder.encode(message, buffer);
  auto& chunk = renew<Chunk>(message);
  chunk.transfer = {12345, 12345};
  chunk.meta = meta;
  chunk.is_inline = true;
  chunk.inline_bytes = kObjectBytes;
  sum += encoder.encode(message, buffer);
  auto& reply = renew<Reply>(message);
  reply.request = 12345;
  reply.meta = meta;
  reply.where = Where::kInline;
  reply.inline_bytes = kObjectBytes;
  sum += encoder.encode(message, buffer);
  return sum / 3;
}

// p50 of one run of raw_chain, microseconds.
double raw_chain_us(std::uint32_t count, std::uint32_t warmup) {
  Process chain({.argv = {program_folder() + "/raw_chain", "--header", std::to_string(header_bytes()),
                          "--count", std::to_string(count), "--warmup", std::to_string(warmup),
                          "--spacing-us", std::to_string(kSpacingNs / 1000)},
                 .talk = true});
  const auto line = chain.read_line(kBlockMax);
  if (!line) give_up("raw_chain gave no result");
  return nlohmann::json::parse(*line).at("p50_us").get<double>();
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
  Pairs pairs = run_pairs(pairs_wanted, ours, [&] { return raw_chain_us(count, warmup); });
  for (Process& stage : stages) stage.wait(std::chrono::seconds(10));
  BenchRow row = row_of("object-64B-three-hops", pairs, "us", "raw_chain", Bar::kAtMost, 1.5);
  row.numbers.emplace_back("ours_p99_us", ours_p99.median());
  row.numbers.emplace_back("header_bytes", static_cast<double>(header_bytes()));
  return {row};
}

}  // namespace sidecar::perf
