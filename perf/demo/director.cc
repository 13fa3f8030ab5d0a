#include "perf/demo/director.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "perf/demo/cast.h"
#include "perf/demo/roles.h"
#include "perf/demo/summary.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kEmptyWait{5};
constexpr std::uint64_t kSmallFilesBytes = 16 << 20;  // the tensors' files, and logs
constexpr std::uint64_t kUcxBytes = 48 << 20;         // what UCX takes for itself in nine processes

// The sidecars, by rank. Far less memory than data: whoever sends waits until what went before has been
// received and marked done.
struct Place {
  const char* node;
  std::uint64_t arena_bytes;
  int receive_percent;  // of the arena: for what arrives
};
constexpr std::array<Place, 4> kPlaces{{
    {"a", 16 << 20, 10},  // what is sent and neither marked done on its node nor delivered elsewhere
    {"a", 2 << 20, 50},   // small objects only: the rest lies in rank 0's arena
    {"b", 14 << 20, 90},  // what has arrived and is not yet marked done
    {"b", 8 << 20, 90},   // one tensor
}};

const Place& place_of(Rank rank) { return kPlaces.at(static_cast<std::size_t>(rank)); }

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t arena_bytes() {
  std::uint64_t bytes = 0;
  for (const Place& place : kPlaces) bytes += place.arena_bytes;
  return bytes;
}

bool has_room(const char* folder, std::uint64_t bytes) {
  struct statvfs info{};
  return statvfs(folder, &info) == 0 && access(folder, W_OK) == 0 && info.f_bavail * info.f_frsize >= bytes;
}

// Shared memory when that has room, otherwise the folder for temporary files.
Expected<std::string> folder_with_room() {
  const std::uint64_t bytes = arena_bytes() + kSmallFilesBytes + kUcxBytes;
  const std::string fallback = std::filesystem::temp_directory_path().string();
  for (const std::string& folder : {std::string("/dev/shm"), fallback}) {
    if (has_room(folder.c_str(), bytes)) return folder;
  }
  return Failure{Errc::kNoSpace, kNoRank,
                 mib_text(bytes) + " are needed in /dev/shm or in " + fallback + ": make room"};
}

class Director {
 public:
  explicit Director(const std::string& above)
      : cluster_({.nodes = nodes(), .flags = {"--drain-timeout", "5s"}, .above = above}) {}
  Expected<void> run();

 private:
  static std::vector<std::string> nodes() {
    std::vector<std::string> names;
    for (const Place& place : kPlaces) names.emplace_back(place.node);
    return names;
  }
  Expected<void> start();
  Expected<void> play();
  Expected<void> sum_up();
  Expected<void> see_empty_arenas();

  perf::Cluster cluster_;
  Played played_;
};

Failure failure(const std::string& text) { return {Errc::kInternal, kNoRank, text}; }

Expected<void> Director::run() {
  std::puts(
      "Four sidecars on this machine, as two nodes: equal node names share memory, different ones use the "
      "network.");
  if (auto fine = start(); !fine) return fine;
  if (auto fine = play(); !fine) return fine;
  if (auto fine = sum_up(); !fine) return fine;
  if (auto fine = see_empty_arenas(); !fine) return fine;
  if (const std::string problem = cluster_.stop(); !problem.empty()) return failure(problem);
  std::puts("5. All four sidecars have ended on SIGTERM and removed their arenas.");
  return {};
}

Expected<void> Director::start() {
  const auto begin = Clock::now();
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    const std::string problem =
        cluster_.start(rank, {"--shm-size", std::to_string(place_of(rank).arena_bytes), "--receive-percent",
                              std::to_string(place_of(rank).receive_percent)});
    if (!problem.empty()) return failure(problem);
  }
  std::printf("1. Started, in %.1f s, with arenas in %s:\n", seconds_since(begin), cluster_.folder().c_str());
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    std::printf("   rank %d on node %s, gRPC at %s, arena of %s\n", rank, place_of(rank).node,
                cluster_.address(rank).c_str(), mib_text(place_of(rank).arena_bytes).c_str());
  }
  return {};
}

Expected<void> Director::play() {
  std::puts(
      "2. A producer at rank 0 streams to rank 1 (same node) and rank 2 (other node) at once, in 1 MiB "
      "chunks.\n"
      "   Every consumer looks where the bytes lie, and compares their SHA-256 with the producer's.");
  auto played = play_roles(cluster_);
  if (!played) return played.error();
  played_ = *std::move(played);
  std::printf(
      "   sent: %s, of %llu files below /usr/lib and %llu generated .npy tensors, through arenas of %s\n",
      mib_text(played_.input.bytes).c_str(), static_cast<unsigned long long>(played_.input.files),
      static_cast<unsigned long long>(played_.input.tensors), mib_text(arena_bytes()).c_str());
  std::printf(
      "   rank 1 looked at the bytes inside rank 0's arena (inode %llu), ranks 2 and 3 in their own\n",
      static_cast<unsigned long long>(played_.arena_inode));
  std::puts("   rank 3 got one tensor: two processes read it at the same time, in the very same memory");
  return {};
}

Expected<void> Director::sum_up() {
  std::vector<Arrival> arrivals;
  for (const auto& [rank, outcomes] : played_.outcomes) {
    const auto path = cluster_.peer(kProducerRank, rank);
    if (path.rank != rank) return failure("rank 0 knows no path to rank " + std::to_string(rank));
    const bool same_node = std::string(place_of(rank).node) == place_of(kProducerRank).node;
    arrivals.push_back({rank, same_node, outcomes, path, cluster_.status(rank)});
    if (auto fine = check_path(arrivals.back()); !fine) return fine;
  }
  std::puts("3. What the consumers saw and the sidecars counted:");
  print_table(arrivals);
  const std::uint64_t captured = cluster_.counter(kProducerRank, "bytes_captured");
  std::printf(
      "   mapped: read where they lay. network: came as bytes. copied: once more, for the consumer.\n"
      "   On the producer's side %s were copied (the tensors, from its own memory) and %s were\n"
      "   not (the files, written to where allocate() said). The time includes reading the files, SHA-256 "
      "at\n"
      "   all three ends, and five busy processes on %u cores: to measure, `make bench`.\n",
      mib_text(captured).c_str(),
      mib_text(played_.input.bytes - std::min(captured, played_.input.bytes)).c_str(),
      std::thread::hardware_concurrency());
  return {};
}

// The last views are given back a moment after the consumers are gone.
Expected<void> Director::see_empty_arenas() {
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    const std::string held = cluster_.wait_until_empty(rank, kEmptyWait);
    if (held.empty()) continue;
    return failure("rank " + std::to_string(rank) +
                   " is not empty although everything was marked done:" + held);
  }
  std::puts("4. Everything was marked done. In use now (send, receive, reserve):");
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    std::printf("   rank %d:", rank);
    const auto status = cluster_.status(rank);
    for (const auto& region : status.memory) {
      std::printf(" %llu of %s%s", static_cast<unsigned long long>(region.used_bytes),
                  mib_text(region.bytes).c_str(), &region == &status.memory.back() ? "\n" : ",");
    }
  }
  return {};
}

}  // namespace

int direct() {
  const auto begin = Clock::now();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes is no reason to end in the middle
  const auto above = folder_with_room();
  const Expected<void> done = above ? Director(*above).run() : above.error();
  if (!done) {
    std::fprintf(stderr, "sidecar-demo: FAILED: %s\n", done.error().message.c_str());
    return EXIT_FAILURE;
  }
  std::printf("OK, in %.1f s. No process, port or file is left behind.\n", seconds_since(begin));
  return EXIT_SUCCESS;
}

}  // namespace sidecar::demo
