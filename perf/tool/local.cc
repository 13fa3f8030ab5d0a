#include "perf/tool/local.h"

#include <algorithm>
#include <optional>

#include "perf/no_huge_pages.h"
#include "perf/perftest_client.h"
#include "perf/tool/machine.h"
#include "perf/tool/meanwhile.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// Room for what is under way, at each end, and for what is on its way to being given back.
std::uint64_t arena_for(const TestKind& test, const TestSettings& settings,
                        const std::vector<std::uint64_t>& sizes, std::size_t senders, std::uint64_t x) {
  const std::uint64_t largest = *std::max_element(sizes.begin(), sizes.end());
  const std::uint64_t outstanding = settings.outstanding > 0 ? settings.outstanding : test.outstanding;
  const std::uint64_t beside = test.name == std::string("stream") ? 6 * 64 * kMiB : 0;
  const std::uint64_t held = test.scale != nullptr ? x * test.scale->arena_each : 0;
  const std::uint64_t bytes = largest * std::max<std::uint64_t>(outstanding, 1) * 2 * senders + beside + held;
  return (64 + 5 * bytes / (2 * kMiB)) * kMiB;
}

// Arenas are made real at the start: those that do not fit would take what others live on.
void require_memory(std::uint64_t bytes) {
  const auto text = [](std::uint64_t value) { return size_text(value / kMiB * kMiB); };
  if (const std::uint64_t spare = available_memory(); bytes > spare)
    fail_measurement("the sidecars would take " + text(bytes) +
                     " of memory, most of it for their arenas, and " + "this machine has " + text(spare) +
                     " to spare");
}

// Empty: all are ready.
std::string start(Cluster& cluster, const TestKind& test, std::uint64_t x) {
  if (test.scale == nullptr || !test.scale->of_arena) return cluster.start();
  std::string wrong = cluster.start(0, {"--shm-size", size_text(x)});
  for (Rank rank = 1; rank < cluster.size(); ++rank) wrong += cluster.start(rank);
  return wrong;
}

std::string sidecar_argument(const Cluster& cluster, Rank rank, const std::string& node) {
  return std::to_string(rank) + "@" + cluster.address(rank) + "/" + node;
}

// What was set by hand, and the rest of ours.
std::vector<std::string> environment_for(const TestSettings& settings) {
  std::vector<std::string> all = settings.environment;
  for (const std::string& ours : perftest_environment()) {
    const std::string name = ours.substr(0, ours.find('=') + 1);
    const auto sets_it = [&](const std::string& set) { return set.starts_with(name); };
    if (std::ranges::none_of(settings.environment, sets_it)) all.push_back(ours);
  }
  return all;
}

}  // namespace

LocalSetup::LocalSetup(const TestKind& test, const TestSettings& settings,
                       const std::vector<std::uint64_t>& sizes, const std::vector<std::uint64_t>& at) {
  const std::uint64_t x = at.back();
  const auto many = [&](std::size_t wanted) -> std::size_t {
    return wanted == kGroups ? settings.groups : wanted == kLargestX ? x : wanted;
  };
  const std::size_t here = many(test.initiators), there = many(test.responders);
  const std::vector<std::string> environment = environment_for(settings);
  std::optional<NoHugePages> small_pages;
  if (settings.small_pages) small_pages.emplace();
  std::vector<std::string> argv{"/proc/self/exe", "--once", "-p", std::to_string(port_.number())};
  if (here + there > 0) {
    ClusterOptions options;
    for (std::size_t i = 0; i < here + there; ++i) {
      const bool same = settings.path == "local" || i < here;
      options.nodes.push_back(same ? "a" : "b" + std::to_string(i));
    }
    const std::uint64_t arena = settings.arena.empty() ? arena_for(test, settings, sizes, here, x) : 0;
    require_memory(arena * (here + there) + (test.scale != nullptr ? x * test.scale->memory_each : 0));
    options.arena = settings.arena.empty() ? size_text(arena) : settings.arena;
    options.flags = {"--poll", settings.poll};
    options.environment = environment;
    const std::vector<std::string> nodes = options.nodes;
    cluster_ = std::make_unique<Cluster>(std::move(options));
    if (const std::string wrong = start(*cluster_, test, x); !wrong.empty()) fail_measurement(wrong);
    std::vector<Beside> beside;
    for (std::size_t i = 0; i < here; ++i)
      beside.push_back({static_cast<Rank>(i), cluster_->address(static_cast<Rank>(i)), nodes[i]});
    own_ = End(std::move(beside));
    for (std::size_t i = here; i < here + there; ++i) {
      argv.emplace_back("--sidecar");
      argv.push_back(sidecar_argument(*cluster_, static_cast<Rank>(i), nodes[i]));
    }
  }
  other_ = Process({.argv = std::move(argv), .environment = environment});
}

Session LocalSetup::connect() const {
  Session session(connect_control("127.0.0.1", port_.number(), std::chrono::seconds(20)), own_);
  session.watch([this](const TestKind& test) { return meanwhile(test, cluster_.get(), other_); });
  return session;
}

}  // namespace sidecar::perf
