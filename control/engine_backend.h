// The services' Backend over the engine and the tickets.
#pragma once

#include <functional>

#include "am_protocol/transport.h"
#include "control/backend.h"
#include "control/host.h"
#include "control/leases.h"
#include "control/tickets.h"
#include "core/engine.h"

namespace sidecar {

class EngineBackend final : public Backend {
 public:
  EngineBackend(const Identity& identity, Loop& loop, const UcxTransport& transport, Engine& engine,
                Tickets& tickets, Leases& leases, LoopHost& host, Drain& drain)
      : identity_(identity),
        loop_(loop),
        transport_(transport),
        engine_(engine),
        tickets_(tickets),
        leases_(leases),
        host_(host),
        drain_(drain) {}

  Result<Ticket> register_client(const ClientRegistration& client, const Ticket& shown) override;
  Status renew_client(InstanceId client, const Ticket& ticket,
                      const std::vector<InstanceId>& let_go) override;
  Status unregister_client(InstanceId client, const Ticket& ticket) override;
  Result<Ticket> admit_peer(Rank from, InstanceId instance) override;
  EngineStats stats() const override { return engine_.stats(); }
  TransportCounters transport_counters() const override { return transport_.counters(); }
  LoopStats loop_stats() const override { return loop_.stats(); }
  void reset_longest_step() override { loop_.reset_longest_step(); }
  std::vector<ChunkInfo> chunks(std::size_t skip, std::size_t limit) const override {
    return engine_.chunks(skip, limit);
  }
  std::vector<PeerInfo> peers() const override { return engine_.peers(); }
  void drain(TimeNs timeout, Drain::OnOver on_over) override {
    drain_.begin("asked to through gRPC", timeout, true, std::move(on_over));
  }

  // In every step of the loop: clients whose lease has ended are clients no more.
  void end_leases(TimeNs now);

 private:
  const Identity& identity_;
  Loop& loop_;
  const UcxTransport& transport_;
  Engine& engine_;
  Tickets& tickets_;
  Leases& leases_;
  LoopHost& host_;
  Drain& drain_;
};

}  // namespace sidecar
