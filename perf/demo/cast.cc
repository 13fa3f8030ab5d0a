#include "perf/demo/cast.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <thread>

#include "perf/demo/backing.h"
#include "perf/demo/roles.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLook{5};
constexpr std::chrono::milliseconds kShow{100};

Failure failure(const std::string& text) { return {Errc::kInternal, kNoRank, text}; }

struct Player {
  std::string name;
  Rank rank = kNoRank;
  perf::Process process;
  bool ended = false;
  std::uint64_t bytes = 0;  // so far
  std::string holds{};      // readers: where their views lie
};

class Cast {
 public:
  explicit Cast(perf::Cluster& cluster) : cluster_(cluster) {}
  Expected<Played> run();

 private:
  void start(const std::string& name, Rank rank, std::vector<std::string> arguments);
  void start_consumer(const std::string& name, const std::string& role, Rank rank, Rank arena_of);
  Expected<void> hear(Player& player);
  Expected<void> on_line(Player& player, const std::string& line);
  Expected<void> on_hold();
  Expected<void> check_sidecars();
  [[nodiscard]] Expected<void> check_complete() const;
  void show_progress(bool over);

  perf::Cluster& cluster_;
  std::vector<Player> players_;
  Played played_;
  Clock::time_point shown_;
};

void Cast::start(const std::string& name, Rank rank, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), perf::program_path("sidecar-demo"));
  const std::string log = cluster_.folder() + "/" + name + ".log";
  players_.push_back({name, rank, perf::Process({.argv = std::move(arguments), .log = log, .talk = true})});
}

void Cast::start_consumer(const std::string& name, const std::string& role, Rank rank, Rank arena_of) {
  start(name, rank,
        {role, std::to_string(rank), cluster_.address(rank), cluster_.ready_word(arena_of, "arena")});
}

Expected<Played> Cast::run() {
  played_.arena_inode = inode_of(cluster_.ready_word(kProducerRank, "arena")).value_or(0);
  start_consumer("consumer-1", "consume", kSameNodeRank,
                 kProducerRank);  // in the producer's arena: not copied
  start_consumer("consumer-2", "consume", kOtherNodeRank, kOtherNodeRank);
  start_consumer("reader-3a", "read", kReadersRank, kReadersRank);
  start_consumer("reader-3b", "read", kReadersRank, kReadersRank);
  start("producer", kProducerRank, {"produce", cluster_.address(kProducerRank), cluster_.folder()});
  while (!std::all_of(players_.begin(), players_.end(), [](const Player& player) { return player.ended; })) {
    for (Player& player : players_) {
      if (auto fine = hear(player); !fine) return fine.error();
    }
    if (auto fine = check_sidecars(); !fine) return fine.error();
    show_progress(false);
    std::this_thread::sleep_for(kLook);
  }
  show_progress(true);
  if (auto fine = check_complete(); !fine) return fine.error();
  return std::move(played_);
}

// Whoever says nothing has not succeeded.
Expected<void> Cast::check_complete() const {
  const std::uint64_t data = played_.input.files + played_.input.tensors;
  const std::pair<Rank, std::size_t> expected[] = {
      {kSameNodeRank, 1}, {kOtherNodeRank, 1}, {kReadersRank, 2}};
  for (const auto& [rank, processes] : expected) {
    const auto outcomes = played_.outcomes.find(rank);
    const bool complete =
        outcomes != played_.outcomes.end() && outcomes->second.size() == processes &&
        std::all_of(outcomes->second.begin(), outcomes->second.end(), [&, to = rank](const Outcome& outcome) {
          return outcome.data == (to == kReadersRank ? 1 : data);
        });
    if (!complete) return failure("not everything has arrived at rank " + std::to_string(rank));
  }
  if (played_.input.bytes < kInputBytesMin) return failure("the input was too small");
  return {};
}

Expected<void> Cast::hear(Player& player) {
  perf::Process& process = player.process;
  if (player.ended) return {};
  player.ended = !process.running();  // looked at first: it has said everything by then
  while (const auto line = process.read_line({})) {
    if (auto fine = on_line(player, *line); !fine) return fine;
  }
  const auto ending = process.wait({});
  if (!player.ended || ending == perf::Ending{0, 0}) return {};
  return failure(player.name + " ended with " + to_string(ending) + process.log_tail());
}

Expected<void> Cast::on_line(Player& player, const std::string& line) {
  std::istringstream words(line);
  std::string what;
  words >> what;
  if (what == "failed")
    return failure(player.name + ": " + line.substr(what.size() + 1) + player.process.log_tail());
  if (what == "input") {
    words >> played_.input.files >> played_.input.tensors >> played_.input.bytes;
  } else if (what == "progress") {
    words >> player.bytes;
  } else if (what == "holds") {
    player.holds = line;
    return on_hold();
  } else if (what == "result") {
    Outcome outcome;
    words >> outcome.data >> outcome.chunks >> outcome.bytes >> outcome.seconds;
    played_.outcomes[player.rank].push_back(outcome);
  }
  if (words.fail()) return failure(player.name + " said something odd: " + line);
  return {};
}

// When both readers hold their views, they may go on; not before, or one could be through before the other
// has begun.
Expected<void> Cast::on_hold() {
  std::vector<const Player*> holding;
  for (const Player& player : players_) {
    if (!player.holds.empty()) holding.push_back(&player);
  }
  if (holding.size() < 2) return {};
  if (holding[0]->holds != holding[1]->holds) {
    return failure("two processes see one datum at different places: " + holding[0]->holds + " and " +
                   holding[1]->holds);
  }
  for (const Player* player : holding) player->process.write_line("");
  return {};
}

Expected<void> Cast::check_sidecars() {
  for (Rank rank = 0; rank < cluster_.size(); ++rank) {
    perf::Process& sidecard = cluster_.process(rank);
    if (sidecard.running()) continue;
    return failure("sidecard " + std::to_string(rank) + " ended with " + to_string(sidecard.wait({})) +
                   sidecard.log_tail());
  }
  return {};
}

void Cast::show_progress(bool over) {
  if (isatty(STDOUT_FILENO) == 0) return;
  const auto now = Clock::now();
  if (!over && now - shown_ < kShow) return;
  shown_ = now;
  if (over) {
    std::printf("\r\x1b[K");
  } else {
    const auto mib = [](std::uint64_t bytes) { return static_cast<unsigned long long>(bytes >> 20); };
    std::printf("\r   ");
    for (const Player& player : players_) {
      if (player.rank != kSameNodeRank && player.rank != kOtherNodeRank) continue;
      std::printf("rank %d has %llu of %llu MiB   ", player.rank, mib(player.bytes),
                  mib(played_.input.bytes));
    }
  }
  std::fflush(stdout);
}

}  // namespace

Expected<Played> play_roles(perf::Cluster& cluster) { return Cast(cluster).run(); }

}  // namespace sidecar::demo
