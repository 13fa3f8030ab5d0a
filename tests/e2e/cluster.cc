#include "tests/e2e/cluster.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "control/sidecar.grpc.pb.h"
#include "core/check.h"

namespace sidecar::e2e {
namespace {

std::string field_of(const std::string& line, const std::string& name) {
  std::istringstream words(line);
  std::string word;
  while (words >> word) {
    if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
  }
  return "";
}

template <class Response, class Request, class Call>
Response call(const std::string& address, Call&& method) {
  const auto stub = v1::Admin::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + seconds(10));
  Response response;
  const grpc::Status status = (stub.get()->*method)(&context, Request(), &response);
  EXPECT_TRUE(status.ok()) << address << ": " << status.error_message();
  return response;
}

}  // namespace

std::string folder_of_programs() { return SIDECAR_PROGRAMS; }

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  char path[] = "/dev/shm/sidecar-e2e-XXXXXX";
  CHECK(mkdtemp(path) != nullptr);
  directory_ = path;
  sidecards_.resize(options_.nodes.size());
  for (std::size_t r = 0; r < sidecards_.size(); ++r) {
    sidecards_[r].grpc = "127.0.0.1:" + std::to_string(sidecards_[r].port.number());
    peers_ += (r == 0 ? "" : ",") + std::to_string(r) + "=" + sidecards_[r].grpc;
  }
  for (std::size_t r = 0; r < sidecards_.size(); ++r) start(static_cast<Rank>(r));
  for (std::size_t r = 0; r < sidecards_.size(); ++r) await_ready(static_cast<Rank>(r));
}

void Cluster::start(Rank rank) {
  Sidecard& sidecard = sidecards_[index(rank)];
  const std::string log =
      directory_ + ".log." + std::to_string(rank) + "." + std::to_string(sidecard.starts++);
  std::vector<std::string> argv{folder_of_programs() + "/sidecard",
                                "--rank",
                                std::to_string(rank),
                                "--peers",
                                peers_,
                                "--node",
                                options_.nodes[index(rank)],
                                "--data-port",
                                "0",
                                "--shm-dir",
                                directory_,
                                "--shm-size",
                                options_.shm_size};
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  sidecard.process = perf::Process({.argv = std::move(argv), .log = log});
  sidecard.alive = true;
}

void Cluster::await_ready(Rank rank) {
  Sidecard& sidecard = sidecards_[index(rank)];
  const auto line = sidecard.process.wait_for_line("ready ", seconds(60));
  if (!line) ADD_FAILURE() << "sidecard " << rank << " did not start:\n" << log(rank);
  sidecard.data = field_of(line.value_or(""), "data");
  sidecard.arena = field_of(line.value_or(""), "arena");
}

Cluster::~Cluster() {
  for (std::size_t r = 0; r < sidecards_.size(); ++r) {
    if (!sidecards_[r].alive) continue;
    const auto rank = static_cast<Rank>(r);
    EXPECT_TRUE(becomes_empty(rank)) << "rank " << rank << " still holds something:\n"
                                     << stats(rank).DebugString();
  }
  for (const Sidecard& sidecard : sidecards_) {
    if (sidecard.alive) sidecard.process.signal(SIGTERM);
  }
  for (std::size_t r = 0; r < sidecards_.size(); ++r) {
    if (!sidecards_[r].alive) continue;
    const auto ending = sidecards_[r].process.wait(seconds(20));
    EXPECT_TRUE(ending.has_value()) << "sidecard " << r << " did not end";
    if (ending) {
      EXPECT_EQ(*ending, (perf::Ending{.code = 0})) << "sidecard " << r << ":\n" << log(static_cast<Rank>(r));
    }
  }
  // A killed sidecard leaves its file to the next start; with none to come, that is ours to do.
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    bool of_a_dead_one = false;
    for (const Sidecard& s : sidecards_) of_a_dead_one |= !s.alive && s.arena == entry.path();
    EXPECT_TRUE(of_a_dead_one) << "left behind: " << entry.path();
  }
  std::filesystem::remove_all(directory_);
  for (std::size_t r = 0; r < sidecards_.size(); ++r) {
    for (int n = 0; n < sidecards_[r].starts; ++n) {
      std::filesystem::remove(directory_ + ".log." + std::to_string(r) + "." + std::to_string(n));
    }
  }
}

std::string Cluster::address(Rank rank) const { return sidecards_[index(rank)].grpc; }

ino_t Cluster::arena_inode(Rank rank) const {
  struct stat facts{};
  EXPECT_EQ(::stat(arena_path(rank).c_str(), &facts), 0) << arena_path(rank);
  return facts.st_ino;
}

Client Cluster::client(Rank rank, ClientOptions options) const {
  options.rank = rank;
  options.address = address(rank);
  auto client = Client::connect(options);
  if (!client) {
    ADD_FAILURE() << "client of rank " << rank << ": " << to_string(client.error()) << "\n" << log(rank);
    return {};
  }
  return std::move(*client);
}

void Cluster::kill(Rank rank) {
  sidecards_[index(rank)].process.kill();
  sidecards_[index(rank)].alive = false;
}

void Cluster::restart(Rank rank) {
  if (sidecards_[index(rank)].alive) kill(rank);
  start(rank);
  await_ready(rank);
}

v1::StatsResponse Cluster::stats(Rank rank) const {
  return call<v1::StatsResponse, v1::StatsRequest>(
      address(rank),
      static_cast<grpc::Status (v1::Admin::Stub::*)(grpc::ClientContext*, const v1::StatsRequest&,
                                                    v1::StatsResponse*)>(&v1::Admin::Stub::Stats));
}

std::vector<v1::PeerRow> Cluster::peers(Rank rank) const {
  const auto response = call<v1::PeersResponse, v1::PeersRequest>(
      address(rank),
      static_cast<grpc::Status (v1::Admin::Stub::*)(grpc::ClientContext*, const v1::PeersRequest&,
                                                    v1::PeersResponse*)>(&v1::Admin::Stub::Peers));
  return {response.peers().begin(), response.peers().end()};
}

bool Cluster::becomes_empty(Rank rank, milliseconds wait_max) const {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  for (;;) {
    const v1::StatsResponse s = stats(rank);
    const std::uint64_t left = s.send().used_bytes() + s.receive().used_bytes() + s.reserve().used_bytes() +
                               s.chunks() + s.views() + s.waiting_sends() + s.waiting_recvs() +
                               s.parked_chunks() + s.outgoing();
    if (left == 0) return true;
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

Executor::Executor(const Cluster& cluster, Rank rank, const std::string& options)
    : process_({.argv = {folder_of_programs() + "/../tests/e2e_executor"}, .talk = true}) {
  const std::string connected =
      ask("connect " + std::to_string(rank) + " " + cluster.address(rank) + " " + options);
  EXPECT_EQ(connected, "ok");
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
