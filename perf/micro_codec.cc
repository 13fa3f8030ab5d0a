// What it costs to turn each kind of message into the bytes of a header, and back. The values are those of
// everyday traffic; `bytes` is the header's length.
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "am_protocol/codec.h"

namespace sidecar::perf {
namespace {

struct Kind {
  std::string name;
  Message message;
  std::uint64_t payload_bytes = 0;
};

ChunkMeta tensor() {
  ChunkMeta meta;
  meta.id = DataId("request-0017/layer-3/hidden");
  meta.num_chunks = 4;
  meta.dtype = Dtype::kBF16;
  meta.shape.dims = 2;
  meta.shape.extent = {128, 4096};
  meta.bytes = 128 * 4096 * 2;
  meta.unit_bytes = 8192;
  return meta;
}

ChunkMeta object(std::uint32_t bytes) {
  ChunkMeta meta;
  meta.id = DataId("request-0017/tokens");
  meta.num_chunks = 1;
  meta.kind = ChunkKind::kObject;
  meta.bytes = bytes;
  return meta;
}

template <class T>
T with_inline(std::uint32_t bytes) {
  T message{};
  message.meta = object(bytes);
  message.inline_bytes = bytes;
  return message;
}

Send send_to(std::size_t groups, Send send) {
  for (std::size_t i = 0; i < groups; ++i) {
    const std::array<Rank, 1> group{static_cast<Rank>(i + 1)};
    send.destinations.add_group(group);
  }
  return send;
}

std::vector<Kind> kinds() {
  std::vector<Kind> out;
  Send sent_tensor;
  sent_tensor.meta = tensor();
  sent_tensor.source = Source::kPayload;
  for (const std::size_t groups : {1u, 256u}) {
    out.push_back({"Send/tensor/to:" + std::to_string(groups), send_to(groups, sent_tensor), tensor().bytes});
  }
  Chunk chunk;
  chunk.transfer = {7, 7};
  chunk.meta = tensor();
  out.push_back({"Chunk/tensor", chunk, tensor().bytes});
  for (const std::uint32_t bytes : {64u, 1024u}) {
    const std::string name = "/object:" + std::to_string(bytes);
    out.push_back({"Send" + name, send_to(1, with_inline<Send>(bytes))});
    auto carried = with_inline<Chunk>(bytes);
    carried.transfer = {7, 7};
    carried.is_inline = true;
    out.push_back({"Chunk" + name, carried});
    auto reply = with_inline<Reply>(bytes);
    reply.request = 41;
    reply.where = Where::kInline;
    out.push_back({"Reply" + name, reply});
  }
  Reply view{};
  view.request = 41;
  view.where = Where::kArena;
  view.meta = tensor();
  view.arena = {1, 2, 1ull << 36, Name("/dev/shm/sidecar-1122334455667788")};
  out.push_back({"Reply/view", view});
  ChunkRef ref;
  ref.transfer = {7, 7};
  ref.meta = tensor();
  ref.arena = 9;
  out.push_back({"ChunkRef", ref});
  out.push_back({"Recv", Recv{41, tensor().id}});
  out.push_back({"MarkDone", MarkDone{41, tensor().id}});
  out.push_back({"Allocate", Allocate{41, 1 << 20}});
  Release release;
  release.views = 1;
  release.view[0] = 7;
  release.count[0] = 1;
  out.push_back({"Release", release});
  Ack ack;
  ack.sequence = 7;
  out.push_back({"Ack", ack});
  out.push_back({"Credit", Credit{1 << 20, false}});
  out.push_back({"Ping", Ping{5, false}});
  return out;
}

void encode(benchmark::State& state, const Kind& kind) {
  Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  std::size_t bytes = 0;
  for (auto _ : state) {
    bytes = encoder.encode(kind.message, header);
    benchmark::DoNotOptimize(header.data());
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}

// Into a message that is filled again and again, as the transport does it.
void decode_into_same(benchmark::State& state, const Kind& kind) {
  Encoder encoder;
  std::array<std::byte, kHeaderBytesMax> header;
  const std::size_t bytes = encoder.encode(kind.message, header);
  Message message;
  for (auto _ : state) {
    if (!decode(std::span(header).first(bytes), kind.payload_bytes, message)) {
      state.SkipWithError("does not decode");
      break;
    }
    benchmark::DoNotOptimize(message);
  }
}

}  // namespace
}  // namespace sidecar::perf

int main(int argc, char** argv) {
  using namespace sidecar::perf;
  const std::vector<Kind> all = kinds();
  for (const Kind& kind : all) {
    benchmark::RegisterBenchmark(("encode/" + kind.name).c_str(),
                                 [&](benchmark::State& state) { encode(state, kind); });
    benchmark::RegisterBenchmark(("decode/" + kind.name).c_str(),
                                 [&](benchmark::State& state) { decode_into_same(state, kind); });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
