#include "tests/e2e/cluster.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace sidecar::e2e {

Cluster::Cluster(ClusterOptions options) : perf::Cluster(std::move(options)) { EXPECT_EQ(start(), ""); }

Cluster::~Cluster() {
  for (Rank rank = 0; rank < size(); ++rank) {
    if (!process(rank).running()) continue;
    EXPECT_EQ(wait_until_empty(rank, seconds(10)), "") << "rank " << rank;
  }
  EXPECT_EQ(stop(), "");
}

Client Cluster::client(Rank rank, ClientOptions options) const {
  options.rank = rank;
  options.address = address(rank);
  auto client = Client::connect(options);
  if (client) return std::move(*client);
  ADD_FAILURE() << "client of rank " << rank << ": " << to_string(client.error()) << "\n" << log(rank);
  return {};
}

void Cluster::restart(Rank rank) {
  kill(rank);
  EXPECT_EQ(start(rank), "");
}

bool Cluster::becomes_empty(Rank rank, milliseconds wait_max) const {
  return wait_until_empty(rank, wait_max).empty();
}

ino_t Cluster::arena_inode(Rank rank) const {
  struct stat facts{};
  EXPECT_EQ(::stat(ready_word(rank, "arena").c_str(), &facts), 0) << "rank " << rank;
  return facts.st_ino;
}

namespace {

std::vector<std::string> argv_at(const perf::Place& place) {
  std::vector<std::string> argv = place.enter;
  argv.push_back(perf::program_folder() + "/e2e_executor");
  return argv;
}

}  // namespace

Executor::Executor(const Cluster& cluster, Rank rank, const std::string& options)
    : process_({.argv = argv_at(cluster.place(rank)), .talk = true}) {
  EXPECT_EQ(ask("connect " + std::to_string(rank) + " " + cluster.address(rank) + " " + options), "ok");
}

std::string Executor::ask(const std::string& command, milliseconds wait_max) {
  tell(command);
  return answer(wait_max);
}

std::string Executor::answer(milliseconds wait_max) {
  const auto line = process_.read_line(wait_max);
  if (line) return *line;
  return process_.running() ? "silent" : "gone";
}

}  // namespace sidecar::e2e
