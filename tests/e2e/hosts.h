// Hosts on this machine: network namespaces, each with its own loopback and two interfaces with addresses of
// their own, and bridges that join them. The program that uses this lives in a namespace too, in which the
// bridges are, so that nothing of the machine's own network is touched, and all is gone when the processes
// are, however they end.
#pragma once

#include <string>
#include <vector>

#include "perf/cluster.h"

namespace sidecar::e2e {

class Hosts {
 public:
  enum class Way { kIn, kOut, kBoth };

  // Why there can be none here; empty: there can.
  static std::string unable();

  explicit Hosts(int count);  // expects that all can be made
  ~Hosts();

  // Where a process of that host runs, and what it listens on.
  [[nodiscard]] perf::Place place(int host, int interface = 0) const;

  // From now on, of that host's packets:
  void lose(int host, int percent);    // so many of those that arrive are lost
  void limit(int host, int megabits);  // no more per second are sent, on either interface
  void cut(int host, Way way);         // none comes in, goes out, or both
  void heal(int host);                 // neither lost nor cut any more

 private:
  [[nodiscard]] std::vector<std::string> enter(int host) const;
  void rule(int host, const std::string& text) const;

  std::vector<perf::Process> holders_;  // each keeps a namespace
};

}  // namespace sidecar::e2e
