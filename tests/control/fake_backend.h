// A Backend without an engine, and a loop on a thread of its own for it: what the gRPC tests stand on.
#pragma once

#include <optional>
#include <thread>
#include <vector>

#include "control/backend.h"
#include "control/static_members.h"
#include "control/tickets.h"
#include "core/mailbox.h"

namespace sidecar {

class FakeBackend final : public Backend {
 public:
  FakeBackend(Loop& loop, InstanceId instance) : loop_(loop), tickets(instance) {}

  Result<Ticket> register_client(const ClientRegistration& client, const Ticket& shown) override {
    CHECK_ON_LOOP(loop_);
    if (refuse.what[0]) return tl::unexpected(refuse);
    if (tickets.knows(client.instance) && !tickets.owns(client.instance, shown))
      return fail(Errc::kUnauthorized, "registered, and that is not its ticket");
    registered = client;
    return tickets.issue_client(client.instance, client.rank);
  }
  Status renew_client(InstanceId client, const Ticket& ticket,
                      const std::vector<InstanceId>& let_go) override {
    CHECK_ON_LOOP(loop_);
    if (!tickets.knows(client)) return fail(Errc::kNotFound, "not registered");
    if (!tickets.owns(client, ticket)) return fail(Errc::kUnauthorized, "not its ticket");
    ++renewals;
    was_let_go = let_go;
    return {};
  }
  Status unregister_client(InstanceId client, const Ticket& ticket) override {
    CHECK_ON_LOOP(loop_);
    if (!tickets.knows(client)) return {};
    if (!tickets.owns(client, ticket)) return fail(Errc::kUnauthorized, "not its ticket");
    tickets.revoke_client(client);
    return {};
  }
  Result<Ticket> admit_peer(Rank from, InstanceId instance) override {
    CHECK_ON_LOOP(loop_);
    return tickets.issue_peer(instance, from, Loop::now_ns());
  }
  EngineStats stats() const override {
    CHECK_ON_LOOP(loop_);
    return engine_stats;
  }
  TransportCounters transport_counters() const override {
    CHECK_ON_LOOP(loop_);
    return transport;
  }
  LoopStats loop_stats() const override { return loop_.stats(); }
  void reset_longest_step() override { loop_.reset_longest_step(); }
  std::vector<ChunkInfo> chunks(std::size_t skip, std::size_t limit) const override {
    CHECK_ON_LOOP(loop_);
    std::vector<ChunkInfo> page;
    for (std::size_t i = skip; i < chunk_rows.size() && page.size() < limit; ++i)
      page.push_back(chunk_rows[i]);
    return page;
  }
  std::vector<PeerInfo> peers() const override {
    CHECK_ON_LOOP(loop_);
    return peer_rows;
  }
  void drain(TimeNs timeout, Drain::OnOver on_over) override {
    CHECK_ON_LOOP(loop_);
    drain_timeout = timeout;
    drained = std::move(on_over);
    if (drain_outcome) drained(*drain_outcome);
  }

 private:
  Loop& loop_;

 public:
  Tickets tickets;
  EngineStats engine_stats;
  TransportCounters transport;
  std::vector<ChunkInfo> chunk_rows;
  std::vector<PeerInfo> peer_rows;
  ClientRegistration registered;                  // the last one
  Error refuse{Errc::kUnavailable, kNoRank, ""};  // register_client fails with it when it has a text
  std::optional<DrainOutcome> drain_outcome;      // none: drains for ever
  TimeNs drain_timeout = 0;
  Drain::OnOver drained;
  int renewals = 0;
  std::vector<InstanceId> was_let_go;  // as the last renewal said
};

class LoopThread {
 public:
  LoopThread() : mailbox_(&loop_), thread_([this] { loop_.run(); }) {}
  ~LoopThread() {
    end();
    loop_.run_once(Wait::kNo);  // this thread is the loop's now, and may take the mailbox down
  }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // As sidecard ends: whoever waits for an answer gets none.
  void end() {
    if (!thread_.joinable()) return;
    CHECK(mailbox_.post([this] {
      mailbox_.close();
      loop_.stop();
    }));
    thread_.join();
  }
  Loop& loop() { return loop_; }
  Mailbox& mailbox() { return mailbox_; }

 private:
  Loop loop_;
  Mailbox mailbox_;
  std::thread thread_;
};

inline Identity test_identity(Rank rank, InstanceId instance, StaticPeers peers) {
  Identity identity;
  identity.rank = rank;
  identity.instance = instance;
  identity.node = "node-a";
  identity.arena = ArenaInfo{instance, 4711, 1 << 20, Name("/dev/shm/not-there")};
  identity.arena_kind = "shared (asked for)";
  identity.advertise = "127.0.0.1";
  identity.net_address = "127.0.0.1:12345";
  identity.local_address = "127.0.0.1:12346";
  identity.ucx_version = "1.13.1";
  identity.send_quota_bytes = 500;
  identity.receive_quota_bytes = 600;
  identity.gpus = {{std::byte{0xC0}}, {std::byte{0xC1}, std::byte{7}}};
  identity.members = std::make_shared<StaticMembers>(std::move(peers));
  return identity;
}

}  // namespace sidecar
