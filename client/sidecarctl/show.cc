// status, peers, chunks.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "client/registration.h"
#include "client/sidecarctl/commands.h"
#include "client/sidecarctl/table.h"

namespace sidecar::ctl {
namespace {

using client_internal::ChunkLine;
using client_internal::MemoryRow;
using client_internal::PeerLine;
using client_internal::SidecarStatus;
using Json = nlohmann::ordered_json;

void print(const Json& json) { std::puts(json.dump(2, ' ', false, Json::error_handler_t::replace).c_str()); }

Json json_of(const SidecarStatus& status) {
  Json memory = Json::object();
  for (const MemoryRow& row : status.memory) {
    memory[row.name] = {
        {"bytes", row.bytes}, {"used_bytes", row.used_bytes}, {"runs", row.runs}, {"failures", row.failures}};
  }
  Json json = {
      {"rank", status.rank},
      {"instance", instance_text(status.instance)},
      {"node", status.node},
      {"version", status.version},
      {"ucx_version", status.ucx_version},
      {"draining", status.draining},
      {"uptime_seconds", status.uptime_seconds},
      {"arena", {{"kind", status.arena_kind}, {"path", status.arena_path}, {"bytes", status.arena_bytes}}},
      {"memory_pressure", status.memory_pressure},
      {"memory", std::move(memory)}};
  for (const auto& [name, value] : status.now) json[name] = value;
  json["counters"] = Json::object();
  for (const auto& [name, value] : status.counters) json["counters"][name] = value;
  return json;
}

template <class Rows, class Ask>
int ask_and_show(const Settings& settings, const char* command, Ask ask, Rows* rows) {
  const auto sidecar = contact_of(settings);
  if (!sidecar) return failed(command, sidecar.error());
  auto answer = ask(*sidecar, kAnswerDeadline);
  if (!answer) return failed(command, answer.error());
  *rows = std::move(*answer);
  return kDone;
}

}  // namespace

int run_status(const Settings& settings) {
  SidecarStatus status;
  if (const int code = ask_and_show(settings, "status", client_internal::ask_status, &status); code != kDone)
    return code;
  if (settings.json) {
    print(json_of(status));
    return kDone;
  }
  std::printf("sidecar %d on node %s, instance %s, up %.0f s%s\n", status.rank, status.node.c_str(),
              instance_text(status.instance).c_str(), status.uptime_seconds,
              status.draining ? ", draining" : "");
  std::printf("version %s, UCX %s\n", status.version.c_str(), status.ucx_version.c_str());
  std::printf("arena: %s\n", status.arena_kind.c_str());
  if (status.memory_pressure) std::puts("memory pressure: somebody waits for room");
  std::vector<std::vector<std::string>> rows{{"region", "used", "of", "chunks", "times full"}};
  for (const MemoryRow& row : status.memory) {
    rows.push_back({row.name, bytes_text(static_cast<double>(row.used_bytes)),
                    bytes_text(static_cast<double>(row.bytes)), std::to_string(row.runs),
                    std::to_string(row.failures)});
  }
  print_table(rows, "lrrrr");
  rows = {{"now", ""}};
  for (const auto& [name, value] : status.now) rows.push_back({name, std::to_string(value)});
  rows.push_back({"since the start", ""});
  for (const auto& [name, value] : status.counters) rows.push_back({name, std::to_string(value)});
  print_table(rows, "lr");
  return kDone;
}

int run_peers(const Settings& settings) {
  std::vector<PeerLine> peers;
  if (const int code = ask_and_show(settings, "peers", client_internal::ask_peers, &peers); code != kDone)
    return code;
  if (settings.json) {
    Json json = Json::array();
    for (const PeerLine& peer : peers) {
      json.push_back({{"rank", peer.rank},
                      {"instance", instance_text(peer.instance)},
                      {"state", peer.state},
                      {"path", peer.path},
                      {"transports", peer.transports},
                      {"address", peer.address},
                      {"queued", peer.queued},
                      {"unacknowledged", peer.unacknowledged},
                      {"lent", peer.lent},
                      {"bytes_sent", peer.bytes_sent},
                      {"bytes_mapped", peer.bytes_mapped}});
    }
    print(json);
    return kDone;
  }
  std::vector<std::vector<std::string>> rows{
      {"rank", "state", "path", "transports", "sent", "mapped", "queued", "under way", "lent", "address"}};
  for (const PeerLine& peer : peers) {
    rows.push_back({std::to_string(peer.rank), peer.state, peer.path, peer.transports,
                    bytes_text(static_cast<double>(peer.bytes_sent)),
                    bytes_text(static_cast<double>(peer.bytes_mapped)), std::to_string(peer.queued),
                    std::to_string(peer.unacknowledged), std::to_string(peer.lent), peer.address});
  }
  if (peers.empty()) {
    std::puts("no peers yet: links are made when there is something to send");
  } else {
    print_table(rows, "rlllrrrrrl");
  }
  return kDone;
}

int run_chunks(const Settings& settings) {
  std::vector<ChunkLine> chunks;
  if (const int code = ask_and_show(settings, "chunks", client_internal::ask_chunks, &chunks); code != kDone)
    return code;
  if (settings.json) {
    Json json = Json::array();
    for (const ChunkLine& chunk : chunks) {
      json.push_back({{"id", shown(chunk.id)},
                      {"chunk", chunk.chunk},
                      {"num_chunks", chunk.num_chunks == 0 ? Json() : Json(chunk.num_chunks)},
                      {"bytes", chunk.bytes},
                      {"state", chunk.state},
                      {"producer", chunk.producer},
                      {"holders", chunk.holders},
                      {"waiters", chunk.waiters}});
    }
    print(json);
    return kDone;
  }
  std::vector<std::vector<std::string>> rows{
      {"id", "chunk", "of", "bytes", "state", "from", "holders", "waiters"}};
  for (const ChunkLine& chunk : chunks) {
    rows.push_back({shown(chunk.id), std::to_string(chunk.chunk),
                    chunk.num_chunks == 0 ? "?" : std::to_string(chunk.num_chunks),
                    std::to_string(chunk.bytes), chunk.state,
                    chunk.producer < 0 ? "?" : std::to_string(chunk.producer), std::to_string(chunk.holders),
                    std::to_string(chunk.waiters)});
  }
  if (chunks.empty()) {
    std::puts("nothing is held here");
  } else {
    print_table(rows, "lrrrlrrr");
  }
  return kDone;
}

}  // namespace sidecar::ctl
