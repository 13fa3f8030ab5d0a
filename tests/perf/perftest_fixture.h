// A serve-perftest program, and stock ucx_perftest clients for it.
#pragma once

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/fd.h"
#include "perf/folder.h"
#include "perf/process.h"

namespace sidecar::perf {

using Words = std::vector<std::string>;
inline const Words kTcp{"UCX_TLS=tcp", "UCX_NET_DEVICES=lo"};
inline const Words kShared{"UCX_TLS=sysv,posix,cma,tcp", "UCX_NET_DEVICES=lo"};
inline constexpr std::chrono::seconds kPatience{30};

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

class PerftestServer : public testing::Test {
 protected:
  // Returns when it listens.
  void serve(const Words& options = {}, const Words& environment = kTcp) {
    server_ =
        Process({.argv = Words{program_path("sidecar-perf"), "--serve-perftest", "--port", "0"} + options,
                 .environment = environment,
                 .log = folder_.path() + "/server" + std::to_string(servers_++) + ".log"});
    const std::string before = "perftest server: listening on port ";
    const auto line = server_.wait_for_line(before, kPatience);
    CHECK(line.has_value());
    port_ = line->substr(before.size(), line->find(' ', before.size()) - before.size());
    version_ = line->substr(line->rfind(' ') + 1);
  }

  // A stock client of it, running.
  [[nodiscard]] Process client(const Words& options, const Words& environment = kTcp) const {
    return Process({.argv = Words{"/usr/bin/ucx_perftest", "127.0.0.1", "-p", port_, "-f", "-v"} + options,
                    .environment = environment,
                    .log = folder_.path() + "/client.log",
                    .talk = true});
  }

  struct Outcome {
    std::optional<Ending> ending;
    std::string iterations;  // of the final row
    std::string complaints;  // standard error
  };
  [[nodiscard]] Outcome run_client(const Words& options, const Words& environment = kTcp) const {
    Process process = client(options, environment);
    Outcome outcome;
    while (const auto line = process.read_line(kPatience)) {
      const std::size_t begin = line->find_first_not_of(' ');  // it writes small numbers with blanks before
      if (begin != line->npos) outcome.iterations = line->substr(begin, line->find(',') - begin);
    }
    outcome.ending = process.wait(kPatience);
    outcome.complaints = process.log_text();
    return outcome;
  }

  // The server is fine: it serves this one.
  void expect_service(const Words& environment = kTcp) const {
    const Outcome outcome = run_client({"-t", "ucp_am_lat", "-n", "100", "-w", "10"}, environment);
    EXPECT_EQ(outcome.ending, (Ending{0, 0})) << outcome.complaints << server_.log_text();
    EXPECT_EQ(outcome.iterations, "100");
  }

  // Somebody who is no ucx_perftest.
  [[nodiscard]] Fd stranger() const {
    Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port_)));
    CHECK(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return fd;
  }
  // Waits until the server has ended that connection.
  static void expect_end(const Fd& connection) {
    const timeval limit{.tv_sec = kPatience.count(), .tv_usec = 0};
    setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    std::array<char, 4096> bytes;
    ssize_t n = 0;
    do n = recv(connection.get(), bytes.data(), bytes.size(), 0);
    while (n > 0);
    EXPECT_TRUE(n == 0 || errno == ECONNRESET) << errno;
  }

  // It ends when it is told to, and its children with it.
  Ending end_server(int signal = SIGTERM) {
    server_.signal(signal);
    const auto ending = server_.wait(kPatience);
    CHECK(ending.has_value());
    return *ending;
  }

  void TearDown() override {
    if (server_.running()) {
      EXPECT_EQ(end_server(), (Ending{0, 0}));
    }
  }

  // What our made-up clients say is laid out like that.
  [[nodiscard]] bool is_1_13_to_1_16() const { return version_ >= "1.13" && version_ < "1.17"; }

  Folder folder_{"/tmp/sidecar-perftest-"};
  Process server_;
  std::string port_;
  std::string version_;  // of UCX, which the server runs with
  int servers_ = 0;
};

}  // namespace sidecar::perf
