// Admin: what an operator wants to know, and drain.

#include <algorithm>
#include <utility>

#include "control/service_support.h"
#include "control/sidecar.grpc.pb.h"

namespace sidecar {
namespace {

constexpr std::uint32_t kPageDefault = 256;
constexpr std::uint32_t kPageMax = 1000;

void fill_region(const Slab::Stats& stats, v1::MemoryRegion* out) {
  out->set_bytes(stats.region_bytes);
  out->set_used_bytes(stats.used_bytes);
  out->set_asked_bytes(stats.asked_bytes);
  out->set_runs(stats.runs);
  out->set_failures(stats.failures);
  out->set_free_low_water_bytes(stats.free_low_water);
}

using Counters = google::protobuf::Map<std::string, std::uint64_t>;

void fill_counters(const EngineStats& stats, const LoopStats& loop, Counters& counters) {
  const EngineCounters& c = stats.counters;
  const std::pair<const char*, std::uint64_t> named[] = {
      {"sends", c.sends},
      {"chunks_received", c.chunks_received},
      {"chunks_mapped", c.chunks_mapped},
      {"bytes_captured", c.bytes_captured},
      {"bytes_sent", c.bytes_sent},
      {"bytes_received", c.bytes_received},
      {"bytes_mapped", c.bytes_mapped},
      {"bytes_copied_out", c.bytes_copied_out},
      {"recvs", c.recvs},
      {"dones", c.dones},
      {"duplicates", c.duplicates},
      {"resends", c.resends},
      {"refusals", c.refusals},
      {"parked", c.parked},
      {"timeouts", c.timeouts},
      {"peers_lost", c.peers_lost},
      {"orphans_freed", c.orphans_freed},
      {"orphan_bytes_freed", c.orphan_bytes_freed},
      {"data", stats.data},
      {"tombstones", stats.tombstones},
      {"lent", stats.lent},
      {"foreign", stats.foreign},
      {"quarantined", stats.quarantined},
      {"loop_steps", loop.steps},
      {"loop_longest_step_ns", loop.longest_step_ns},
      {"loop_longest_step_cpu_ns", loop.longest_step_cpu_ns},
      {"loop_asleep_ns", loop.asleep_ns},
  };
  for (const auto& [name, value] : named) counters[name] = value;
}

void fill_transport_counters(const TransportCounters& c, Counters& counters) {
  constexpr std::size_t kCounters = sizeof(TransportCounters) / sizeof(std::uint64_t);
  const std::pair<const char*, std::uint64_t> named[] = {
      {"messages_sent", c.messages_sent},
      {"messages_received", c.messages_received},
      {"eager_bytes_sent", c.eager_bytes_sent},
      {"eager_bytes_received", c.eager_bytes_received},
      {"rendezvous_sent", c.rendezvous_sent},
      {"rendezvous_received", c.rendezvous_received},
      {"rendezvous_bytes_sent", c.rendezvous_bytes_sent},
      {"rendezvous_bytes_received", c.rendezvous_bytes_received},
      {"payloads_discarded", c.payloads_discarded},
      {"send_failures", c.send_failures},
      {"sends_abandoned", c.sends_abandoned},
      {"protocol_errors", c.protocol_errors},
      {"unknown_ids", c.unknown_ids},
      {"unknown_senders", c.unknown_senders},
      {"hellos_refused", c.hellos_refused},
      {"hello_timeouts", c.hello_timeouts},
      {"connections_rejected", c.connections_rejected},
      {"links_opened", c.links_opened},
      {"links_closed", c.links_closed},
      {"planes_replaced", c.planes_replaced},
  };
  static_assert(std::size(named) == kCounters, "all of them are shown");
  for (const auto& [name, value] : named) counters[std::string("transport_") + name] = value;
}

class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(ServiceContext& context) : context_(context), identity_(context.identity) {}

  grpc::Status Stats(grpc::ServerContext*, const v1::StatsRequest* request, v1::StatsResponse* out) override {
    struct All {
      EngineStats engine;
      TransportCounters transport;
      LoopStats loop;
    };
    const auto all =
        ask<All>(context_.mailbox, [&backend = context_.backend, restart = request->restart_longest_step()] {
          All now{backend.stats(), backend.transport_counters(), backend.loop_stats()};
          if (restart) backend.reset_longest_step();
          return now;
        });
    if (!all) return all.error();
    const EngineStats& stats = all->engine;
    out->set_rank(identity_.rank);
    out->set_instance(identity_.instance);
    out->set_node(identity_.node);
    out->set_draining(stats.draining);
    out->set_uptime_seconds(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - identity_.started).count());
    out->set_version(SIDECAR_VERSION);
    out->set_ucx_version(identity_.ucx_version);
    fill_arena(identity_.arena, out->mutable_arena());
    out->set_arena_kind(identity_.arena_kind);
    out->set_memory_pressure(stats.memory_pressure());
    fill_region(stats.send, out->mutable_send());
    fill_region(stats.receive, out->mutable_receive());
    fill_region(stats.reserve, out->mutable_reserve());
    out->set_chunks(stats.chunks);
    out->set_waiting_sends(stats.waiting_sends);
    out->set_parked_chunks(stats.parked_chunks);
    out->set_waiting_recvs(stats.waiting_recvs);
    out->set_outgoing(stats.outgoing);
    out->set_views(stats.views);
    out->set_clients(stats.clients);
    out->set_peers_connected(stats.peers_connected);
    auto& counters = *out->mutable_counters();
    fill_counters(stats, all->loop, counters);
    fill_transport_counters(all->transport, counters);
    // Bytes that make no message never reach the engine: this is what both have seen.
    counters["protocol_errors"] = stats.counters.protocol_errors + all->transport.protocol_errors;
    return grpc::Status::OK;
  }

  grpc::Status Chunks(grpc::ServerContext*, const v1::ChunksRequest* request,
                      v1::ChunksResponse* out) override {
    const std::size_t limit =
        request->page_size() == 0 ? kPageDefault : std::min<std::uint32_t>(request->page_size(), kPageMax);
    const std::size_t skip = request->page_token();
    // One more than asked for tells whether there is another page.
    const auto rows = ask<std::vector<ChunkInfo>>(
        context_.mailbox,
        [&backend = context_.backend, skip, limit] { return backend.chunks(skip, limit + 1); });
    if (!rows) return rows.error();
    for (const ChunkInfo& info : *rows) {
      if (static_cast<std::size_t>(out->chunks_size()) == limit) {
        out->set_next_page_token(skip + limit);
        break;
      }
      v1::ChunkRow* row = out->add_chunks();
      row->set_data_id(info.id);
      row->set_chunk(info.chunk);
      row->set_num_chunks(info.num_chunks);
      row->set_bytes(info.bytes);
      row->set_state(info.state);
      row->set_producer(info.producer);
      row->set_holders(info.holders);
      row->set_waiters(info.waiters);
    }
    return grpc::Status::OK;
  }

  grpc::Status Peers(grpc::ServerContext*, const v1::PeersRequest*, v1::PeersResponse* out) override {
    const auto rows = ask<std::vector<PeerInfo>>(context_.mailbox,
                                                 [&backend = context_.backend] { return backend.peers(); });
    if (!rows) return rows.error();
    for (const PeerInfo& info : *rows) {
      v1::PeerRow* row = out->add_peers();
      row->set_rank(info.rank);
      row->set_instance(info.instance);
      row->set_state(info.state);
      row->set_path(info.path);
      row->set_transports(info.transports);
      if (const auto member = identity_.members->find(info.rank)) row->set_grpc_address(member->grpc_address);
      row->set_queued(info.queued);
      row->set_unacknowledged(info.unacknowledged);
      row->set_lent(info.lent);
      row->set_bytes_sent(info.bytes_sent);
      row->set_bytes_mapped(info.bytes_mapped);
    }
    return grpc::Status::OK;
  }

  grpc::Status Drain(grpc::ServerContext* call, const v1::DrainRequest* request,
                     v1::DrainResponse* out) override {
    const std::uint64_t most = kNever / kMillisecond;
    const TimeNs timeout = request->timeout_ms() == 0 ? identity_.drain_timeout_ns
                                                      : std::min(request->timeout_ms(), most) * kMillisecond;
    auto over = std::make_shared<std::promise<DrainOutcome>>();
    std::future<DrainOutcome> outcome = over->get_future();
    const auto begun = ask<bool>(context_.mailbox, [&backend = context_.backend, timeout, over] {
      backend.drain(timeout, [over](const DrainOutcome& what) { over->set_value(what); });
      return true;
    });
    if (!begun) return begun.error();
    over.reset();  // the loop's alone: should it forget us, we hear
    while (outcome.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) {
      if (call->IsCancelled()) return {grpc::StatusCode::CANCELLED, "the drain goes on"};
    }
    try {
      const DrainOutcome what = outcome.get();
      out->set_finished(what.finished);
      out->set_outgoing_left(what.outgoing_left);
      out->set_chunks_left(what.chunks_left);
      return grpc::Status::OK;
    } catch (const std::future_error&) {
      return loop_unavailable(false);
    }
  }

 private:
  ServiceContext& context_;
  const Identity& identity_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_admin_service(ServiceContext& context) {
  return std::make_unique<AdminService>(context);
}

}  // namespace sidecar
