// What the gRPC services need of the sidecar behind them. One class implements it for the engine, another for
// tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "am_protocol/transport.h"
#include "control/drain.h"
#include "control/members.h"
#include "control/peers.h"
#include "core/cuda_api.h"
#include "core/engine.h"
#include "core/engine_stats.h"
#include "core/loop.h"
#include "core/messages.h"

namespace grpc {
class ChannelCredentials;
}

namespace sidecar {

// Who this sidecar is. Complete before the first service is reachable and constant from then on (`members`
// apart, whom any thread may ask): any thread may read it.
struct Identity {
  Rank rank = kNoRank;
  InstanceId instance = 0;
  std::string node;
  ArenaInfo arena;
  std::string arena_kind;     // what was chosen, and why
  std::string advertise;      // host that others are told
  std::string net_address;    // host:port of the network listener
  std::string local_address;  // of the shared-memory listener; empty: none
  std::string ucx_version;
  std::uint64_t send_quota_bytes = 0;
  std::uint64_t receive_quota_bytes = 0;
  TimeNs drain_timeout_ns = 10 * kSecond;
  std::uint64_t eager_max = kEagerBytesMax;
  TimeNs lease = 10 * kSecond;  // of clients that renew theirs
  std::vector<CudaUuid> gpus;   // whose memory it copies
  // Ranks that may be served by mapping memory; empty: all that prove to be on this node.
  std::vector<Rank> local_peer_ranks;
  std::shared_ptr<Members> members;
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // for calls to the others; null: without TLS
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  [[nodiscard]] bool may_share_memory(Rank peer) const;
};

// The loop's thread only: services get there through the mailbox.
class Backend {
 public:
  virtual ~Backend() = default;
  // The client may connect with that ticket, saying that rank. Registering again replaces its registration
  // and its ticket, and needs the one it has, `shown`: kUnauthorized without.
  virtual Result<Ticket> register_client(const ClientRegistration& client, const Ticket& shown) = 0;
  // kNotFound: it is not registered, or not with a lease; kUnauthorized: that is not its ticket.
  // `let_go`: see the proto.
  virtual Status renew_client(InstanceId client, const Ticket& ticket,
                              const std::vector<InstanceId>& let_go) = 0;
  // An unknown client is not an error; another client's ticket is.
  virtual Status unregister_client(InstanceId client, const Ticket& ticket) = 0;
  // That sidecar may connect, once.
  virtual Result<Ticket> admit_peer(Rank from, InstanceId instance) = 0;

  virtual EngineStats stats() const = 0;
  virtual TransportCounters transport_counters() const = 0;
  virtual LoopStats loop_stats() const = 0;
  virtual void reset_longest_step() = 0;  // see Loop
  virtual std::vector<ChunkInfo> chunks(std::size_t skip, std::size_t limit) const = 0;
  virtual std::vector<PeerInfo> peers() const = 0;
  // Begins what SIGTERM begins, and waits for consumers to mark done what is held; `timeout`: no longer than
  // that. Afterwards the process ends.
  virtual void drain(TimeNs timeout, Drain::OnOver on_over) = 0;
};

}  // namespace sidecar
