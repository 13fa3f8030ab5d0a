// Chunks out of GPU memory, only where there is a GPU: the sidecar's copy into either kind of arena against a
// plain copy into pinned memory; the copy and the way to another node as one pipeline against the slower of
// the two; and several members' shards against one member's whole.
#include <cstdio>

#include "core/cuda_driver.h"
#include "perf/bench.h"
#include "perf/gpu_copy.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBytes = 256 * kMiB;

// Ranks 0 and 1 on one node, 2 on another.
class GpuCluster {
 public:
  GpuCluster(const std::string& arena, int members)
      : cluster_(start_cluster(
            {.nodes = {"a", "a", "b", "a", "a", "a"}, .arena = "1200M", .flags = {"--arena", arena}})) {
    for (const Rank rank : {1, 2})
      consumers_.push_back(must(Client::connect(cluster_->client_options(rank)), "connecting"));
    for (int i = 0; i < members; ++i) {
      ClientOptions options = cluster_->client_options(i == 0 ? 0 : i + 2);
      for (int other = 0; members > 1 && other < members; ++other)
        options.group.push_back(other == 0 ? 0 : other + 2);
      options.concurrent_copy = members > 1;
      members_.push_back(must(Client::connect(options), "connecting"));
    }
  }

  // Until the source may be reused, or until it has arrived; by all members.
  double captured(const Tensor& tensor) { return send(tensor, 1, true); }
  double delivered(const Tensor& tensor, Rank to) { return send(tensor, to, false); }
  // The same bytes from the arena: the way to the other node alone.
  double from_the_arena() {
    const std::string id = next_id();
    Buffer buffer = must(members_[0].allocate({kBytes}, Dtype::kU8), "allocate");
    const std::uint64_t begin = monotonic_ns();
    must(members_[0].send(std::move(buffer), id, {{2}}), "send");
    return over(id, 2, begin);
  }

 private:
  std::string next_id() { return "gpu-" + std::to_string(next_++); }
  double send(const Tensor& tensor, Rank to, bool captured) {
    const std::string id = next_id();
    const std::uint64_t begin = monotonic_ns();
    std::vector<SendHandle> sent;
    for (Client& member : members_) sent.push_back(member.send_async(tensor, id, {{to}}));
    for (SendHandle& handle : sent) {
      if (captured) must(handle.captured.get(), "send");
    }
    const double until_captured = static_cast<double>(monotonic_ns() - begin) / 1e9;
    for (SendHandle& handle : sent) must(handle.delivered.get(), "send");
    const double until_delivered = over(id, to, begin);
    return captured ? until_captured : until_delivered;
  }
  double over(const std::string& id, Rank at, std::uint64_t begin) {
    const std::uint64_t end = monotonic_ns();
    must(consumers_[static_cast<std::size_t>(at - 1)].mark_done(id), "mark_done");
    return static_cast<double>(end - begin) / 1e9;
  }

  std::unique_ptr<Cluster> cluster_;
  std::vector<Client> members_;
  std::vector<Client> consumers_;
  std::uint64_t next_ = 0;
};

}  // namespace

std::vector<BenchRow> bench_gpu(const BenchSettings& settings) {
  std::vector<BenchRow> rows;
  const Result<std::unique_ptr<CudaApi>> cuda = load_cuda();
  if (!cuda) {
    std::printf("gpu rows left out: %s\n", to_string(cuda.error()).c_str());
    return rows;
  }
  GpuCopy plain(**cuda, kBytes);
  for (const char* arena : {"shared", "cuda"}) {
    GpuCluster cluster(arena, 1);
    cluster.captured(plain.tensor());
    // Speeds, so that more is better: plain time over ours.
    Pairs pairs = run_pairs(
        settings.pairs(), [&] { return 1 / cluster.captured(plain.tensor()); },
        [&] { return 1 / plain.seconds(); });
    rows.push_back(row_of(std::string("gpu-copy-") + arena, pairs, "per_s", "a plain pinned copy of 256 MiB",
                          Bar::kAtLeast, 0.95));
    if (std::string(arena) == "cuda") continue;
    cluster.delivered(plain.tensor(), 2);
    Pairs pipeline = run_pairs(
        settings.pairs(), [&] { return 1 / cluster.delivered(plain.tensor(), 2); },
        [&] { return 1 / std::max(plain.seconds(), cluster.from_the_arena()); });
    rows.push_back(row_of("gpu-pipeline-other-node", pipeline, "per_s",
                          "the slower of copy and network alone", Bar::kAtLeast, 0.9));
  }
  GpuCluster one("shared", 1);
  for (const int members : {2, 4}) {
    GpuCluster several("shared", members);
    several.captured(plain.tensor());
    Pairs pairs = run_pairs(
        settings.pairs(), [&] { return several.delivered(plain.tensor(), 1); },
        [&] { return one.delivered(plain.tensor(), 1); });
    rows.push_back(row_of("gpu-sharded-copy-" + std::to_string(members), pairs, "s",
                          "one member's whole, 256 MiB", Bar::kAtMost, 1.1));
  }
  return rows;
}

}  // namespace sidecar::perf
