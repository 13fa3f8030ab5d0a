// What a well-formed header can say wrong about shards, parts and GPU memory. Every one must be refused with
// the name of the field.
#include <gmock/gmock.h>

#include "tests/am_protocol/crafted.h"

namespace sidecar {
namespace {

using flatbuffers::FlatBufferBuilder;
using testing::StartsWith;

// --- shards of a Send ---

TEST(CodecGroups, AShardBringsExactlyItsSlice) {
  const Send send = get<Send>("send_shard");
  EXPECT_EQ(refusal(send, 1 << 18), "accepted");
  EXPECT_THAT(refusal(send, (1 << 18) - 1), StartsWith("payload:"));
  EXPECT_THAT(refusal(send, 0), StartsWith("payload:"));
  EXPECT_THAT(refusal(send, 1 << 20), StartsWith("payload:"));
  EXPECT_THAT(refusal(get<Send>("send_shard_of_no_bytes"), 64), StartsWith("payload:"));
}

TEST(CodecGroups, TheSlicesOfAllShardsAreTheWhole) {
  Send send = get<Send>("send_shard");
  send.shards = 7;
  send.meta.bytes = 1024 + 256;
  send.meta.shape.extent[0] = 5;
  std::uint64_t sum = 0;
  for (send.shard = 0; send.shard < send.shards; ++send.shard) {
    const std::uint64_t bytes = shard_of(send.meta.bytes, send.shard, send.shards).bytes;
    EXPECT_EQ(refusal(send, bytes), "accepted") << send.shard;
    sum += bytes;
  }
  EXPECT_EQ(sum, send.meta.bytes);
}

TEST(CodecGroups, ShardOutOfRange) {
  Send send = get<Send>("send_shard");
  send.shard = 4;
  EXPECT_THAT(refusal(send, 1 << 18), StartsWith("shard: not below"));
  send.shards = 0;
  EXPECT_THAT(refusal(send, 1 << 20), StartsWith("shard: of no shards"));
  send.shard = 0;
  EXPECT_EQ(refusal(send, 1 << 20), "accepted");
  send.shards = kDestinationsMax + 1;
  EXPECT_THAT(refusal(send, 1 << 18), StartsWith("shards: more than"));
}

TEST(CodecGroups, OnlyTensorsWithBytesHaveShards) {
  Send send = get<Send>("send_shard");
  send.meta.kind = ChunkKind::kObject;
  EXPECT_THAT(refusal(send, 1 << 18), StartsWith("shards: only of a tensor"));
  send = get<Send>("send_shard");
  send.meta.bytes = 0;
  EXPECT_THAT(refusal(send), StartsWith("shards: of no bytes"));
}

TEST(CodecGroups, OnlyPayloadsAndGpuMemoryHaveShards) {
  for (const char* name : {"send_inline", "send_slot", "send_nothing"}) {
    Send send = get<Send>(name);
    send.shards = 2;
    EXPECT_THAT(refusal(send), StartsWith("shards: only of a payload")) << name;
  }
}

// --- what brings nothing ---

TEST(CodecGroups, NothingIsNothing) {
  Send send = get<Send>("send_nothing");
  EXPECT_THAT(refusal(send, 1 << 20), StartsWith("payload:"));
  send.slot = 7;
  EXPECT_THAT(refusal(send), StartsWith("slot:"));
  Send tokens = get<Send>("send_inline");
  tokens.source = Source::kNothing;
  EXPECT_THAT(refusal(tokens), StartsWith("inline_data:"));
}

// --- GPU memory ---

// A Send whose device holds vectors of these lengths; -1: absent.
std::string refused_device(int device, int memory, int event, wire::Source source = wire::Source::Device) {
  return refusal(crafted([&](FlatBufferBuilder& b) {
    const auto bytes = [&](int count) -> flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> {
      if (count < 0) return 0;
      return b.CreateVector(Bytes8(static_cast<std::size_t>(count), 7));
    };
    const auto meta = wire::CreateMetaDirect(b, nullptr, 0, 1);
    const auto d = bytes(device), m = bytes(memory), e = bytes(event);
    const auto table = wire::CreateDevice(b, d, m, 1, e);
    wire::SendBuilder t(b);
    t.add_meta(meta);
    t.add_source(source);
    t.add_device(table);
    return t.Finish();
  }));
}

TEST(CodecGroups, HandlesOfExactlyTheirSize) {
  EXPECT_EQ(refused_device(16, 64, 64), "accepted");
  EXPECT_EQ(refused_device(16, 64, -1), "accepted");
  for (const int wrong : {-1, 0, 15, 17, 64}) {
    EXPECT_THAT(refused_device(wrong, 64, 64), StartsWith("device.device:")) << wrong;
  }
  for (const int wrong : {-1, 0, 16, 63, 65}) {
    EXPECT_THAT(refused_device(16, wrong, 64), StartsWith("device.memory:")) << wrong;
  }
  for (const int wrong : {0, 63, 65}) {
    EXPECT_THAT(refused_device(16, 64, wrong), StartsWith("device.event:")) << wrong;
  }
}

TEST(CodecGroups, DeviceMissing) {
  EXPECT_THAT(refusal(crafted([](FlatBufferBuilder& b) {
                const auto meta = wire::CreateMetaDirect(b, nullptr, 0, 1);
                return wire::CreateSend(b, 1, meta, 0, 0, wire::Source::Device);
              })),
              StartsWith("device: missing"));
}

TEST(CodecGroups, ADeviceBesideAnotherSource) {
  for (const auto source :
       {wire::Source::Inline, wire::Source::Payload, wire::Source::Slot, wire::Source::Nothing}) {
    EXPECT_THAT(refused_device(16, 64, 64, source), StartsWith("device: the bytes"));
  }
}

TEST(CodecGroups, GpuMemoryBringsNoPayload) {
  EXPECT_THAT(refusal(get<Send>("send_device"), 1 << 20), StartsWith("payload:"));
  EXPECT_THAT(refusal(get<Send>("send_device_shard"), 1 << 19), StartsWith("payload:"));
}

// --- parts of a Chunk ---

TEST(CodecGroups, APartBringsExactlyItsBytes) {
  const Chunk part = get<Chunk>("chunk_part");
  EXPECT_THAT(refusal(part, (3 << 18) - 1), StartsWith("payload:"));
  EXPECT_THAT(refusal(part, 1 << 20), StartsWith("payload:"));
  EXPECT_THAT(refusal(part), StartsWith("payload:"));
}

TEST(CodecGroups, APartMayBeTheWhole) {
  Chunk part = get<Chunk>("chunk_part");
  part.part_begin = 0;
  part.part_bytes = part.meta.bytes;
  EXPECT_EQ(refusal(part, 1 << 20), "accepted");
}

TEST(CodecGroups, APartBeyondTheChunk) {
  Chunk part = get<Chunk>("chunk_part");
  part.part_bytes += 1;
  EXPECT_THAT(refusal(part, part.part_bytes), StartsWith("part_bytes:"));
  part.part_begin = part.meta.bytes;
  EXPECT_THAT(refusal(part, part.part_bytes), StartsWith("part_begin:"));
  part.part_begin = ~std::uint64_t{0};
  EXPECT_THAT(refusal(part, part.part_bytes), StartsWith("part_begin:"));
  part.part_begin = 1;
  part.part_bytes = ~std::uint64_t{0};
  EXPECT_THAT(refusal(part, part.part_bytes), StartsWith("part_bytes:"));
}

TEST(CodecGroups, APartOfNoBytes) {
  Chunk part = get<Chunk>("chunk_part");
  part.part_bytes = 0;
  EXPECT_THAT(refusal(part), StartsWith("part_begin:"));
  Chunk empty = get<Chunk>("chunk_of_no_bytes");
  empty.part_bytes = 1;
  EXPECT_THAT(refusal(empty, 1), StartsWith("part_begin:"));
}

TEST(CodecGroups, APartIsNeverInline) {
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.part_bytes = 64;
  EXPECT_THAT(refusal(chunk), StartsWith("is_inline:"));
  chunk.is_inline = false;
  EXPECT_THAT(refusal(chunk, 0), StartsWith("payload:"));
}

TEST(CodecGroups, WhatIsToBeAnsweredIsReadAlsoFromARefusedHeader) {
  Message out;
  Send send = get<Send>("send_shard");
  send.shard = 9;
  refusal(encoded(send), 1 << 18, out);
  EXPECT_EQ(request_of(out), send.request);
  Chunk part = get<Chunk>("chunk_part");
  part.part_bytes += 1;
  refusal(encoded(part), 1, out);
  EXPECT_EQ(transfer_of(out)->sequence, part.transfer.sequence);
  refusal(encoded(Retract{{5, 4}, DataId(), 1}), 0, out);
  EXPECT_EQ(transfer_of(out)->sequence, 5u);
}

}  // namespace
}  // namespace sidecar
