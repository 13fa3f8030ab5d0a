// Private memory of a sidecar (RssAnon: the arena is a file and does not count): after its start, and what a
// million chunks add to it once it has warmed up.
#include <cstdlib>

#include "perf/bench.h"

namespace sidecar::perf {
namespace {

constexpr std::uint32_t kChunksPerId = 1000;
constexpr std::uint32_t kBatch = 500;  // under way at once
constexpr double kIdleMiB = 64;
constexpr double kGrowthMiB = 1;

double rss_anon_mib(pid_t pid) {
  const std::string status = read_file("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = status.find("RssAnon:");
  if (at == std::string::npos) give_up("the system does not tell RssAnon");
  return std::strtod(status.c_str() + at + 8, nullptr) / 1024;
}

class Traffic {
 public:
  explicit Traffic(const Cluster& cluster)
      : producer_(must(Client::connect(options(cluster, 0)), "connecting")),
        consumer_(must(Client::connect(options(cluster, 1)), "connecting")) {}

  // `ids` data of kChunksPerId objects each, every one received and marked done.
  void run(std::uint32_t ids) {
    for (std::uint32_t i = 0; i < ids; ++i) {
      const std::string id = "traffic-" + std::to_string(next_++);
      for (std::uint32_t first = 0; first < kChunksPerId; first += kBatch) batch(id, first);
    }
  }

 private:
  static ClientOptions options(const Cluster& cluster, Rank rank) {
    ClientOptions options = cluster.client_options(rank);
    options.progress = Progress::kCaller;
    return options;
  }

  void batch(const std::string& id, std::uint32_t first) {
    const Object object{bytes_.data(), bytes_.size(), 0};
    for (std::uint32_t i = 0; i < kBatch; ++i) {
      sent_.push_back(producer_.send_async(object, id, {{1}}, first + i, kChunksPerId));
      arrivals_.push_back(consumer_.recv_async(id, first + i));
    }
    // In this order, because waiting for one client's call makes progress for that client only.
    for (SendHandle& sent : sent_) must(sent.delivered.get(), "send");
    for (std::uint32_t i = 0; i < kBatch; ++i) {
      must(arrivals_[i].get(), "recv");
      done_.push_back(consumer_.mark_done_async(id, first + i));
    }
    for (Future<void>& done : done_) must(done.get(), "mark_done");
    sent_.clear();
    arrivals_.clear();
    done_.clear();
  }

  Client producer_, consumer_;
  std::uint32_t next_ = 0;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(256);
  std::vector<SendHandle> sent_;
  std::vector<Future<View>> arrivals_;
  std::vector<Future<void>> done_;
};

}  // namespace

std::vector<BenchRow> bench_memory(const BenchSettings& settings) {
  const auto cluster = start_cluster({.nodes = {"a", "a"}, .arena = "256M"});
  BenchRow idle;
  idle.name = "memory-idle";
  idle.value = std::max(rss_anon_mib(cluster->process(0).pid()), rss_anon_mib(cluster->process(1).pid()));
  idle.unit = "MiB";
  idle.bar = kIdleMiB;
  idle = judged(std::move(idle));

  const std::uint32_t ids = settings.quick ? 50 : 1000;
  Traffic traffic(*cluster);
  traffic.run(ids / 5);  // pools, tables and buffers have their size after that
  double growth = 0;
  BenchRow row;
  row.name = "memory-growth";
  std::vector<double> before;
  for (const int rank : {0, 1}) before.push_back(rss_anon_mib(cluster->process(rank).pid()));
  traffic.run(ids);
  for (const int rank : {0, 1}) {
    const double after = rss_anon_mib(cluster->process(rank).pid());
    growth = std::max(growth, after - before[static_cast<std::size_t>(rank)]);
    row.numbers.emplace_back("after_warmup_mib_rank" + std::to_string(rank),
                             before[static_cast<std::size_t>(rank)]);
    row.numbers.emplace_back("at_the_end_mib_rank" + std::to_string(rank), after);
  }
  row.value = growth;
  row.unit = "MiB";
  row.bar = kGrowthMiB;
  row.numbers.emplace_back("chunks", ids * static_cast<double>(kChunksPerId));
  row.note = "over " + std::to_string(ids * kChunksPerId) + " chunks, the larger of two sidecars";
  return {std::move(idle), judged(std::move(row))};
}

}  // namespace sidecar::perf
