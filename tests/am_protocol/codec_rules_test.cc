// What a well-formed header can say wrong, one test each. Every one must be refused with the name of the
// field.
#include <gmock/gmock.h>

#include "tests/am_protocol/crafted.h"

namespace sidecar {
namespace {

using flatbuffers::FlatBufferBuilder;
using testing::StartsWith;

// --- shapes ---

TEST(CodecRules, TooManyDimensions) {
  const std::vector<std::uint64_t> shape(17, 1);
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) {
                return wire::CreateSend(
                    b, 1,
                    wire::CreateMetaDirect(b, nullptr, 0, 1, false, wire::ChunkKind::Tensor, wire::Dtype::U8,
                                           0, &shape, 1));
              })),
              StartsWith("shape: more than"));
}

TEST(CodecRules, AShapeWhoseProductOverflows) {
  Chunk chunk = get<Chunk>("chunk_payload");
  chunk.meta.shape.dims = 2;
  chunk.meta.shape.extent = {1ull << 33, 1ull << 33};
  chunk.meta.bytes = 0;
  EXPECT_THAT(refusal(chunk), StartsWith("shape:"));
  Reply reply = get<Reply>("reply_arena");
  reply.meta.shape = chunk.meta.shape;
  EXPECT_THAT(refusal(reply), StartsWith("shape:"));
}

TEST(CodecRules, AShapeThatDisagreesWithBytes) {
  Chunk chunk = get<Chunk>("chunk_payload");
  chunk.meta.shape.extent[0] += 1;
  EXPECT_THAT(refusal(chunk, 1 << 26), StartsWith("bytes:"));
  ChunkRef ref = get<ChunkRef>("chunk_ref");
  ref.meta.dtype = Dtype::kU8;
  EXPECT_THAT(refusal(ref), StartsWith("bytes:"));
  Reply reply = get<Reply>("reply_arena");
  reply.meta.bytes -= 2;
  EXPECT_THAT(refusal(reply), StartsWith("bytes:"));
}

TEST(CodecRules, PeersMayNotMakeAClientsMistakes) {
  Chunk chunk = get<Chunk>("chunk_payload");
  chunk.meta.chunk = chunk.meta.num_chunks;
  EXPECT_THAT(refusal(chunk, 1 << 26), StartsWith("chunk_id:"));
  chunk.meta.stream = true;
  EXPECT_THAT(refusal(chunk, 1 << 26), StartsWith("num_chunks:"));
}

TEST(CodecRules, AClientsMistakesReachTheEngine) {
  Send send = get<Send>("send_inline");
  send.meta.id = DataId();
  send.meta.stream = false;
  send.meta.num_chunks = 0;
  send.destinations.groups = 0;
  EXPECT_EQ(refusal(send), "accepted");
  EXPECT_EQ(refusal(Recv{}), "accepted");
  EXPECT_EQ(refusal(MarkDone{}), "accepted");
  EXPECT_EQ(refusal(CloseStream{}), "accepted");
  send.meta.kind = ChunkKind::kTensor;
  send.meta.shape.dims = 2;
  send.meta.shape.extent = {1ull << 40, 1ull << 40};
  EXPECT_EQ(refusal(send), "accepted");
}

// --- destinations ---

std::string refused_groups(const std::vector<std::uint16_t>& group_end,
                           const std::vector<std::int32_t>& ranks) {
  const Bytes8 id{1};
  const std::string close = refusal(crafted(
      [&](FlatBufferBuilder& b) { return wire::CreateCloseStreamDirect(b, 1, &id, 1, &group_end, &ranks); }));
  const std::string send = refusal(crafted([&](FlatBufferBuilder& b) {
    return wire::CreateSendDirect(b, 1, wire::CreateMetaDirect(b, &id, 0, 1), &group_end, &ranks);
  }));
  EXPECT_EQ(close, send);
  return close;
}

TEST(CodecRules, GroupEndBeyondRanks) {
  EXPECT_EQ(refused_groups({1, 3}, {1, 2, 3}), "accepted");
  EXPECT_THAT(refused_groups({1, 4}, {1, 2, 3}), StartsWith("group_end: does not end"));
  EXPECT_THAT(refused_groups({65535}, {1}), StartsWith("group_end: does not end"));
}

TEST(CodecRules, RanksBeyondGroupEnd) {
  EXPECT_THAT(refused_groups({1, 2}, {1, 2, 3}), StartsWith("group_end: does not end"));
  EXPECT_THAT(refused_groups({}, {1}), StartsWith("group_end: does not end"));
}

TEST(CodecRules, GroupEndDecreases) {
  EXPECT_THAT(refused_groups({2, 1, 3}, {1, 2, 3}), StartsWith("group_end: decreases"));
}

TEST(CodecRules, TooManyDestinations) {
  EXPECT_THAT(refused_groups({257}, std::vector<std::int32_t>(257, 1)), StartsWith("ranks: more than"));
  EXPECT_THAT(refused_groups(std::vector<std::uint16_t>(257, 1), {1}), StartsWith("group_end: more than"));
  EXPECT_EQ(refused_groups({256}, std::vector<std::int32_t>(256, 1)), "accepted");
}

TEST(CodecRules, EmptyGroupsReachTheEngine) { EXPECT_EQ(refused_groups({0, 0}, {}), "accepted"); }

// --- enums out of range ---

TEST(CodecRules, EnumsOutOfRange) {
  Hello hello = get<Hello>("hello_client");
  hello.role = static_cast<Role>(2);
  EXPECT_THAT(refusal(hello), StartsWith("role:"));
  HelloAck hello_ack = get<HelloAck>("hello_ack");
  hello_ack.code = static_cast<Errc>(15);
  EXPECT_THAT(refusal(hello_ack), StartsWith("code:"));
  Send send = get<Send>("send_inline");
  send.source = static_cast<Source>(6);
  EXPECT_THAT(refusal(send), StartsWith("source:"));
  send = get<Send>("send_inline");
  send.meta.dtype = static_cast<Dtype>(17);
  EXPECT_THAT(refusal(send), StartsWith("dtype:"));
  send = get<Send>("send_inline");
  send.meta.kind = static_cast<ChunkKind>(2);
  EXPECT_THAT(refusal(send), StartsWith("kind:"));
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.meta.dtype = static_cast<Dtype>(255);
  EXPECT_THAT(refusal(chunk), StartsWith("dtype:"));
  Reply reply = get<Reply>("reply_failures");
  reply.stage = static_cast<Stage>(3);
  EXPECT_THAT(refusal(reply), StartsWith("stage:"));
  reply = get<Reply>("reply_failures");
  reply.code = static_cast<Errc>(200);
  EXPECT_THAT(refusal(reply), StartsWith("code:"));
  reply = get<Reply>("reply_failures");
  reply.where = static_cast<Where>(4);
  EXPECT_THAT(refusal(reply), StartsWith("where:"));
  reply = get<Reply>("reply_failures");
  reply.failed_code[1] = static_cast<Errc>(15);
  EXPECT_THAT(refusal(reply), StartsWith("failed_code:"));
  EXPECT_THAT(refusal(Ack{1, static_cast<Errc>(15), {}, 0}), StartsWith("code:"));
}

TEST(CodecRules, AckOfARun) {
  EXPECT_THAT(refusal(Ack{1, Errc::kOk, {}, 0, 0}), StartsWith("count:"));
  EXPECT_THAT(refusal(Ack{1, Errc::kOk, {}, 0, kAckRunMax + 1}), StartsWith("count:"));
  EXPECT_THAT(refusal(Ack{1, Errc::kAlreadyExists, {}, 0, 2}), StartsWith("count:"));
}

// --- the rest of what messages promise ---

TEST(CodecRules, Versions) {
  Hello hello = get<Hello>("hello_client");
  hello.version_min = 0;
  EXPECT_THAT(refusal(hello), StartsWith("version_min:"));
  hello.version_min = 2;
  hello.version_max = 1;
  EXPECT_THAT(refusal(hello), StartsWith("version_min:"));
}

TEST(CodecRules, APeerWithoutRankOrInstance) {
  Hello hello = get<Hello>("hello_peer");
  hello.rank = kNoRank;
  EXPECT_THAT(refusal(hello), StartsWith("rank:"));
  hello = get<Hello>("hello_peer");
  hello.instance = 0;
  EXPECT_THAT(refusal(hello), StartsWith("instance:"));
}

TEST(CodecRules, SequenceZero) {
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.transfer = {0, 0};
  EXPECT_THAT(refusal(chunk), StartsWith("sequence:"));
  ChunkRef ref = get<ChunkRef>("chunk_ref");
  ref.transfer = {0, 0};
  EXPECT_THAT(refusal(ref), StartsWith("sequence:"));
  EXPECT_THAT(refusal(Unlink{{0, 0}, 1}), StartsWith("sequence:"));
  EXPECT_THAT(refusal(StreamEnd{{0, 0}, DataId("x"), 1}), StartsWith("sequence:"));
  EXPECT_THAT(refusal(Ack{}), StartsWith("sequence:"));
  EXPECT_THAT(refusal(Refuse{}), StartsWith("sequence:"));
  EXPECT_THAT(refusal(Withdraw{}), StartsWith("sequence:"));
  EXPECT_THAT(refusal(Retract{{0, 0}, DataId("x"), 1}), StartsWith("sequence:"));
}

TEST(CodecRules, SettledAboveSequence) {
  EXPECT_THAT(refusal(Unlink{{5, 6}, 1}), StartsWith("settled:"));
  EXPECT_THAT(refusal(Retract{{5, 6}, DataId("x"), 1}), StartsWith("settled:"));
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.transfer = {5, 6};
  EXPECT_THAT(refusal(chunk), StartsWith("settled:"));
}

TEST(CodecRules, UnlinkOfNothing) { EXPECT_THAT(refusal(Unlink{{5, 5}, 0}), StartsWith("chunk_ref:")); }

TEST(CodecRules, OffsetAndBytesOverflow) {
  ChunkRef ref = get<ChunkRef>("chunk_ref");
  ref.offset = ~std::uint64_t{0} - ref.meta.bytes + 1;
  EXPECT_THAT(refusal(ref), StartsWith("offset:"));
  Reply reply = get<Reply>("reply_arena");
  reply.arena.bytes = 0;
  reply.offset = ~std::uint64_t{0} - reply.meta.bytes + 1;
  EXPECT_THAT(refusal(reply), StartsWith("offset:"));
}

TEST(CodecRules, AViewBeyondTheArena) {
  Reply reply = get<Reply>("reply_arena");
  reply.offset = reply.arena.bytes - reply.meta.bytes;
  EXPECT_EQ(refusal(reply), "accepted");
  reply.offset += 1;
  EXPECT_THAT(refusal(reply), StartsWith("offset:"));
}

TEST(CodecRules, ChunkRefIntoNoArena) {
  ChunkRef ref = get<ChunkRef>("chunk_ref");
  ref.arena = 0;
  EXPECT_THAT(refusal(ref), StartsWith("arena:"));
}

TEST(CodecRules, AReplyWithBytesButWithoutMeta) {
  Reply reply = get<Reply>("reply_payload");
  reply.meta = ChunkMeta{};
  EXPECT_THAT(refusal(reply, 256), StartsWith("meta: missing"));
  reply.where = Where::kInline;
  EXPECT_THAT(refusal(reply), StartsWith("meta: missing"));
}

TEST(CodecRules, AChunkWithoutMeta) {
  EXPECT_THAT(refusal(crafted([](FlatBufferBuilder& b) { return wire::CreateChunk(b, 1, 1); })),
              StartsWith("meta: missing"));
  EXPECT_THAT(refusal(crafted([](FlatBufferBuilder& b) { return wire::CreateSend(b, 1); })),
              StartsWith("meta: missing"));
}

TEST(CodecRules, ReleaseWithUnequalOrTooManyEntries) {
  const auto release = [](std::size_t views, std::size_t counts, std::size_t slots) {
    const std::vector<std::uint64_t> view(views);
    const std::vector<std::uint32_t> count(counts);
    const std::vector<std::uint64_t> slot(slots);
    return refusal(
        crafted([&](FlatBufferBuilder& b) { return wire::CreateReleaseDirect(b, &view, &count, &slot); }));
  };
  EXPECT_EQ(release(128, 128, 128), "accepted");
  EXPECT_THAT(release(129, 129, 0), StartsWith("view:"));
  EXPECT_THAT(release(2, 1, 0), StartsWith("count:"));
  EXPECT_THAT(release(0, 1, 0), StartsWith("count:"));
  EXPECT_THAT(release(0, 0, 129), StartsWith("slot:"));
}

TEST(CodecRules, FailuresUnequalOrTooMany) {
  const auto reply = [](std::size_t ranks, std::size_t codes) {
    const std::vector<std::int32_t> rank(ranks);
    const std::vector<wire::Errc> code(codes);
    return refusal(crafted([&](FlatBufferBuilder& b) {
      return wire::CreateReplyDirect(b, 1, wire::Stage::Final, wire::Errc::Ok, -1, nullptr, &rank, &code);
    }));
  };
  EXPECT_EQ(reply(256, 256), "accepted");
  EXPECT_THAT(reply(257, 257), StartsWith("failed_rank:"));
  EXPECT_THAT(reply(2, 3), StartsWith("failed_code:"));
}

TEST(CodecRules, WhatIsToBeAnsweredIsReadAlsoFromARefusedHeader) {
  Message out;
  EXPECT_THAT(refusal(encoded(Recv{77, DataId("x"), 0, 0, false}), 1, out), StartsWith("payload:"));
  EXPECT_EQ(request_of(out), RequestId{77});
  Send send = get<Send>("send_inline");
  send.meta.bytes = 1;
  refusal(encoded(send), 0, out);
  EXPECT_EQ(request_of(out), send.request);
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.meta.bytes = 1;
  refusal(encoded(chunk), 0, out);
  EXPECT_EQ(std::get<Chunk>(out).transfer.sequence, chunk.transfer.sequence);
}

}  // namespace
}  // namespace sidecar
