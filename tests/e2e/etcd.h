// A real etcd of one or three servers, in a folder of its own and at ports that were free; everything goes
// with it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "perf/folder.h"
#include "perf/port.h"
#include "perf/process.h"

namespace sidecar::e2e {

class Etcd {
 public:
  // The program is on this machine.
  static bool there_is_one();

  // Starts all and waits until they answer.
  explicit Etcd(std::size_t servers = 1);

  [[nodiscard]] std::string endpoints() const;  // host:port,host:port
  [[nodiscard]] std::string endpoint(std::size_t server) const;
  [[nodiscard]] std::size_t size() const { return servers_.size(); }
  // SIGKILL; with what it had on its disk it comes back at the same address.
  void kill(std::size_t server);
  void start(std::size_t server);
  // Which one leads the others; size(): none that says so.
  [[nodiscard]] std::size_t leader() const;

  // Our keys, as an operator would treat them.
  [[nodiscard]] std::int64_t lease_of(Rank rank) const;  // 0: it has no record
  void revoke(std::int64_t lease) const;
  // Many changes to other keys, and then all history is forgotten.
  void compact() const;

 private:
  struct Server {
    perf::ReservedPort client;
    perf::ReservedPort peer;
    perf::Process process{};
  };
  void launch(std::size_t server);
  void await(std::size_t server) const;
  [[nodiscard]] std::string log(std::size_t server) const;

  perf::Folder folder_{"/dev/shm/etcd."};
  std::vector<Server> servers_;
};

#define NEEDS_ETCD()         \
  if (!Etcd::there_is_one()) \
  GTEST_SKIP() << "there is no program 'etcd' (package etcd-server) on this machine"

}  // namespace sidecar::e2e
