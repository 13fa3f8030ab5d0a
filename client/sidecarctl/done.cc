#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "client/registration.h"
#include "client/sidecarctl/commands.h"

namespace sidecar::ctl {
namespace {

using client_internal::ChunkLine;

// Which chunks of the datum the sidecar knows of, or all of it when it knows how many there are.
Expected<std::set<ChunkIndex>> known_chunks(const Settings& settings, const std::string& id) {
  const auto sidecar = contact_of(settings);
  if (!sidecar) return sidecar.error();
  const auto held = client_internal::ask_chunks(*sidecar, std::chrono::seconds(5));
  if (!held) return held.error();
  std::set<ChunkIndex> chunks;
  ChunkIndex length = 0;
  for (const ChunkLine& line : *held) {
    if (line.id != id) continue;
    chunks.insert(line.chunk);
    length = std::max(length, line.num_chunks);
  }
  for (ChunkIndex i = 0; i < length; ++i) chunks.insert(i);
  return chunks;
}

Expected<std::set<ChunkIndex>> wanted_chunks(const Settings& settings, const DoneArguments& arguments) {
  if (arguments.chunk == "all") return known_chunks(settings, arguments.id);
  ChunkIndex chunk = 0;
  const std::string& text = arguments.chunk;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), chunk);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Failure{Errc::kInvalidArgument, kNoRank, "--chunk: neither a number nor all"};
  }
  return std::set<ChunkIndex>{chunk};
}

}  // namespace

int run_done(const Settings& settings, const DoneArguments& arguments) {
  const std::string what = "done " + shown(arguments.id);
  const Expected<std::set<ChunkIndex>> chunks = wanted_chunks(settings, arguments);
  if (!chunks) {
    const bool usage = chunks.code() == Errc::kInvalidArgument && arguments.chunk != "all";
    return usage ? (failed(what, chunks.error()), kUsage) : failed(what, chunks.error());
  }
  Expected<Client> client = connect(settings);
  if (!client) return failed(what, client.error());
  std::vector<Future<void>> under_way;
  under_way.reserve(chunks->size());
  for (const ChunkIndex chunk : *chunks) under_way.push_back(client->mark_done_async(arguments.id, chunk));
  for (Future<void>& future : under_way) {
    if (const Expected<void> result = future.get(); !result) return failed(what, result.error());
  }
  if (settings.json) {
    std::puts(nlohmann::ordered_json{{"id", shown(arguments.id)}, {"chunks", chunks->size()}}.dump().c_str());
  } else if (chunks->empty()) {
    std::printf("%s: nothing is held under this id\n", shown(arguments.id).c_str());
  } else {
    std::printf("%s: %zu chunks marked done\n", shown(arguments.id).c_str(), chunks->size());
  }
  return kDone;
}

}  // namespace sidecar::ctl
