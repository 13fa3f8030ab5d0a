// Chunks to another node, TCP on loopback, from the producer's send to the arrival at the other sidecar,
// against `ucx_perftest -t ucp_am_bw` with the same UCX settings, the same number of sends under way and huge
// pages on both sides. Sources are `allocate`d; the consumer receives and marks done each chunk as it comes,
// so that both arenas go round in few slots. perftest has one buffer on each side, which stays in the caches
// up to some MiB; our slots are as many as chunks are under way. So that this can be told apart from what we
// cost, perftest also runs with messages as long as our chunks under way together: `ratio_same_working_set`.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <sstream>

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr double kRatioMin = 0.90;
constexpr std::chrono::minutes kRunMax{2};

// What a sidecar's network plane uses (am_protocol/settings.cc), for both sides, with TCP on loopback only.
// perftest allocates with huge pages like this; our arena takes them by itself.
const std::vector<std::string> kEnvironment{"UCX_TLS=tcp",
                                            "UCX_NET_DEVICES=lo",
                                            "UCX_TCP_TX_SEG_SIZE=64K",
                                            "UCX_TCP_CONN_NB=y",
                                            "UCX_TCP_CM_REUSEADDR=y",
                                            "UCX_MAX_RNDV_RAILS=1",
                                            "UCX_KEEPALIVE_INTERVAL=1s",
                                            "UCX_ALLOC_PRIO=thp,mmap,heap",
                                            "UCX_HANDLE_ERRORS=none",
                                            "UCX_MEM_EVENTS=n"};

struct Size {
  std::uint64_t bytes;
  std::uint32_t under_way;
};
const std::vector<Size> kSizes{{1 * kMiB, 4}, {4 * kMiB, 4}, {16 * kMiB, 2}, {64 * kMiB, 2}, {256 * kMiB, 2}};

// One run: `count` chunks, `under_way` at once. Callbacks run on the two clients' own threads.
class Transfer {
 public:
  Transfer(Client& producer, Client& consumer, std::string id, Size size, std::uint32_t count)
      : producer_(producer), consumer_(consumer), id_(std::move(id)), size_(size), count_(count) {}

  // Seconds from the first send to the last arrival.
  double run() {
    for (std::uint32_t i = 0; i < std::min(2 * size_.under_way, count_); ++i) receive_next();
    const std::uint64_t begin = monotonic_ns();
    for (std::uint32_t i = 0; i < std::min(size_.under_way, count_); ++i) send_next();
    std::unique_lock lock(mutex_);
    if (!over_.wait_for(lock, kRunMax, [this] { return delivered_ == count_ && done_ == count_; })) {
      give_up("chunks did not arrive in time");
    }
    return static_cast<double>(end_ns_ - begin) / 1e9;
  }

 private:
  void send_next() {
    const std::uint32_t chunk = sent_.fetch_add(1);
    if (chunk >= count_) return;
    producer_.allocate_async({size_.bytes}, Dtype::kU8).then([this, chunk](Expected<Buffer> buffer) {
      SendHandle sent = producer_.send_async(must(std::move(buffer), "allocate"), id_, {{1}}, chunk, count_);
      sent.delivered.then([this](Expected<void> result) {
        must(result, "send");
        send_next();
        count_one(&delivered_);
      });
    });
  }

  void receive_next() {
    const std::uint32_t chunk = received_.fetch_add(1);
    if (chunk >= count_) return;
    consumer_.recv_async(id_, chunk).then([this, chunk](Expected<View> view) {
      must(std::move(view), "recv");
      consumer_.mark_done_async(id_, chunk).then([this](Expected<void> result) {
        must(result, "mark_done");
        count_one(&done_);
      });
      receive_next();
    });
  }

  void count_one(std::uint32_t* counter) {
    const std::uint64_t now = monotonic_ns();
    const std::lock_guard lock(mutex_);
    ++*counter;
    if (counter == &delivered_) end_ns_ = now;
    if (delivered_ == count_ && done_ == count_) over_.notify_one();
  }

  Client& producer_;
  Client& consumer_;
  const std::string id_;
  const Size size_;
  const std::uint32_t count_;
  std::atomic<std::uint32_t> sent_{0}, received_{0};
  std::mutex mutex_;
  std::condition_variable over_;
  std::uint32_t delivered_ = 0, done_ = 0;
  std::uint64_t end_ns_ = 0;
};

// MiB/s.
double perftest(Size size, std::uint32_t count) {
  const ReservedPort reserved;
  const std::uint16_t port = reserved.number();
  const std::vector<std::string> test{"/usr/bin/ucx_perftest",
                                      "-t",
                                      "ucp_am_bw",
                                      "-s",
                                      std::to_string(size.bytes),
                                      "-n",
                                      std::to_string(count),
                                      "-w",
                                      std::to_string(2 * size.under_way),
                                      "-O",
                                      std::to_string(size.under_way),
                                      "-p",
                                      std::to_string(port),
                                      "-f",
                                      "-v"};
  Process server({.argv = test, .environment = kEnvironment, .log = "/dev/null"});
  if (!wait_until_listening(port, [&] { return server.running(); })) give_up("ucx_perftest does not listen");
  std::vector<std::string> arguments = test;
  arguments.insert(arguments.begin() + 1, "127.0.0.1");
  Process client({.argv = arguments, .environment = kEnvironment, .talk = true});
  // iterations, percentile latency, average latency, overall latency, average bandwidth, overall bandwidth,
  // ...
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
  return last[5];
}

}  // namespace

std::vector<BenchRow> bench_network(const BenchSettings& settings) {
  // perftest polls; adaptive polling spins only while there is traffic, and so does not disturb perftest's
  // turn.
  const auto cluster = start_cluster(
      {.nodes = {"a", "b"}, .arena = "1280M", .flags = {"--poll", "adaptive"}, .environment = kEnvironment});
  ClientOptions options = cluster->client_options(0);
  Client producer = must(Client::connect(options), "connecting");
  options = cluster->client_options(1);
  Client consumer = must(Client::connect(options), "connecting");

  std::vector<BenchRow> rows;
  std::uint32_t runs = 0;
  for (const Size size : kSizes) {
    const std::uint64_t total = (settings.quick ? 256 : 2048) * kMiB;
    const auto count = static_cast<std::uint32_t>(std::max<std::uint64_t>(total / size.bytes, 4));
    const auto ours = [&](std::uint32_t chunks) {
      Transfer transfer(producer, consumer, "run-" + std::to_string(runs++), size, chunks);
      return static_cast<double>(chunks) * static_cast<double>(size.bytes) / static_cast<double>(kMiB) /
             transfer.run();
    };
    ours(2 * size.under_way);
    Samples same_working_set;
    const auto reference = [&] {
      const Size together{size.bytes * size.under_way, size.under_way};
      same_working_set.add(perftest(together, std::max<std::uint32_t>(count / size.under_way, 4)));
      return perftest(size, count);
    };
    Pairs pairs = run_pairs(settings.pairs(), [&] { return ours(count); }, reference);
    const double ratio_same = pairs.ours.median() / same_working_set.median();
    rows.push_back(row_of("network-" + std::to_string(size.bytes / kMiB) + "MiB", pairs, "MiB/s",
                          "ucx_perftest ucp_am_bw", Bar::kAtLeast, kRatioMin));
    rows.back().numbers.emplace_back("under_way", size.under_way);
    rows.back().numbers.emplace_back("reference_same_working_set_MiB/s", same_working_set.median());
    rows.back().numbers.emplace_back("ratio_same_working_set", ratio_same);
    char text[64];
    std::snprintf(text, sizeof text, "; same working set: %.2f", ratio_same);
    rows.back().note += text;
  }
  return rows;
}

}  // namespace sidecar::perf
