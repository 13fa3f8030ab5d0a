#include "client/demo/sidecars.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <random>
#include <sstream>
#include <thread>

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReadyWait{60};
constexpr std::chrono::seconds kEndWait{15};
// Below the ports that systems give to outgoing connections, which come and go at any time.
constexpr std::uint32_t kPortFirst = 20000;
constexpr std::uint32_t kPortEnd = 32000;

Failure failure(const std::string& text) { return {Errc::kInternal, kNoRank, text}; }

bool is_free(std::uint16_t port) {
  const Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return fd.valid() && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
         bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// Every sidecar must know the others' gRPC ports before any has started, so "any free port" is not enough for
// these.
Expected<std::vector<std::uint16_t>> free_ports(std::size_t count) {
  std::vector<std::uint16_t> ports;
  const std::uint32_t start = std::random_device()() % (kPortEnd - kPortFirst);
  for (std::uint32_t i = 0; i < kPortEnd - kPortFirst && ports.size() < count; ++i) {
    const auto port = static_cast<std::uint16_t>(kPortFirst + (start + i) % (kPortEnd - kPortFirst));
    if (is_free(port)) ports.push_back(port);
  }
  if (ports.size() < count) return failure("no free ports on 127.0.0.1");
  return ports;
}

std::string arena_folder(const Stage& stage) { return stage.folder() + "/arenas"; }

// The value of NAME=VALUE among a line's words.
std::string value_of(const std::string& line, const std::string& name) {
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    if (word.starts_with(name + "=")) return word.substr(name.size() + 1);
  }
  return {};
}

// The arena's file, from the line that says that the sidecar is ready.
Expected<std::string> wait_until_ready(Stage& stage, Child& child) {
  const auto until = Clock::now() + kReadyWait;
  while (Clock::now() < until) {
    const bool ended = stage.wait(child, std::chrono::milliseconds(20));
    std::istringstream log(child.log_text());
    for (std::string line; std::getline(log, line);) {
      if (line.starts_with("ready ") && !log.eof()) return value_of(line, "arena");
    }
    if (ended) return failure(child.name() + " did not start: " + child.end_text() + child.log_tail());
  }
  return failure(child.name() + " is not ready after " + std::to_string(kReadyWait.count()) + " s" +
                 child.log_tail());
}

}  // namespace

Expected<std::vector<RunningSidecar>> start_sidecars(Stage& stage, const std::string& program) {
  const auto ports = free_ports(kPlaces.size());
  if (!ports) return ports.error();
  if (mkdir(arena_folder(stage).c_str(), 0700) != 0)
    return failure(std::string("mkdir: ") + std::strerror(errno));
  std::string peers;
  std::vector<RunningSidecar> sidecars;
  for (std::size_t i = 0; i < kPlaces.size(); ++i) {
    const std::string address = "127.0.0.1:" + std::to_string((*ports)[i]);
    peers += (peers.empty() ? "" : ",") + std::to_string(kPlaces[i].rank) + "=" + address;
    sidecars.push_back({kPlaces[i], address, {}, nullptr});
  }
  for (RunningSidecar& sidecar : sidecars) {
    const std::string rank = std::to_string(sidecar.place.rank);
    const std::string name = "sidecard-" + rank;
    sidecar.child = &stage.start(
        {name,
         {program, "--rank", rank, "--peers", peers, "--node", sidecar.place.node, "--data-port", "0",
          "--shm-dir", arena_folder(stage), "--shm-size", std::to_string(sidecar.place.arena_bytes),
          "--receive-percent", std::to_string(sidecar.place.receive_percent), "--drain-timeout", "5s"},
         stage.log_path(name)});
  }
  for (RunningSidecar& sidecar : sidecars) {
    auto arena = wait_until_ready(stage, *sidecar.child);
    if (!arena) return arena.error();
    sidecar.arena = std::move(*arena);
  }
  return sidecars;
}

Expected<void> end_sidecars(Stage& stage, const std::vector<RunningSidecar>& sidecars) {
  for (const RunningSidecar& sidecar : sidecars) stage.signal(*sidecar.child, SIGTERM);
  for (const RunningSidecar& sidecar : sidecars) {
    Child& child = *sidecar.child;
    if (!stage.wait(child, kEndWait)) return failure(child.name() + " does not end" + child.log_tail());
    if (!child.succeeded())
      return failure(child.name() + " ended with " + child.end_text() + child.log_tail());
  }
  std::error_code error;
  if (!std::filesystem::is_empty(arena_folder(stage), error)) {
    return failure("the sidecars have left files in " + arena_folder(stage));
  }
  return {};
}

}  // namespace sidecar::demo
