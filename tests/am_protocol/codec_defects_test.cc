// What a header can have wrong as bytes, one test each. Every one must be refused with the name of the field,
// and nothing else may happen.
#include <gmock/gmock.h>

#include "tests/am_protocol/crafted.h"

namespace sidecar {
namespace {

using flatbuffers::FlatBufferBuilder;
using testing::StartsWith;

// --- the frame ---

TEST(CodecDefects, Empty) { EXPECT_THAT(refusal(std::span<const std::byte>()), StartsWith("header:")); }

TEST(CodecDefects, TruncatedAnywhere) {
  for (const Sample& s : samples()) {
    const std::vector<std::byte> header = encoded(s.message);
    Message out;
    // A header's last bytes may be padding, the bytes before the last table are not.
    for (std::size_t size = 0; size + 8 < header.size(); ++size) {
      EXPECT_FALSE(decode(std::span(header).first(size), s.payload_bytes, out))
          << s.name << " cut to " << size;
    }
  }
}

TEST(CodecDefects, Oversized) {
  std::vector<std::byte> header = encoded(Ping{});
  header.resize(kHeaderBytesMax);
  EXPECT_EQ(refusal(header), "accepted");  // what follows is nobody's business
  header.resize(kHeaderBytesMax + 1);
  EXPECT_THAT(refusal(header), StartsWith("header: longer"));
}

TEST(CodecDefects, WrongIdentifier) {
  std::vector<std::byte> header = encoded(Ping{});
  header[7] = std::byte{'2'};
  EXPECT_THAT(refusal(header), StartsWith("identifier:"));
}

TEST(CodecDefects, RootBeyondTheEnd) {
  std::vector<std::byte> header = encoded(Ping{});
  header[1] = std::byte{0x7f};
  EXPECT_THAT(refusal(header), StartsWith("header:"));
  header[3] = std::byte{0xff};
  EXPECT_THAT(refusal(header), StartsWith("header:"));
}

TEST(CodecDefects, NoBody) {
  FlatBufferBuilder b;
  wire::FinishEnvelopeBuffer(b, wire::CreateEnvelope(b));
  EXPECT_THAT(refusal(std::as_bytes(b.GetBufferSpan())), StartsWith("body: missing"));
}

TEST(CodecDefects, BodyTypeWithoutBody) {
  FlatBufferBuilder b;
  wire::FinishEnvelopeBuffer(b, wire::CreateEnvelope(b, wire::Body::Ping, 0));
  EXPECT_THAT(refusal(std::as_bytes(b.GetBufferSpan())), StartsWith("body: missing"));
}

TEST(CodecDefects, UnknownBody) {
  FlatBufferBuilder b;
  const auto ping = wire::CreatePing(b, 1, true);
  wire::FinishEnvelopeBuffer(b, wire::CreateEnvelope(b, static_cast<wire::Body>(200), ping.Union()));
  Message out = sample("send_inline").message;
  EXPECT_THAT(refusal(std::as_bytes(b.GetBufferSpan()), 0, out), StartsWith("body: unknown"));
  EXPECT_TRUE(std::holds_alternative<Ping>(out));  // nothing stale to answer to
}

TEST(CodecDefects, BodyOfAnotherType) {
  // A Ping's table read as a Send: its fields are not where a Send's would be.
  FlatBufferBuilder b;
  const auto ping = wire::CreatePing(b, 1, true);
  wire::FinishEnvelopeBuffer(b, wire::CreateEnvelope(b, wire::Body::Send, ping.Union()));
  EXPECT_NE(refusal(std::as_bytes(b.GetBufferSpan())), "accepted");
}

TEST(CodecDefects, PayloadWithAMessageThatCarriesNone) {
  for (const Sample& s : samples()) {
    if (s.payload_bytes > 0) continue;
    Message out;
    EXPECT_NE(refusal(encoded(s.message), 1, out), "accepted") << s.name;
  }
}

// --- lengths that lie ---

TEST(CodecDefects, BytesThatAreNotThere) {
  EXPECT_THAT(refusal(get<Send>("send_payload"), (1 << 20) - 1), StartsWith("payload:"));
  EXPECT_THAT(refusal(get<Send>("send_payload"), 0), StartsWith("payload:"));
  EXPECT_THAT(refusal(get<Chunk>("chunk_payload"), 1 << 25), StartsWith("payload:"));
  EXPECT_THAT(refusal(get<Reply>("reply_payload"), 255), StartsWith("payload:"));
}

TEST(CodecDefects, InlineBytesThatDisagreeWithMeta) {
  Send send = get<Send>("send_inline");
  send.meta.bytes = 65;
  EXPECT_THAT(refusal(send), StartsWith("inline_data:"));
  send.meta.bytes = 63;
  EXPECT_THAT(refusal(send), StartsWith("inline_data:"));
  send.meta.bytes = 64;
  EXPECT_THAT(refusal(send, 64), StartsWith("payload:"));
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.inline_bytes = 63;
  EXPECT_THAT(refusal(chunk), StartsWith("inline_data:"));
  Reply reply = get<Reply>("reply_inline");
  reply.inline_bytes = 0;
  EXPECT_THAT(refusal(reply), StartsWith("inline_data:"));
}

TEST(CodecDefects, InlineBytesBesideAPayload) {
  Send send = get<Send>("send_inline");
  send.source = Source::kPayload;
  EXPECT_THAT(refusal(send, 64), StartsWith("inline_data:"));
  send.source = Source::kSlot;
  EXPECT_THAT(refusal(send), StartsWith("inline_data:"));
  Reply reply = get<Reply>("reply_inline");
  for (const Where where : {Where::kNothing, Where::kArena, Where::kPayload}) {
    reply.where = where;
    EXPECT_THAT(refusal(reply), StartsWith("inline_data:"));
  }
}

TEST(CodecDefects, TooManyInlineBytes) {
  const auto header = crafted([](FlatBufferBuilder& b) {
    const auto meta = wire::CreateMetaDirect(b, nullptr, 0, 1, false, wire::ChunkKind::Object,
                                             wire::Dtype::U8, 0, nullptr, kInlineBytesMax + 1);
    return wire::CreateSend(b, 1, meta, 0, 0, wire::Source::Inline, 0, 0,
                            b.CreateVector(Bytes8(kInlineBytesMax + 1)));
  });
  EXPECT_THAT(refusal(header), StartsWith("inline_data: longer"));
}

TEST(CodecDefects, IdTooLong) {
  const Bytes8 id(256, 'x');
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) { return wire::CreateRecvDirect(b, 1, &id); })),
              StartsWith("id: longer"));
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) {
                return wire::CreateSend(b, 1, wire::CreateMetaDirect(b, &id, 0, 1));
              })),
              StartsWith("id: longer"));
}

TEST(CodecDefects, IdMissing) {
  EXPECT_THAT(refusal(StreamEnd{{1, 1}, DataId(), 1}), StartsWith("id: empty"));
  EXPECT_THAT(refusal(Retract{{1, 1}, DataId(), 1}), StartsWith("id: empty"));
  Chunk chunk = get<Chunk>("chunk_inline");
  chunk.meta.id = DataId();
  EXPECT_THAT(refusal(chunk), StartsWith("id: empty"));
  const auto reply = crafted([](FlatBufferBuilder& b) {
    const auto meta = wire::CreateMetaDirect(b, nullptr, 0, 1, false, wire::ChunkKind::Object);
    wire::ReplyBuilder t(b);
    t.add_where(wire::Where::Inline);
    t.add_meta(meta);
    return t.Finish();
  });
  EXPECT_THAT(refusal(reply), StartsWith("id: empty"));
}

TEST(CodecDefects, TextsTooLong) {
  const std::string long_name(256, 'n');
  const std::string long_text(201, 't');
  const Bytes8 long_ticket(65);
  const auto hello = [&](const char* node, const Bytes8* ticket, const char* path) {
    return crafted([&](FlatBufferBuilder& b) {
      const auto arena = wire::CreateArenaDirect(b, 1, 2, 3, path);
      return wire::CreateHelloDirect(b, 1, 1, wire::Role::Client, false, 1, 0, 1, 1, 0, node, ticket, arena);
    });
  };
  EXPECT_EQ(refusal(hello("n", nullptr, "p")), "accepted");
  EXPECT_THAT(refusal(hello(long_name.c_str(), nullptr, "p")), StartsWith("node:"));
  EXPECT_THAT(refusal(hello("n", &long_ticket, "p")), StartsWith("ticket:"));
  EXPECT_THAT(refusal(hello("n", nullptr, long_name.c_str())), StartsWith("arena.path:"));
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) {
                return wire::CreateAckDirect(b, 1, wire::Errc::Io, long_text.c_str());
              })),
              StartsWith("text:"));
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) {
                return wire::CreateHelloAckDirect(b, wire::Errc::Io, long_text.c_str());
              })),
              StartsWith("text:"));
  EXPECT_THAT(refusal(crafted([&](FlatBufferBuilder& b) {
                return wire::CreateReplyDirect(b, 1, wire::Stage::Final, wire::Errc::Io, -1,
                                               long_text.c_str());
              })),
              StartsWith("text:"));
}

TEST(CodecDefects, ArenaPathWithAZeroByte) {
  HelloAck ack = get<HelloAck>("hello_ack");
  ack.arena.path = Name(std::string_view("/dev/shm/a\0b", 12));
  EXPECT_THAT(refusal(ack), StartsWith("arena.path:"));
}

TEST(CodecDefects, AVectorLongerThanTheHeader) {
  std::vector<std::byte> header = encoded(get<MarkDone>("mark_done"));
  const std::string_view id = "request-17/hidden";
  const auto* text = reinterpret_cast<const std::byte*>(id.data());
  const auto at = std::search(header.begin(), header.end(), text, text + id.size());
  ASSERT_NE(at, header.end());
  for (const std::uint32_t lie : {18u, 250u, 0x7fffffffu, 0xffffffffu}) {
    std::memcpy(&*(at - 4), &lie, 4);
    const std::string why = refusal(header);
    EXPECT_TRUE(lie == 18u || why.starts_with("header:")) << lie << why;  // 18: the padding byte is inside
  }
}

}  // namespace
}  // namespace sidecar
