#include "perf/allocation_trace.h"

#include <random>
#include <utility>

namespace sidecar::perf {

Trace make_trace(const TraceOptions& options, std::size_t ops_after_fill) {
  Trace trace;
  std::mt19937_64 random(options.seed);
  const auto target = static_cast<std::uint64_t>(options.occupancy * static_cast<double>(options.slots));
  const auto draw = [&] { return static_cast<std::uint32_t>(random() % options.run_slots_max) + 1; };
  struct Live {
    std::uint32_t id, slots;
  };
  std::vector<Live> live;
  std::vector<std::uint32_t> spare_ids;
  std::uint64_t used = 0;
  std::uint32_t next = draw();
  bool filling = true;
  while (filling || trace.ops.size() < trace.fill + ops_after_fill) {
    if (used + next <= target) {
      if (spare_ids.empty()) spare_ids.push_back(trace.ids++);
      trace.ops.push_back({spare_ids.back(), next, 0});
      live.push_back({spare_ids.back(), next});
      spare_ids.pop_back();
      used += next;
      next = draw();
    } else {
      if (filling) trace.fill = trace.ops.size();
      filling = false;
      std::swap(live[random() % live.size()], live.back());
      trace.ops.push_back({live.back().id, 0, live.back().slots});
      spare_ids.push_back(live.back().id);
      used -= live.back().slots;
      live.pop_back();
    }
  }
  return trace;
}

}  // namespace sidecar::perf
