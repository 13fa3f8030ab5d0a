#include "tests/sim/cluster.h"

#include <cstdlib>
#include <string_view>

namespace sidecar::sim {

std::uint64_t seed_for_this_test() {
  if (const char* seed = std::getenv("SIM_SEED")) return std::strtoull(seed, nullptr, 10);
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  return SipHash(1, 2)(std::string_view(test->name())).low % 1'000'000;
}

std::vector<std::vector<Rank>> each(std::initializer_list<Rank> ranks) {
  std::vector<std::vector<Rank>> groups;
  for (const Rank rank : ranks) groups.push_back({rank});
  return groups;
}

SimSidecar& Cluster::add(Rank rank, const std::string& node, std::uint64_t arena_bytes) {
  SidecarSpec spec;
  spec.rank = rank;
  spec.node = node;
  spec.arena_bytes = arena_bytes;
  return world_.add_sidecar(spec);
}

SimClient& Cluster::client(Rank rank, std::uint64_t unit_bytes) {
  ClientSpec spec;
  spec.rank = rank;
  spec.send_unit_bytes = spec.receive_unit_bytes = unit_bytes;
  return client(spec);
}

SimClient& Cluster::client(const ClientSpec& spec) {
  SimClient& made = world_.add_client(spec);
  EXPECT_TRUE(!spec.connect || world_.run_until([&] { return made.connected(); }, kSecond)) << made.name();
  return made;
}

const Outcome& Cluster::wait(SimClient& client, RequestId request, TimeNs limit) {
  EXPECT_TRUE(world_.run_until([&] { return client.over(request); }, limit))
      << client.name() << ": request " << request << " is not over after " << limit / kMillisecond << " ms";
  return client.outcome(request);
}

void Cluster::expect_waits(SimClient& client, RequestId request, TimeNs duration) {
  world_.run_for(duration);
  EXPECT_FALSE(client.over(request)) << errc_name(client.outcome(request).reply.code);
}

std::uint64_t Cluster::allocate(SimClient& at, std::uint64_t bytes) {
  const Outcome& outcome = wait(at, at.allocate(bytes));
  EXPECT_TRUE(outcome.ok()) << outcome.text();
  return outcome.reply.offset;
}

void Cluster::finish() {
  if (std::exchange(finished_, true)) return;
  world_.heal();
  for (const auto& process : world_.processes()) world_.go_on(*process);
  settle();
  std::vector<SimClient*> clients;
  for (const auto& process : world_.processes()) {
    auto* const client = dynamic_cast<SimClient*>(process.get());
    if (client != nullptr && client->alive()) clients.push_back(client);
  }
  for (SimClient* client : clients) {
    client->check_views();
    client->release_all_views();
    while (!client->slots().empty()) client->release_slot(client->slots().begin()->first);
    if (!client->connected()) world_.kill(*client);
  }
  settle();
  mark_everything_done();
  world_.run_for(kSecond);
  for (SimClient* client : clients) {
    if (!client->alive()) continue;
    EXPECT_EQ(client->open_requests(), 0u) << client->name() << ": calls that never ended";
  }
  for (Rank rank = 0; rank < kRanksMax; ++rank) {
    SimSidecar* const at = world_.sidecar(rank);
    if (at != nullptr && at->alive()) expect_clean(*at, data_left_);
  }
}

// As an operator would: whatever `chunks` shows.
void Cluster::mark_everything_done() {
  for (Rank rank = 0; rank < kRanksMax; ++rank) {
    SimSidecar* const at = world_.sidecar(rank);
    if (at == nullptr || !at->alive()) continue;
    const std::vector<ChunkInfo> held = at->engine().chunks(0, 1'000'000);
    if (held.empty()) continue;
    SimClient& janitor = client(rank);
    std::vector<RequestId> requests;
    for (const ChunkInfo& chunk : held) requests.push_back(janitor.mark_done(chunk.id, chunk.chunk));
    for (const RequestId request : requests) wait(janitor, request);
  }
}

void expect_clean(SimSidecar& at, std::uint64_t data_left) {
  SCOPED_TRACE(at.name());
  at.engine().check_invariants();
  const EngineStats stats = at.stats();
  EXPECT_EQ(stats.send.runs, 0u) << "slots of the send region are still taken";
  EXPECT_EQ(stats.receive.runs, 0u) << "slots of the receive region are still taken";
  EXPECT_EQ(stats.reserve.runs, 0u) << "slots of the reserve are still taken";
  EXPECT_EQ(stats.chunks, 0u);
  EXPECT_LE(stats.data, data_left) << "data of which nothing is left are still remembered in full";
  EXPECT_EQ(stats.waiting_recvs, 0u);
  EXPECT_EQ(stats.waiting_sends, 0u);
  EXPECT_EQ(stats.parked_chunks, 0u);
  EXPECT_EQ(stats.outgoing, 0u);
  EXPECT_EQ(stats.lent, 0u);
  EXPECT_EQ(stats.foreign, 0u);
  EXPECT_EQ(stats.views, 0u);
  EXPECT_EQ(stats.quarantined, 0u);
  EXPECT_EQ(stats.counters.protocol_errors, 0u);
  EXPECT_FALSE(stats.memory_pressure());
  EXPECT_EQ(at.transport().incoming_open(), 0u) << "payloads that were neither received nor discarded";
}

}  // namespace sidecar::sim
