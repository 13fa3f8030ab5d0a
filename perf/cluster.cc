#include "perf/cluster.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

namespace sidecar::perf {
namespace {

namespace fs = std::filesystem;
using client_internal::SidecarStatus;

constexpr milliseconds kReadyWithin{30'000};
constexpr milliseconds kStopsWithin{20'000};
constexpr std::chrono::seconds kAnswersWithin{10};

std::string make_folder(const char* pattern) {
  std::string path = pattern;
  if (mkdtemp(path.data()) == nullptr) {
    std::fprintf(stderr, "%s: %s\n", pattern, std::strerror(errno));
    std::abort();
  }
  return path;
}

// What a status shows that is not over yet: "rank 1: 3 chunks, send region 4096 bytes".
std::string leftovers(const SidecarStatus& status) {
  std::string text;
  const auto add = [&text](const std::string& name, std::uint64_t value) {
    if (value != 0) text += " " + name + "=" + std::to_string(value);
  };
  for (const auto& region : status.memory) add(region.name + "_bytes", region.used_bytes);
  for (const auto& [name, value] : status.now) {
    if (name != "clients" && name != "peers_connected") add(name, value);
  }
  const std::set<std::string> levels{"lent", "foreign", "quarantined"};
  for (const auto& [name, value] : status.counters) {
    if (levels.contains(name)) add(name, value);
  }
  return text.empty() ? text : "rank " + std::to_string(status.rank) + ":" + text + "\n";
}

}  // namespace

Cluster::Cluster(ClusterOptions options)
    : options_(std::move(options)),
      shm_folder_(make_folder("/dev/shm/sidecars-XXXXXX")),
      log_folder_(make_folder("/tmp/sidecars-XXXXXX")),
      members_(options_.nodes.size()) {}

Cluster::~Cluster() {
  for (Member& member : members_) member.process.kill();
  std::error_code ignored;
  fs::remove_all(shm_folder_, ignored);
  fs::remove_all(log_folder_, ignored);
}

std::string Cluster::peers() const {
  std::string text;
  for (std::size_t rank = 0; rank < members_.size(); ++rank) {
    text += (rank == 0 ? "" : ",") + std::to_string(rank) +
            "=127.0.0.1:" + std::to_string(members_[rank].port.number());
  }
  return text;
}

std::string Cluster::start() {
  for (Rank rank = 0; rank < size(); ++rank) launch(rank, {});
  std::string problem;
  for (Rank rank = 0; rank < size(); ++rank) problem += await_ready(rank);
  return problem;
}

std::string Cluster::start(Rank rank, const std::vector<std::string>& more_flags) {
  launch(rank, more_flags);
  return await_ready(rank);
}

void Cluster::launch(Rank rank, const std::vector<std::string>& more_flags) {
  Member& member = members_.at(static_cast<std::size_t>(rank));
  member.log = log_folder_ + "/rank" + std::to_string(rank) + "." + std::to_string(++member.starts) + ".log";
  ProcessOptions process;
  process.argv = {program_path("sidecard"),
                  "--rank",
                  std::to_string(rank),
                  "--node",
                  options_.nodes[static_cast<std::size_t>(rank)],
                  "--peers",
                  peers(),
                  "--data-port",
                  "0",
                  "--shm-size",
                  options_.arena,
                  "--shm-dir",
                  shm_folder_};
  process.argv.insert(process.argv.end(), options_.flags.begin(), options_.flags.end());
  process.argv.insert(process.argv.end(), more_flags.begin(), more_flags.end());
  process.environment = options_.environment;
  process.log = member.log;
  member.process = Process(std::move(process));
}

std::string Cluster::await_ready(Rank rank) {
  Member& member = members_.at(static_cast<std::size_t>(rank));
  const auto line = member.process.wait_for_line("ready rank=", kReadyWithin);
  member.ready = line.value_or("");
  return line ? "" : "sidecard " + std::to_string(rank) + " did not get ready:\n" + log(rank);
}

std::string Cluster::stop() {
  std::vector<Rank> running;
  for (Rank rank = 0; rank < size(); ++rank) {
    if (process(rank).running()) running.push_back(rank);
  }
  for (const Rank rank : running) process(rank).signal(SIGTERM);
  std::string problem;
  for (const Rank rank : running) {
    const auto ending = process(rank).wait(kStopsWithin);
    if (ending == Ending{0, 0}) continue;
    problem += "sidecard " + std::to_string(rank) + " did not exit with 0 when told to end, but ";
    problem +=
        !ending ? "went on"
                : "with code " + std::to_string(ending->code) + ", signal " + std::to_string(ending->signal);
    problem += ":\n" + log(rank);
  }
  for (const std::string& file : shm_files()) problem += "left behind: " + file + "\n";
  return problem;
}

std::string Cluster::address(Rank rank) const {
  return "127.0.0.1:" + std::to_string(members_.at(static_cast<std::size_t>(rank)).port.number());
}

std::string Cluster::ready_word(Rank rank, const std::string& name) const {
  const std::string& line = members_.at(static_cast<std::size_t>(rank)).ready;
  const std::size_t at = line.find(" " + name + "=");
  if (at == line.npos) return "";
  const std::size_t begin = at + name.size() + 2;
  return line.substr(begin, line.find(' ', begin) - begin);
}

std::vector<std::string> Cluster::shm_files() const {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(shm_folder_)) files.push_back(entry.path().string());
  return files;
}

std::string Cluster::log(Rank rank) const {
  return read_file(members_.at(static_cast<std::size_t>(rank)).log);
}

ClientOptions Cluster::client_options(Rank rank) const {
  ClientOptions options;
  options.rank = rank;
  options.address = address(rank);
  options.node = options_.nodes[static_cast<std::size_t>(rank)];
  options.deadline = std::chrono::seconds(60);
  return options;
}

SidecarStatus Cluster::status(Rank rank) const {
  auto answer = client_internal::ask_status(address(rank), kAnswersWithin);
  if (!answer) {
    std::fprintf(stderr, "sidecard %d does not tell its status: %s\n%s\n", rank,
                 to_string(answer.error()).c_str(), log(rank).c_str());
    std::abort();
  }
  return *std::move(answer);
}

std::uint64_t Cluster::counter(Rank rank, const std::string& name) const {
  const SidecarStatus answer = status(rank);
  for (const auto* list : {&answer.now, &answer.counters}) {
    for (const auto& [candidate, value] : *list) {
      if (candidate == name) return value;
    }
  }
  std::fprintf(stderr, "a sidecar counts no '%s'\n", name.c_str());
  std::abort();
}

client_internal::PeerLine Cluster::peer(Rank rank, Rank of) const {
  const auto answer = client_internal::ask_peers(address(rank), kAnswersWithin);
  if (answer) {
    for (const auto& line : *answer) {
      if (line.rank == of) return line;
    }
  }
  return {};
}

std::string Cluster::wait_until_empty(milliseconds wait_max) {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    std::string held;
    for (Rank rank = 0; rank < size(); ++rank) {
      if (process(rank).running()) held += leftovers(status(rank));
    }
    if (held.empty() || std::chrono::steady_clock::now() > until) return held;
    std::this_thread::sleep_for(milliseconds{10});
  }
}

}  // namespace sidecar::perf
