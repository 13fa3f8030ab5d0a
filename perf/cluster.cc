#include "perf/cluster.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <thread>

namespace sidecar::perf {
namespace {

namespace fs = std::filesystem;
using client_internal::SidecarStatus;

constexpr const char* kUcxFolder = "UCX_POSIX_DIR";
constexpr milliseconds kReadyWithin{60'000};
constexpr milliseconds kStopsWithin{20'000};
constexpr std::chrono::seconds kAnswersWithin{10};

// What a status shows that is not over yet: " send_bytes=4096 chunks=1".
std::string leftovers(const SidecarStatus& status) {
  std::string text;
  const auto add = [&text](const std::string& name, std::uint64_t value) {
    if (value != 0) text += " " + name + "=" + std::to_string(value);
  };
  for (const auto& region : status.memory) add(region.name + "_bytes", region.used_bytes);
  for (const auto& [name, value] : status.now) {
    if (name != "clients" && name != "peers_connected") add(name, value);
  }
  for (const char* level : {"lent", "foreign", "quarantined"}) add(level, counter(status, level));
  return text;
}

}  // namespace

std::uint64_t counter(const SidecarStatus& status, const std::string& name) {
  for (const auto* list : {&status.now, &status.counters}) {
    for (const auto& [candidate, value] : *list) {
      if (candidate == name) return value;
    }
  }
  std::fprintf(stderr, "a sidecar counts no '%s'\n", name.c_str());
  std::abort();
}

Cluster::Cluster(ClusterOptions options)
    : options_(std::move(options)), folder_(options_.above + "/sidecars."), members_(options_.nodes.size()) {
  fs::create_directory(arenas());
  if (auto credentials = client_internal::credentials_of(options_.tls)) {
    credentials_ = *std::move(credentials);
  } else {
    std::fprintf(stderr, "%s\n", to_string(credentials.error()).c_str());
    std::abort();
  }
  // UCX makes files of its own, which stay when a process is killed while it makes one.
  setenv(kUcxFolder, folder().c_str(), 0);
}

Cluster::~Cluster() {
  const char* const set = std::getenv(kUcxFolder);
  if (set != nullptr && set == folder()) unsetenv(kUcxFolder);
}

// How that sidecar learns of the others.
std::vector<std::string> Cluster::membership(Rank rank) const {
  if (!options_.etcd.empty()) {
    const std::string port = std::to_string(members_.at(static_cast<std::size_t>(rank)).port.number());
    return {"--membership", "etcd", "--etcd", options_.etcd, "--grpc-port", port};
  }
  std::string text;
  for (Rank each = 0; each < size(); ++each)
    text += (each == 0 ? "" : ",") + std::to_string(each) + "=" + address(each);
  return {"--peers", text};
}

Rank Cluster::add(const std::string& node) {
  options_.nodes.push_back(node);
  members_.emplace_back();
  return size() - 1;
}

Place Cluster::place(Rank rank) const {
  return options_.places.empty() ? Place{} : options_.places.at(static_cast<std::size_t>(rank));
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
  member.log = folder() + "/rank" + std::to_string(rank) + "." + std::to_string(++member.starts) + ".log";
  ProcessOptions process;
  const Place at = place(rank);
  process.argv = {program_path("sidecard"),
                  "--rank",
                  std::to_string(rank),
                  "--node",
                  options_.nodes[static_cast<std::size_t>(rank)],
                  "--listen",
                  at.address,
                  "--data-port",
                  "0",
                  "--shm-size",
                  options_.arena,
                  "--shm-dir",
                  arenas()};
  const std::vector<std::string> membership_flags = membership(rank);
  process.argv.insert(process.argv.end(), membership_flags.begin(), membership_flags.end());
  for (const auto& [flag, file] : {std::pair{"--tls-ca", options_.tls.ca},
                                   {"--tls-cert", options_.tls.cert},
                                   {"--tls-key", options_.tls.key}}) {
    if (!file.empty()) process.argv.insert(process.argv.end(), {flag, file});
  }
  process.argv.insert(process.argv.end(), options_.flags.begin(), options_.flags.end());
  process.argv.insert(process.argv.end(), more_flags.begin(), more_flags.end());
  process.argv.insert(process.argv.begin(), at.enter.begin(), at.enter.end());
  process.environment = options_.environment;
  process.log = member.log;
  member.process = Process(std::move(process));
  member.killed = false;
}

std::string Cluster::await_ready(Rank rank) {
  Member& member = members_.at(static_cast<std::size_t>(rank));
  const auto line = member.process.wait_for_line("ready rank=", kReadyWithin);
  member.ready = line.value_or("");
  return line ? "" : "sidecard " + std::to_string(rank) + " did not get ready:\n" + log(rank);
}

void Cluster::kill(Rank rank) {
  Member& member = members_.at(static_cast<std::size_t>(rank));
  member.process.kill();
  member.killed = true;
}

std::string Cluster::stop() {
  std::string problem;
  std::set<fs::path> excused;
  for (const Member& member : members_) member.process.signal(SIGTERM);
  for (Rank rank = 0; rank < size(); ++rank) {
    Member& member = members_[static_cast<std::size_t>(rank)];
    if (member.killed) excused.insert(ready_word(rank, "arena"));
    if (member.killed || member.starts == 0) continue;
    const auto ending = member.process.wait(kStopsWithin);
    if (ending == Ending{0, 0}) continue;
    problem += "sidecard " + std::to_string(rank) + ", told to end: " + to_string(ending) + "\n" + log(rank);
  }
  for (const auto& file : fs::directory_iterator(arenas())) {
    if (!excused.contains(file.path())) problem += "left behind: " + file.path().string() + "\n";
  }
  return problem;
}

std::string Cluster::address(Rank rank) const {
  return place(rank).address + ":" +
         std::to_string(members_.at(static_cast<std::size_t>(rank)).port.number());
}

client_internal::Contact Cluster::contact(Rank rank) const { return {address(rank), credentials_}; }

std::string Cluster::ready_word(Rank rank, const std::string& name) const {
  const std::string& line = members_.at(static_cast<std::size_t>(rank)).ready;
  const std::size_t at = line.find(" " + name + "=");
  if (at == line.npos) return "";
  const std::size_t begin = at + name.size() + 2;
  return line.substr(begin, line.find(' ', begin) - begin);
}

std::string Cluster::log(Rank rank) const {
  return read_file(members_.at(static_cast<std::size_t>(rank)).log);
}

ClientOptions Cluster::client_options(Rank rank) const {
  ClientOptions options;
  options.rank = rank;
  options.address = address(rank);
  options.tls = options_.tls;
  options.node = options_.nodes[static_cast<std::size_t>(rank)];
  options.deadline = std::chrono::seconds(60);
  return options;
}

SidecarStatus Cluster::status(Rank rank) const {
  auto answer = client_internal::ask_status(contact(rank), kAnswersWithin);
  if (!answer) {
    std::fprintf(stderr, "sidecard %d does not tell its status: %s\n%s\n", rank,
                 to_string(answer.error()).c_str(), log(rank).c_str());
    std::abort();
  }
  return *std::move(answer);
}

std::uint64_t Cluster::counter(Rank rank, const std::string& name) const {
  return perf::counter(status(rank), name);
}

void Cluster::restart_longest_step(Rank rank) const {
  if (client_internal::restart_longest_step(contact(rank), kAnswersWithin)) return;
  std::fprintf(stderr, "sidecard %d does not answer:\n%s\n", rank, log(rank).c_str());
  std::abort();
}

client_internal::PeerLine Cluster::peer(Rank rank, Rank of) const {
  const auto answer = client_internal::ask_peers(contact(rank), kAnswersWithin);
  if (answer) {
    for (const auto& line : *answer) {
      if (line.rank == of) return line;
    }
  }
  return {};
}

std::string Cluster::wait_until_empty(Rank rank, milliseconds wait_max) const {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    std::string held = leftovers(status(rank));
    if (held.empty() || std::chrono::steady_clock::now() > until) return held;
    std::this_thread::sleep_for(milliseconds{10});
  }
}

}  // namespace sidecar::perf
