// A chunk that changes hands on one node: only a reference travels, so its size must not matter. Time from
// send to the view in the consumer's hands, and the sidecars' own word that no byte was copied.
#include "perf/bench.h"
#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kLarge = 64 << 20;
constexpr std::uint64_t kSmall = 64 << 10;

class Forward {
 public:
  Forward()
      : cluster_(start_cluster(
            {.nodes = {"a", "a"}, .arena = "256M", .flags = {"--poll", "event", "--receive-percent", "10"}})),
        producer_(must(Client::connect(event_driven(*cluster_, 0)), "connecting")),
        consumer_(must(Client::connect(event_driven(*cluster_, 1)), "connecting")) {}

  // Median over `count` chunks, microseconds.
  double measure(std::uint64_t bytes, int count) {
    Samples taken;
    for (int i = 0; i < count; ++i) taken.add(once(bytes));
    return taken.median();
  }

  // Everything that sidecars count when they move a byte.
  [[nodiscard]] std::uint64_t bytes_moved() const {
    std::uint64_t sum = 0;
    for (const int rank : {0, 1}) {
      for (const char* name : {"bytes_captured", "bytes_sent", "bytes_received", "bytes_copied_out"}) {
        sum += cluster_->counter(rank, name);
      }
    }
    return sum;
  }
  [[nodiscard]] std::uint64_t bytes_mapped() const { return cluster_->counter(1, "bytes_mapped"); }

 private:
  double once(std::uint64_t bytes) {
    const std::string id = "forward-" + std::to_string(next_++);
    Buffer buffer = must(producer_.allocate({bytes}, Dtype::kU8), "allocate");
    Future<View> arrival = consumer_.recv_async(id);
    sleep_ns(200'000);  // everybody is asleep again
    const std::uint64_t begin = monotonic_ns();
    SendHandle sent = producer_.send_async(std::move(buffer), id, {{1}});
    const View view = must(arrival.get(), "recv");
    const std::uint64_t end = monotonic_ns();
    if (!view.is_shared() || view.size_bytes() != bytes) give_up("a same-node chunk was not shared");
    must(sent.delivered.get(), "send");
    must(consumer_.mark_done(id), "mark_done");
    return static_cast<double>(end - begin) / 1e3;
  }

  std::unique_ptr<Cluster> cluster_;
  Client producer_, consumer_;
  std::uint64_t next_ = 0;
};

}  // namespace

std::vector<BenchRow> bench_forward(const BenchSettings& settings) {
  Forward forward;
  forward.measure(kSmall, 50);
  forward.measure(kLarge, 10);
  const std::uint64_t moved = forward.bytes_moved();
  const std::uint64_t mapped = forward.bytes_mapped();
  const int count = settings.quick ? 50 : 200;
  Pairs pairs = run_pairs(
      settings.pairs(11), [&] { return forward.measure(kLarge, count); },
      [&] { return forward.measure(kSmall, count); });
  BenchRow row = row_of("forward-64MiB", pairs, "us", "the same with 64 KiB", Bar::kAtMost, 1.2);
  const std::uint64_t copied = forward.bytes_moved() - moved;
  row.numbers.emplace_back("bytes_copied", static_cast<double>(copied));
  row.numbers.emplace_back("bytes_mapped", static_cast<double>(forward.bytes_mapped() - mapped));
  row.note += "; bytes copied: " + std::to_string(copied);
  if (copied > 0) row.verdict = Verdict::kMissed;
  return {row};
}

}  // namespace sidecar::perf
