// Groups on this machine: what it costs that a chunk goes to several groups, and that several members bring
// it. On one node a broadcast moves no bytes, so it must not matter how many there are; to other nodes it is
// bound by the link, so N destinations cost N times one. Members' shards are copied by one sidecar: with CPU
// memory they cost no more than one member's whole, and no less.
#include <array>

#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

class Broadcast {
 public:
  // Rank 0 produces; ranks 1 to 8 each are a group, on its node or each on one of its own.
  explicit Broadcast(bool same_node)
      : cluster_(start_cluster({.nodes = nodes(same_node),
                                .arena = "96M",
                                .flags = {"--poll", "event", "--receive-percent", "45"}})),
        producer_(must(Client::connect(event_driven(*cluster_, 0)), "connecting")) {
    for (Rank rank = 1; rank <= kGroupsMax; ++rank)
      consumers_.push_back(must(Client::connect(event_driven(*cluster_, rank)), "connecting"));
  }

  // Median time until all have it, microseconds.
  double measure(std::uint64_t bytes, int groups, int count) {
    Samples taken;
    for (int i = 0; i < count; ++i) taken.add(once(bytes, groups));
    return taken.median();
  }
  [[nodiscard]] std::uint64_t copied() const { return cluster_->counter(0, "bytes_captured"); }

  static constexpr Rank kGroupsMax = 8;

 private:
  static std::vector<std::string> nodes(bool same) {
    std::vector<std::string> names{"a"};
    for (Rank rank = 1; rank <= kGroupsMax; ++rank) names.push_back(same ? "a" : "n" + std::to_string(rank));
    return names;
  }
  double once(std::uint64_t bytes, int groups) {
    const std::string id = "broadcast-" + std::to_string(next_++);
    Groups to;
    for (Rank rank = 1; rank <= groups; ++rank) to.push_back({rank});
    Buffer buffer = must(producer_.allocate({bytes}, Dtype::kU8), "allocate");
    const std::uint64_t begin = monotonic_ns();
    must(producer_.send(std::move(buffer), id, to), "send");
    const std::uint64_t end = monotonic_ns();
    for (int i = 0; i < groups; ++i) must(consumers_[static_cast<std::size_t>(i)].mark_done(id), "mark_done");
    return static_cast<double>(end - begin) / 1e3;
  }

  std::unique_ptr<Cluster> cluster_;
  Client producer_;
  std::vector<Client> consumers_;
  std::uint64_t next_ = 0;
};

std::vector<BenchRow> broadcast_rows(const BenchSettings& settings) {
  std::vector<BenchRow> rows;
  {
    Broadcast near(true);
    const int count = settings.quick ? 10 : 40;
    near.measure(kMiB, Broadcast::kGroupsMax, 5);
    Pairs pairs = run_pairs(
        settings.pairs(), [&] { return near.measure(32 * kMiB, Broadcast::kGroupsMax, count); },
        [&] { return near.measure(64 << 10, Broadcast::kGroupsMax, count); });
    BenchRow row = row_of("broadcast-same-node-8", pairs, "us", "the same with 64 KiB", Bar::kAtMost, 1.2);
    for (const int groups : {1, 2, 4, 8})
      row.numbers.emplace_back("us_to_" + std::to_string(groups), near.measure(32 * kMiB, groups, count));
    row.numbers.emplace_back("bytes_copied", static_cast<double>(near.copied()));
    if (near.copied() > 0) row.verdict = Verdict::kMissed;
    rows.push_back(std::move(row));
  }
  Broadcast far(false);
  const int count = settings.quick ? 2 : 5;
  far.measure(kMiB, Broadcast::kGroupsMax, 3);
  for (const int groups : {2, 4, 8}) {
    Pairs pairs = run_pairs(
        settings.pairs(), [&] { return far.measure(16 * kMiB, groups, count); },
        [&] { return groups * far.measure(16 * kMiB, 1, count); });
    rows.push_back(row_of("broadcast-other-node-" + std::to_string(groups), pairs, "us",
                          std::to_string(groups) + " times one group", Bar::kAtMost, 1.1));
  }
  return rows;
}

// Members in one process, each with a connection of its own: the leader's sidecar does the copying.
class Sharded {
 public:
  explicit Sharded(int members)
      : cluster_(start_cluster({.nodes = {"a", "a", "a", "a", "a"}, .arena = "192M"})), bytes_(64 * kMiB) {
    for (Rank rank = 0; rank < members; ++rank) {
      ClientOptions options = cluster_->client_options(rank);
      for (Rank other = 0; other < members; ++other) options.group.push_back(other);
      options.concurrent_copy = true;
      members_.push_back(must(Client::connect(options), "connecting"));
    }
    alone_ = must(Client::connect(cluster_->client_options(0)), "connecting");
    consumer_ = must(Client::connect(cluster_->client_options(4)), "connecting");
  }

  double together() {
    const std::string id = next_id();
    const std::uint64_t begin = monotonic_ns();
    std::vector<SendHandle> sent;
    for (Client& member : members_) sent.push_back(member.send_async(tensor(), id, {{4}}));
    for (SendHandle& handle : sent) must(handle.delivered.get(), "send");
    return over(id, begin);
  }
  double alone() {
    const std::string id = next_id();
    const std::uint64_t begin = monotonic_ns();
    must(alone_.send(tensor(), id, {{4}}), "send");
    return over(id, begin);
  }

 private:
  [[nodiscard]] Tensor tensor() const { return {bytes_.data(), Dtype::kU8, {bytes_.size()}}; }
  std::string next_id() { return "sharded-" + std::to_string(next_++); }
  double over(const std::string& id, std::uint64_t begin) {
    const std::uint64_t end = monotonic_ns();
    must(consumer_.mark_done(id), "mark_done");
    return static_cast<double>(end - begin) / 1e6;
  }

  std::unique_ptr<Cluster> cluster_;
  std::vector<std::byte> bytes_;
  std::vector<Client> members_;
  Client alone_, consumer_;
  std::uint64_t next_ = 0;
};

}  // namespace

std::vector<BenchRow> bench_groups(const BenchSettings& settings) {
  std::vector<BenchRow> rows = broadcast_rows(settings);
  for (const int members : {2, 4}) {
    Sharded sharded(members);
    for (int i = 0; i < 3; ++i) {
      sharded.together();
      sharded.alone();
    }
    Pairs pairs =
        run_pairs(settings.pairs(21), [&] { return sharded.together(); }, [&] { return sharded.alone(); });
    rows.push_back(row_of("sharded-copy-" + std::to_string(members), pairs, "ms",
                          "one member's whole, 64 MiB", Bar::kAtMost, 1.1));
  }
  return rows;
}

}  // namespace sidecar::perf
