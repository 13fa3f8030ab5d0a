#include "client/demo/cast.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "client/demo/backing.h"
#include "client/demo/roles.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kEndWait{10};
constexpr int kLookMs = 100;  // how often the sidecars are looked at, and the progress is shown at most

Failure failure(const std::string& text) { return {Errc::kInternal, kNoRank, text}; }

struct Player {
  Child* child = nullptr;
  Rank rank = kNoRank;
  std::uint64_t bytes = 0;  // so far
  std::string holds{};      // readers: where their views lie
};

class Cast {
 public:
  Cast(Stage& stage, const std::string& program, const std::vector<RunningSidecar>& sidecars)
      : stage_(stage), program_(program), sidecars_(sidecars) {}
  Expected<Played> run();

 private:
  void start(const std::string& name, Rank rank, const std::string& role,
             const std::vector<std::string>& more);
  void start_consumer(const std::string& name, const std::string& role, Rank rank, Rank arena_of);
  Expected<void> hear(Player& player);
  Expected<void> on_line(Player& player, const std::string& line);
  Expected<void> on_hold();
  Expected<void> check_sidecars();
  [[nodiscard]] Expected<void> check_complete() const;
  void show_progress(bool over);

  Stage& stage_;
  const std::string program_;
  const std::vector<RunningSidecar>& sidecars_;
  std::vector<Player> players_;
  Played played_;
  Clock::time_point shown_;
};

const RunningSidecar& at(const std::vector<RunningSidecar>& sidecars, Rank rank) {
  return sidecars.at(static_cast<std::size_t>(rank));
}

void Cast::start(const std::string& name, Rank rank, const std::string& role,
                 const std::vector<std::string>& more) {
  std::vector<std::string> argv{program_, role};
  argv.insert(argv.end(), more.begin(), more.end());
  players_.push_back({&stage_.start({name, argv, stage_.log_path(name), true}), rank});
}

void Cast::start_consumer(const std::string& name, const std::string& role, Rank rank, Rank arena_of) {
  start(name, rank, role, {std::to_string(rank), at(sidecars_, rank).address, at(sidecars_, arena_of).arena});
}

Expected<Played> Cast::run() {
  played_.arena_inode = inode_of(at(sidecars_, kProducerRank).arena).value_or(0);
  start_consumer("consumer-1", "consume", kSameNodeRank,
                 kProducerRank);  // in the producer's arena: not copied
  start_consumer("consumer-2", "consume", kOtherNodeRank, kOtherNodeRank);
  start_consumer("reader-3a", "read", kReadersRank, kReadersRank);
  start_consumer("reader-3b", "read", kReadersRank, kReadersRank);
  start("producer", kProducerRank, "produce", {at(sidecars_, kProducerRank).address, stage_.folder()});
  for (;;) {
    std::vector<pollfd> polled;
    for (const Player& player : players_) polled.push_back({player.child->fd(), POLLIN, 0});
    if (std::all_of(polled.begin(), polled.end(), [](const pollfd& entry) { return entry.fd < 0; })) break;
    const int ready = poll(polled.data(), polled.size(), kLookMs);
    for (std::size_t i = 0; ready > 0 && i < polled.size(); ++i) {
      if (polled[i].revents == 0) continue;
      if (auto fine = hear(players_[i]); !fine) return fine.error();
    }
    if (auto fine = check_sidecars(); !fine) return fine.error();
    show_progress(false);
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
  Child& child = *player.child;
  std::vector<std::string> lines;
  const bool more = child.read_lines(&lines);
  for (const std::string& line : lines) {
    if (auto fine = on_line(player, line); !fine) return fine;
  }
  if (more) return {};
  if (!stage_.wait(child, kEndWait)) return failure(child.name() + " does not end" + child.log_tail());
  if (!child.succeeded()) return failure(child.name() + " ended with " + child.end_text() + child.log_tail());
  return {};
}

Expected<void> Cast::on_line(Player& player, const std::string& line) {
  std::istringstream words(line);
  std::string what;
  words >> what;
  if (what == "failed")
    return failure(player.child->name() + ": " + line.substr(what.size() + 1) + player.child->log_tail());
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
  if (words.fail()) return failure(player.child->name() + " said something odd: " + line);
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
  for (const Player* player : holding) player->child->write_line();
  return {};
}

Expected<void> Cast::check_sidecars() {
  for (const RunningSidecar& sidecar : sidecars_) {
    Child& child = *sidecar.child;
    if (stage_.wait(child, std::chrono::milliseconds(0))) {
      return failure(child.name() + " ended with " + child.end_text() + child.log_tail());
    }
  }
  return {};
}

void Cast::show_progress(bool over) {
  if (isatty(STDOUT_FILENO) == 0) return;
  const auto now = Clock::now();
  if (!over && now - shown_ < std::chrono::milliseconds(kLookMs)) return;
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

Expected<Played> play_roles(Stage& stage, const std::string& program,
                            const std::vector<RunningSidecar>& sidecars) {
  return Cast(stage, program, sidecars).run();
}

}  // namespace sidecar::demo
