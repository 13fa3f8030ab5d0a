#include "perf/slab_trace.h"

#include <linux/perf_event.h>
#include <mimalloc.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "core/slab.h"
#include "perf/allocation_trace.h"
#include "perf/no_huge_pages.h"

namespace sidecar::perf {
namespace {

using Clock = std::chrono::steady_clock;

double ns_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::nano>(to - from).count();
}

double quantile(std::vector<double> values, double q) {
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

// What both players share: run ids to what the allocator gave, 0 where it gave nothing.
class Player {
 public:
  Player(std::uint32_t ids, std::uint64_t unit_bytes) : given_(ids), unit_bytes_(unit_bytes) {}
  [[nodiscard]] std::uint64_t failed() const { return failed_; }

 protected:
  std::vector<std::uint64_t> given_;
  std::uint64_t unit_bytes_;
  std::uint64_t failed_ = 0;
};

class SlabPlayer : public Player {
 public:
  SlabPlayer(const SlabTraceOptions& options, std::uint32_t ids)
      : Player(ids, options.unit_bytes), slab_(kBase, options.slots * options.unit_bytes) {}
  void play(const Op& op) {
    std::uint64_t& given = given_[op.id];
    if (op.slots != 0) {
      const std::uint64_t bytes = op.slots * unit_bytes_;
      given = slab_.allocate(bytes, unit_bytes_).value_or(0);
      failed_ += given == 0 ? 1 : 0;
    } else if (given != 0) {
      slab_.free({given, op.freed_slots * unit_bytes_});
    }
  }
  [[nodiscard]] const Slab& slab() const { return slab_; }

 private:
  static constexpr std::uint64_t kBase = 2 << 20;  // as in an arena, and keeps 0 out of the offsets
  Slab slab_;
};

class MimallocPlayer : public Player {
 public:
  MimallocPlayer(const SlabTraceOptions& options, std::uint32_t ids) : Player(ids, options.unit_bytes) {}
  ~MimallocPlayer() {
    for (const std::uint64_t given : given_) {
      if (given != 0) mi_free(reinterpret_cast<void*>(given));
    }
    mi_collect(true);
  }
  MimallocPlayer(const MimallocPlayer&) = delete;
  MimallocPlayer& operator=(const MimallocPlayer&) = delete;
  void play(const Op& op) {
    std::uint64_t& given = given_[op.id];
    if (op.slots != 0) {
      given = reinterpret_cast<std::uint64_t>(mi_malloc(op.slots * unit_bytes_));
      failed_ += given == 0 ? 1 : 0;
    } else if (given != 0) {
      mi_free(reinterpret_cast<void*>(given));
      given = 0;
    }
  }
};

// Counts this thread's instructions in user mode, where the system allows it.
class InstructionCounter {
 public:
  InstructionCounter() {
    perf_event_attr attr{};
    attr.type = PERF_TYPE_HARDWARE;
    attr.size = sizeof attr;
    attr.config = PERF_COUNT_HW_INSTRUCTIONS;
    attr.disabled = 1;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    fd_ = static_cast<int>(::syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
  }
  ~InstructionCounter() {
    if (fd_ >= 0) ::close(fd_);
  }
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;
  void start() { control(PERF_EVENT_IOC_ENABLE); }
  void stop() { control(PERF_EVENT_IOC_DISABLE); }
  [[nodiscard]] std::optional<double> per(std::uint64_t operations) const {
    std::uint64_t count = 0;
    if (fd_ < 0 || ::read(fd_, &count, sizeof count) != sizeof count || count == 0) return std::nullopt;
    return static_cast<double>(count) / static_cast<double>(operations);
  }

 private:
  void control(unsigned long request) const {
    if (fd_ >= 0) ::ioctl(fd_, request, 0);
  }
  int fd_;
};

template <class P>
class Timed {
 public:
  Timed(const SlabTraceOptions& options, std::uint32_t ids) : player(options, ids) {}

  void fill(std::span<const Op> ops) {
    for (const Op& op : ops) player.play(op);
  }
  // One pair's stretch, whole batches.
  void run(std::span<const Op> ops, std::uint32_t batch_ops) {
    std::vector<double> times;
    times.reserve(ops.size() / batch_ops);
    instructions_.start();
    for (std::size_t at = 0; at < ops.size(); at += batch_ops) {
      const auto start = Clock::now();
      for (const Op& op : ops.subspan(at, batch_ops)) player.play(op);
      times.push_back(ns_between(start, Clock::now()));
    }
    instructions_.stop();
    operations_ += ops.size();
    medians.push_back(quantile(times, 0.5));
    p99s.push_back(quantile(std::move(times), 0.99));
  }
  [[nodiscard]] SlabTraceSide side() const {
    return {quantile(medians, 0.5), quantile(p99s, 0.5), operations_, player.failed(),
            instructions_.per(operations_)};
  }

  P player;
  std::vector<double> medians, p99s;

 private:
  InstructionCounter instructions_;
  std::uint64_t operations_ = 0;
};

void time_single_ops(SlabPlayer& player, std::span<const Op> ops, SlabTraceResult& result) {
  std::vector<double> clock_cost, times;
  clock_cost.reserve(10'000);
  times.reserve(ops.size());
  for (int i = 0; i < 10'000; ++i) {
    const auto start = Clock::now();
    clock_cost.push_back(ns_between(start, Clock::now()));
  }
  for (const Op& op : ops) {
    const auto start = Clock::now();
    player.play(op);
    times.push_back(ns_between(start, Clock::now()));
  }
  const double cost = quantile(std::move(clock_cost), 0.5);
  result.op_median_ns = std::max(quantile(times, 0.5) - cost, 0.0);
  result.op_p99_ns = std::max(quantile(std::move(times), 0.99) - cost, 0.0);
}

}  // namespace

SlabTraceResult run_slab_trace(const SlabTraceOptions& options) {
  // mimalloc touches a page here and there in 16 GiB: with huge pages for all memory that would fill the
  // machine.
  const NoHugePages no_huge_pages;
  const std::size_t stretch = std::size_t{options.batches} * options.batch_ops;
  // One stretch to warm up, one for each pair, one for single operations.
  const Trace trace = make_trace({options.slots, options.occupancy, options.run_slots_max, options.seed},
                                 stretch * (options.pairs + 2));
  const std::span<const Op> ops(trace.ops);

  Timed<SlabPlayer> slab(options, trace.ids);
  Timed<MimallocPlayer> mimalloc(options, trace.ids);
  slab.fill(ops.first(trace.fill + stretch));
  mimalloc.fill(ops.first(trace.fill + stretch));

  std::vector<double> median_ratios, p99_ratios;
  for (std::uint32_t pair = 0; pair < options.pairs; ++pair) {
    const auto part = ops.subspan(trace.fill + stretch * (pair + 1), stretch);
    if (pair % 2 == 0) slab.run(part, options.batch_ops);
    mimalloc.run(part, options.batch_ops);
    if (pair % 2 == 1) slab.run(part, options.batch_ops);
    median_ratios.push_back(slab.medians.back() / mimalloc.medians.back());
    p99_ratios.push_back(slab.p99s.back() / mimalloc.p99s.back());
  }

  SlabTraceResult result;
  result.slab = slab.side();
  result.mimalloc = mimalloc.side();
  result.median_ratio = quantile(median_ratios, 0.5);
  result.median_ratio_min = quantile(median_ratios, 0);
  result.median_ratio_max = quantile(median_ratios, 1);
  result.p99_ratio = quantile(p99_ratios, 0.5);
  result.p99_ratio_min = quantile(p99_ratios, 0);
  result.p99_ratio_max = quantile(p99_ratios, 1);
  result.reference_spread =
      (quantile(mimalloc.medians, 1) - quantile(mimalloc.medians, 0)) / quantile(mimalloc.medians, 0.5);
  result.fill = static_cast<double>(slab.player.slab().stats().used_bytes) /
                static_cast<double>(options.slots * options.unit_bytes);
  time_single_ops(slab.player, ops.last(stretch), result);
  return result;
}

}  // namespace sidecar::perf
