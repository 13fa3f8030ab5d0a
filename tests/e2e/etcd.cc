#include "tests/e2e/etcd.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <thread>

#include "control/etcd.grpc.pb.h"
#include "control/etcd_client.h"
#include "core/fd.h"

namespace sidecar::e2e {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kCallLimit{2'000};
constexpr seconds kStartsWithin{30};

// Empty: it is nowhere on PATH.
std::string find_program(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    const std::string program = folder + "/" + name;
    if (access(program.c_str(), X_OK) == 0) return program;
  }
  return {};
}

// What its server says about itself; empty: nothing.
std::string metrics(std::uint16_t port) {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{2, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  constexpr std::string_view kAsk = "GET /metrics HTTP/1.0\r\n\r\n";
  if (write(fd.get(), kAsk.data(), kAsk.size()) != static_cast<ssize_t>(kAsk.size())) return {};
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

}  // namespace

bool Etcd::there_is_one() { return !find_program("etcd").empty(); }

Etcd::Etcd(std::size_t servers) : servers_(servers) {
  for (std::size_t i = 0; i < servers; ++i) launch(i);
  for (std::size_t i = 0; i < servers; ++i) await(i);
}

std::string Etcd::endpoint(std::size_t server) const {
  return "127.0.0.1:" + std::to_string(servers_.at(server).client.number());
}

std::string Etcd::endpoints() const {
  std::string text;
  for (std::size_t i = 0; i < servers_.size(); ++i) text += (i == 0 ? "" : ",") + endpoint(i);
  return text;
}

std::string Etcd::log(std::size_t server) const {
  return folder_.path() + "/" + std::to_string(server) + ".log";
}

void Etcd::launch(std::size_t server) {
  const auto peer_url = [&](std::size_t i) {
    return "http://127.0.0.1:" + std::to_string(servers_[i].peer.number());
  };
  const auto name = [](std::size_t i) { return "server" + std::to_string(i); };
  std::string all;
  for (std::size_t i = 0; i < servers_.size(); ++i) all += (i == 0 ? "" : ",") + name(i) + "=" + peer_url(i);
  const std::string client_url = "http://" + endpoint(server);
  perf::ProcessOptions process;
  process.argv = {find_program("etcd"),
                  "--name",
                  name(server),
                  "--data-dir",
                  folder_.path() + "/" + name(server),
                  "--listen-client-urls",
                  client_url,
                  "--advertise-client-urls",
                  client_url,
                  "--listen-peer-urls",
                  peer_url(server),
                  "--initial-advertise-peer-urls",
                  peer_url(server),
                  "--initial-cluster",
                  all};
  process.log = log(server);
  servers_[server].process = perf::Process(std::move(process));
}

void Etcd::await(std::size_t server) const {
  const auto until = std::chrono::steady_clock::now() + kStartsWithin;
  while (true) {
    EtcdClient client(endpoint(server), kCallLimit);
    const auto answer = client.list("/");
    if (answer) return;
    if (std::chrono::steady_clock::now() > until) {
      ADD_FAILURE() << "etcd " << server << " does not answer: " << answer.error() << "\n"
                    << perf::read_file(log(server));
      return;
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
}

void Etcd::kill(std::size_t server) { servers_.at(server).process.kill(); }

void Etcd::start(std::size_t server) {
  launch(server);
  await(server);
}

std::size_t Etcd::leader() const {
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (metrics(servers_[i].client.number()).find("\netcd_server_is_leader 1") != std::string::npos) return i;
  }
  return servers_.size();
}

std::int64_t Etcd::lease_of(Rank rank) const {
  EtcdClient client(endpoint(0), kCallLimit);
  const auto answer = client.list("/sidecar/members/" + std::to_string(rank));
  EXPECT_TRUE(answer) << answer.error();
  return answer && !answer->records.empty() ? answer->records.front().lease : 0;
}

void Etcd::revoke(std::int64_t lease) const {
  EtcdClient client(endpoint(0), kCallLimit);
  const auto done = client.revoke(lease);
  EXPECT_TRUE(done) << done.error();
}

void Etcd::compact() const {
  namespace pb = etcdserverpb;
  const auto stub = pb::KV::NewStub(grpc::CreateChannel(endpoint(0), grpc::InsecureChannelCredentials()));
  pb::PutResponse last;
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    pb::PutRequest put;
    put.set_key("/elsewhere");
    put.set_value(std::to_string(i));
    const grpc::Status status = stub->Put(&context, put, &last);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  grpc::ClientContext context;
  pb::CompactionRequest request;
  request.set_revision(last.header().revision());
  pb::CompactionResponse response;
  const grpc::Status status = stub->Compact(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
}

}  // namespace sidecar::e2e
