// One end's executors: which sidecars it talks to, and how it connects to them.
#pragma once

#include <string>
#include <vector>

#include "client/registration.h"
#include "perf/tool/job.h"
#include "perf/tool/take.h"
#include "sidecar/client.h"

namespace sidecar::perf {

// A sidecar that an end's executor talks to.
struct Beside {
  Rank rank = kNoRank;
  std::string address;  // of its gRPC server
  std::string node;     // empty: this host
};

class End {
 public:
  explicit End(std::vector<Beside> sidecars) : sidecars_(std::move(sidecars)) {}

  [[nodiscard]] std::vector<Rank> ranks() const {
    std::vector<Rank> all;
    for (const Beside& one : sidecars_) all.push_back(one.rank);
    return all;
  }
  [[nodiscard]] std::size_t size() const { return sidecars_.size(); }

  // UCX's names for what carries data from our first sidecar to that rank's; empty when it does not say.
  [[nodiscard]] std::string transports_to(Rank rank) const {
    const auto peers = client_internal::ask_peers(client_internal::Contact(sidecars_.at(0).address),
                                                  std::chrono::seconds(5));
    for (const auto& peer : peers ? *peers : std::vector<client_internal::PeerLine>{}) {
      if (peer.rank == rank) return peer.transports;
    }
    return "";
  }

  // Our first sidecar's.
  [[nodiscard]] client_internal::SidecarStatus status() const {
    return take(client_internal::ask_status(client_internal::Contact(sidecars_.at(0).address),
                                            std::chrono::seconds(30)),
                "status");
  }

  // An executor beside the `i`-th of them.
  [[nodiscard]] Client connect(std::size_t i, const Job& job, Progress progress, Group group = {}) const {
    if (i >= sidecars_.size())
      fail_measurement("test " + job.test + " needs " + std::to_string(i + 1) +
                       " sidecars at this end; see --sidecar");
    const Beside& beside = sidecars_[i];
    ClientOptions options = take(ClientOptions::from_env(), "the environment");
    options.rank = beside.rank;
    options.address = beside.address;
    if (!beside.node.empty()) options.node = beside.node;
    options.deadline = std::chrono::seconds(60);  // the other end may have gone
    options.group = std::move(group);
    options.concurrent_copy = !options.group.empty();
    options.progress = progress;
    options.polling = job.poll == "busy"    ? Polling::kBusy
                      : job.poll == "event" ? Polling::kEvent
                                            : Polling::kAdaptive;
    return take(Client::connect(options), "connecting");
  }

 private:
  std::vector<Beside> sidecars_;
};

}  // namespace sidecar::perf
