#include "client/demo/director.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "client/demo/cast.h"
#include "client/demo/roles.h"
#include "client/demo/sidecars.h"
#include "client/demo/stage.h"
#include "client/demo/summary.h"

namespace sidecar::demo {
namespace {

using client_internal::SidecarStatus;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kTimeLimit{110};
constexpr std::chrono::seconds kAnswerWait{5};
constexpr std::chrono::seconds kEmptyWait{5};
constexpr std::uint64_t kSmallFilesBytes = 16 << 20;  // the tensors' files, and logs
constexpr std::uint64_t kUcxBytes = 48 << 20;         // what UCX takes for itself in nine processes

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t arena_bytes() {
  std::uint64_t bytes = 0;
  for (const Place& place : kPlaces) bytes += place.arena_bytes;
  return bytes;
}

std::string program_path() {
  std::array<char, PATH_MAX> path{};
  return readlink("/proc/self/exe", path.data(), path.size() - 1) > 0 ? path.data() : "sidecar-demo";
}

class Director {
 public:
  Director(Stage& stage, std::string program) : stage_(stage), program_(std::move(program)) {}
  Expected<void> run();

 private:
  Expected<void> start();
  Expected<void> play();
  Expected<void> sum_up();
  Expected<void> see_empty_arenas();
  Expected<std::vector<SidecarStatus>> statuses() const;

  Stage& stage_;
  const std::string program_;
  std::vector<RunningSidecar> sidecars_;
  Played played_;
};

Expected<void> Director::run() {
  std::puts(
      "Four sidecars on this machine, as two nodes: equal node names share memory, different ones use the "
      "network.");
  if (auto fine = start(); !fine) return fine;
  if (auto fine = play(); !fine) return fine;
  if (auto fine = sum_up(); !fine) return fine;
  if (auto fine = see_empty_arenas(); !fine) return fine;
  if (auto fine = end_sidecars(stage_, sidecars_); !fine) return fine;
  std::puts("5. All four sidecars have ended on SIGTERM and removed their arenas.");
  return {};
}

Expected<void> Director::start() {
  const auto begin = Clock::now();
  const std::string sidecard = std::filesystem::path(program_).parent_path().string() + "/sidecard";
  auto sidecars = start_sidecars(stage_, sidecard);
  if (!sidecars) return sidecars.error();
  sidecars_ = *std::move(sidecars);
  std::printf("1. Started, in %.1f s, with arenas in %s:\n", seconds_since(begin), stage_.folder().c_str());
  for (const RunningSidecar& sidecar : sidecars_) {
    std::printf("   rank %d on node %s, gRPC at %s, arena of %s\n", sidecar.place.rank, sidecar.place.node,
                sidecar.address.c_str(), mib_text(sidecar.place.arena_bytes).c_str());
  }
  return {};
}

Expected<void> Director::play() {
  std::puts(
      "2. A producer at rank 0 streams to rank 1 (same node) and rank 2 (other node) at once, in 1 MiB "
      "chunks.\n"
      "   Every consumer looks where the bytes lie, and compares their SHA-256 with the producer's.");
  auto played = play_roles(stage_, program_, sidecars_);
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

Expected<std::vector<SidecarStatus>> Director::statuses() const {
  std::vector<SidecarStatus> all;
  for (const RunningSidecar& sidecar : sidecars_) {
    auto status = client_internal::ask_status(sidecar.address, kAnswerWait);
    if (!status) return status.error();
    all.push_back(*std::move(status));
  }
  return all;
}

Expected<void> Director::sum_up() {
  const auto peers = client_internal::ask_peers(sidecars_[kProducerRank].address, kAnswerWait);
  if (!peers) return peers.error();
  const auto sidecars = statuses();
  if (!sidecars) return sidecars.error();
  std::vector<Arrival> arrivals;
  for (const auto& [rank, outcomes] : played_.outcomes) {
    const auto at = static_cast<std::size_t>(rank);
    const auto path = std::find_if(peers->begin(), peers->end(),
                                   [&, to = rank](const auto& peer) { return peer.rank == to; });
    if (path == peers->end()) {
      return Failure{Errc::kInternal, kNoRank, "rank 0 knows no path to rank " + std::to_string(rank)};
    }
    const bool same_node = std::string(kPlaces[at].node) == kPlaces[kProducerRank].node;
    arrivals.push_back({rank, same_node, outcomes, *path, sidecars->at(at)});
    if (auto fine = check_path(arrivals.back()); !fine) return fine;
  }
  std::puts("3. What the consumers saw and the sidecars counted:");
  print_table(arrivals);
  const std::uint64_t captured = counter(sidecars->at(kProducerRank), "bytes_captured");
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

bool is_empty(const SidecarStatus& sidecar) {
  const bool unused = std::all_of(sidecar.memory.begin(), sidecar.memory.end(), [](const auto& region) {
    return region.used_bytes == 0 && region.runs == 0;
  });
  return unused && !sidecar.memory.empty() &&
         std::all_of(sidecar.now.begin(), sidecar.now.end(),
                     [](const auto& entry) { return entry.first != "chunks" || entry.second == 0; });
}

// The last views are given back a moment after the consumers are gone.
Expected<void> Director::see_empty_arenas() {
  const auto until = Clock::now() + kEmptyWait;
  for (;;) {
    const auto sidecars = statuses();
    if (!sidecars) return sidecars.error();
    const bool empty = std::all_of(sidecars->begin(), sidecars->end(), is_empty);
    if (!empty && Clock::now() < until) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      continue;
    }
    std::puts("4. Everything was marked done. In use now (send, receive, reserve):");
    for (const SidecarStatus& sidecar : *sidecars) {
      std::printf("   rank %d:", sidecar.rank);
      for (const auto& region : sidecar.memory) {
        std::printf(" %llu of %s%s", static_cast<unsigned long long>(region.used_bytes),
                    mib_text(region.bytes).c_str(), &region == &sidecar.memory.back() ? "\n" : ",");
      }
    }
    if (empty) return {};
    return Failure{Errc::kInternal, kNoRank, "an arena is not empty although everything was marked done"};
  }
}

}  // namespace

int direct() {
  const auto begin = Clock::now();
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  auto stage = Stage::open(arena_bytes() + kSmallFilesBytes + kUcxBytes, kTimeLimit);
  Expected<void> done;
  if (stage) {
    // UCX makes files of its own, which stay when a process is killed while it makes one.
    setenv("UCX_POSIX_DIR", (*stage)->folder().c_str(), 0);
    done = Director(**stage, program_path()).run();
    stage->reset();  // ends and removes what there is
  } else {
    done = stage.error();
  }
  if (!done) {
    std::fprintf(stderr, "sidecar-demo: FAILED: %s\n", done.error().message.c_str());
    return EXIT_FAILURE;
  }
  std::printf("OK, in %.1f s. No process, port or file is left behind.\n", seconds_since(begin));
  return EXIT_SUCCESS;
}

}  // namespace sidecar::demo
