#include "perf/chain_reference.h"

#include <array>
#include <nlohmann/json.hpp>

#include "am_protocol/codec.h"
#include "core/check.h"
#include "perf/bench.h"
#include "perf/process.h"

namespace sidecar::perf {
namespace {

constexpr std::size_t kObjectBytes = 64;
constexpr std::chrono::minutes kRunMax{2};

}  // namespace

std::size_t chain_header_bytes() {
  ChunkMeta meta;
  meta.id.assign("request-12345");
  meta.num_chunks = 1;
  meta.kind = ChunkKind::kObject;
  meta.bytes = kObjectBytes;
  Encoder encoder;
  Message message;
  alignas(16) std::array<std::byte, kHeaderBytesMax> buffer;
  auto& send = renew<Send>(message);
  send.request = 12345;
  send.meta = meta;
  const std::array<Rank, 1> to{1};
  CHECK(send.destinations.add_group(to));
  send.inline_bytes = kObjectBytes;
  std::size_t sum = encoder.encode(message, buffer);
  auto& chunk = renew<Chunk>(message);
  chunk.transfer = {12345, 12345};
  chunk.meta = meta;
  chunk.is_inline = true;
  chunk.inline_bytes = kObjectBytes;
  sum += encoder.encode(message, buffer);
  auto& reply = renew<Reply>(message);
  reply.request = 12345;
  reply.meta = meta;
  reply.where = Where::kInline;
  reply.inline_bytes = kObjectBytes;
  sum += encoder.encode(message, buffer);
  return sum / 3;
}

double raw_chain_us(std::uint64_t count, std::uint64_t warmup, std::uint64_t spacing_ns) {
  Process chain({.argv = {program_path("raw_chain"), "--header", std::to_string(chain_header_bytes()),
                          "--count", std::to_string(count), "--warmup", std::to_string(warmup),
                          "--spacing-us", std::to_string(spacing_ns / 1000)},
                 .talk = true});
  const auto line = chain.read_line(kRunMax);
  if (!line) give_up("raw_chain gave no result");
  return nlohmann::json::parse(*line).at("p50_us").get<double>();
}

}  // namespace sidecar::perf
