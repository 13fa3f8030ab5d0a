#include "tests/am_protocol/samples.h"

#include <initializer_list>
#include <utility>

namespace sidecar {
namespace {

constexpr std::uint64_t kU64Max = ~std::uint64_t{0};
constexpr std::uint32_t kU32Max = ~std::uint32_t{0};

// Every byte value but one, in an order that a text routine would trip over.
DataId longest_id() {
  std::string id;
  for (int i = 0; i < 255; ++i) id += static_cast<char>(i);
  return DataId(id);
}

template <std::size_t N>
FixedText<N> full(char c) {
  return FixedText<N>(std::string(N, c));
}

Shape shape(std::initializer_list<std::uint64_t> extents) {
  Shape shape;
  for (const std::uint64_t extent : extents) shape.extent[shape.dims++] = extent;
  return shape;
}

ChunkMeta tensor(std::uint64_t bytes) {
  ChunkMeta meta;
  meta.id = DataId("request-17/hidden");
  meta.chunk = 2;
  meta.num_chunks = 5;
  meta.dtype = Dtype::kBF16;
  meta.shape = shape({bytes / 256, 128});
  meta.bytes = bytes;
  meta.unit_bytes = 8192;
  return meta;
}

ChunkMeta object(std::uint64_t bytes) {
  ChunkMeta meta;
  meta.id = DataId("request-17/tokens");
  meta.stream = true;
  meta.chunk = 9;
  meta.kind = ChunkKind::kObject;
  meta.codec = 3;
  meta.bytes = bytes;
  return meta;
}

template <class T>
void fill_inline(T& m, std::uint32_t bytes) {
  m.inline_bytes = bytes;
  for (std::uint32_t i = 0; i < bytes; ++i) m.inline_data[i] = static_cast<std::byte>(i * 7 + 1);
}

Destinations two_groups() {
  Destinations d;
  const std::array<Rank, 2> first{4, 5};
  const std::array<Rank, 1> second{9};
  d.add_group(first);
  d.add_group(second);
  return d;
}

ArenaInfo arena() {
  return {0x1122334455667788, 0x99aabbccddeeff00, 1ull << 36, Name("/dev/shm/sidecar-1122334455667788")};
}

Send send(Source source, ChunkMeta meta) {
  Send m;
  m.request = 41;
  m.meta = meta;
  m.destinations = two_groups();
  m.source = source;
  m.timeout_ns = 600 * kSecond;
  return m;
}

Reply reply(Where where) {
  Reply m;
  m.request = 41;
  m.where = where;
  return m;
}

void connections(std::vector<Sample>& out) {
  Hello peer;
  peer.version_max = 3;
  peer.role = Role::kPeer;
  peer.bulk = true;
  peer.link = 0xfedcba9876543210;
  peer.rank = 7;
  peer.instance = 0x1122334455667788;
  peer.to_instance = 0x8877665544332211;
  peer.pid = 4194304;
  peer.node = Name("node-a");
  peer.ticket = full<64>('\xff');
  peer.arena = arena();
  out.push_back({"hello_peer", peer});
  Hello client;
  client.version_max = 1;
  client.link = 1;
  client.rank = 0;
  client.instance = 5;
  client.to_instance = 6;
  client.ticket = Ticket(std::string_view("\0ticket", 7));
  out.push_back({"hello_client", client});
  Hello marked = client;
  marked.pid = 77;
  marked.open = {0x7f00'0000'1238, 0x0123456789abcdef};
  out.push_back({"hello_open_mark", marked});

  HelloAck accepted;
  accepted.version = 1;
  accepted.rank = 3;
  accepted.instance = 0x8877665544332211;
  accepted.pid = 12345;
  accepted.mapped = true;
  accepted.node = full<kNameBytesMax>('n');
  accepted.arena = arena();
  accepted.arena.path = full<kNameBytesMax>('p');
  out.push_back({"hello_ack", accepted});
  HelloAck refused;
  refused.version = 1;
  refused.code = Errc::kUnauthorized;
  refused.text = Text("ticket: unknown or used");
  out.push_back({"hello_ack_refused", refused});
  HelloAck also_marked;
  also_marked.version = 1;
  also_marked.pid = 78;
  also_marked.open = {0x7f00'0000'2240, 1};
  out.push_back({"hello_ack_open_mark", also_marked});

  out.push_back({"goodbye", Goodbye{true}});
  out.push_back({"goodbye_link_only", Goodbye{false}});
  out.push_back({"ping", Ping{kU64Max, false}});
  out.push_back({"ping_answer", Ping{12, true}});
  out.push_back({"credit", Credit{1ull << 40, false}});
  out.push_back({"credit_resume", Credit{0, true}});
}

template <std::size_t N>
void fill(std::array<std::byte, N>& bytes, std::uint8_t first) {
  for (std::size_t i = 0; i < N; ++i) bytes[i] = static_cast<std::byte>(first + i);
}

DeviceSource gpu_memory() {
  DeviceSource m;
  fill(m.device, 1);
  fill(m.memory, 0x40);
  m.offset = 1ull << 33;
  return m;
}

void group_sends(std::vector<Sample>& out) {
  Send shard = send(Source::kPayload, tensor(1 << 20));
  shard.shard = 2;
  shard.shards = 4;
  out.push_back({"send_shard", shard, 1 << 18});
  shard.shards = kDestinationsMax;
  shard.shard = kDestinationsMax - 1;
  shard.meta = tensor(512);
  out.push_back({"send_shard_of_no_bytes", shard});
  out.push_back({"send_nothing", send(Source::kNothing, tensor(1 << 20))});
  Send device = send(Source::kDevice, tensor(1 << 20));
  device.device = gpu_memory();
  out.push_back({"send_device", device});
  device.shard = 1;
  device.shards = 2;
  device.device.has_event = true;
  fill(device.device.event, 0x80);
  out.push_back({"send_device_shard", device});
  out.push_back({"send_fill", send(Source::kFill, tensor(1 << 20))});
  shard = send(Source::kFill, tensor(1 << 20));
  shard.shard = 1;
  shard.shards = 2;
  out.push_back({"send_fill_shard", shard});
}

void client_requests(std::vector<Sample>& out) {
  Send tokens = send(Source::kInline, object(64));
  fill_inline(tokens, 64);
  out.push_back({"send_inline", tokens});
  out.push_back({"send_inline_empty", send(Source::kInline, object(0))});
  out.push_back({"send_payload", send(Source::kPayload, tensor(1 << 20)), 1 << 20});
  Send placed = send(Source::kSlot, tensor(65536));
  placed.slot = 0x0000000300000007;
  out.push_back({"send_slot", placed});
  out.push_back({"send_largest", largest_send()});
  // A client's mistakes travel: the engine answers them.
  Send wrong = send(Source::kPayload, tensor(512));
  wrong.meta.chunk = 5;
  wrong.destinations.ranks[0] = -4;
  wrong.timeout_ns = 0;
  out.push_back({"send_wrong_chunk_and_rank", wrong, 512});

  out.push_back({"recv", Recv{kU64Max, longest_id(), kU32Max, kNever, true}});
  out.push_back({"recv_at_once", Recv{1, DataId(std::string_view("\0", 1)), 0, 0, false}});
  out.push_back({"cancel", Cancel{41}});
  out.push_back({"allocate", Allocate{42, 1ull << 30, 8192, 5 * kSecond}});
  Release release;
  release.views = 2;
  release.view = {0x100000001, 0x100000002};
  release.count = {1, 3};
  release.slots = 1;
  release.slot = {0x300000007};
  out.push_back({"release", release});
  Release most;
  most.views = most.slots = kReleasesMax;
  for (std::uint32_t i = 0; i < kReleasesMax; ++i) {
    most.view[i] = kU64Max - i;
    most.count[i] = kU32Max - i;
    most.slot[i] = std::uint64_t{i} << 33;
  }
  out.push_back({"release_largest", most});
  out.push_back({"filled", Filled{1ull << 21}});
  out.push_back({"mark_done", MarkDone{43, DataId("request-17/hidden"), 4}});
  CloseStream close;
  close.request = 44;
  close.id = DataId("request-17/tokens");
  close.num_chunks = 10;
  close.destinations = two_groups();
  close.timeout_ns = kSecond;
  out.push_back({"close_stream", close});
}

void replies(std::vector<Sample>& out) {
  Reply captured = reply(Where::kNothing);
  captured.stage = Stage::kCaptured;
  out.push_back({"reply_captured", captured});
  Reply failed = reply(Where::kNothing);
  failed.code = Errc::kPeerLost;
  failed.rank = 9;
  failed.text = Text("the destination is gone");
  failed.failures = 2;
  failed.failed_rank = {4, 9};
  failed.failed_code = {Errc::kNoSpace, Errc::kPeerLost};
  out.push_back({"reply_failures", failed});
  Reply view = reply(Where::kArena);
  view.meta = tensor(1 << 20);
  view.arena = arena();
  view.offset = 4096;
  view.view = 0x100000002;
  out.push_back({"reply_arena", view});
  Reply allocated = reply(Where::kArena);
  allocated.arena.instance = 0x1122334455667788;
  allocated.offset = 1 << 21;
  allocated.view = 0x300000007;
  out.push_back({"reply_allocated", allocated});
  Reply room = allocated;
  room.stage = Stage::kRoom;
  room.view = 0;
  out.push_back({"reply_room", room});
  Reply tokens = reply(Where::kInline);
  tokens.meta = object(kInlineBytesMax);
  fill_inline(tokens, kInlineBytesMax);
  out.push_back({"reply_inline", tokens});
  Reply bytes = reply(Where::kPayload);
  bytes.meta = tensor(256);
  out.push_back({"reply_payload", bytes, 256});
  Reply empty = reply(Where::kPayload);
  empty.meta = tensor(0);
  out.push_back({"reply_payload_of_no_bytes", empty});
  out.push_back({"reply_largest", largest_reply()});
}

void transfers(std::vector<Sample>& out) {
  Chunk tokens;
  tokens.transfer = {17, 12};
  tokens.meta = object(64);
  tokens.is_inline = true;
  fill_inline(tokens, 64);
  out.push_back({"chunk_inline", tokens});
  Chunk big;
  big.transfer = {kU64Max, kU64Max};
  big.meta = tensor(1 << 26);
  big.inline_bytes = 0;
  out.push_back({"chunk_payload", big, 1 << 26});
  Chunk empty;
  empty.transfer = {1, 0};
  empty.meta = tensor(0);
  out.push_back({"chunk_of_no_bytes", empty});
  Chunk scalar;
  scalar.transfer = {2, 1};
  scalar.meta = tensor(8);
  scalar.meta.dtype = Dtype::kC64;
  scalar.meta.shape = {};
  out.push_back({"chunk_scalar", scalar, 8});
  Chunk dims;
  dims.transfer = {3, 3};
  dims.meta = tensor(32);
  dims.meta.id = longest_id();
  dims.meta.dtype = Dtype::kC128;
  dims.meta.shape = shape({1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1});
  dims.meta.unit_bytes = kU64Max;
  out.push_back({"chunk_of_16_dimensions", dims, 32});

  ChunkRef ref;
  ref.transfer = {18, 17};
  ref.meta = tensor(1 << 20);
  ref.arena = 0x1122334455667788;
  ref.offset = 1ull << 35;
  out.push_back({"chunk_ref", ref});
  out.push_back({"unlink", Unlink{{19, 17}, 18}});
  out.push_back({"stream_end", StreamEnd{{20, 20}, DataId("request-17/tokens"), 10}});
  out.push_back({"stream_end_of_nothing", StreamEnd{{21, 20}, DataId("t"), 0}});
  out.push_back({"ack", Ack{18, Errc::kOk, {}, 65536}});
  out.push_back({"ack_run", Ack{18, Errc::kOk, {}, 65536, kAckRunMax}});
  out.push_back({"ack_already_exists", Ack{19, Errc::kAlreadyExists, full<kTextBytesMax>('x'), 0}});
  out.push_back({"refuse", Refuse{20}});
  out.push_back({"withdraw", Withdraw{21}});
  Chunk part;
  part.transfer = {22, 20};
  part.meta = tensor(1 << 20);
  part.part_begin = 1 << 18;
  part.part_bytes = 3 << 18;
  out.push_back({"chunk_part", part, 3 << 18});
  out.push_back({"retract", Retract{{23, 22}, DataId("request-17/hidden"), 2}});
  out.push_back({"retract_lost", Retract{{24, 22}, DataId("request-17/hidden"), 3, true}});
}

}  // namespace

Send largest_send() {
  Send m;
  m.request = kU64Max;
  m.meta = object(kInlineBytesMax);
  m.meta.id = longest_id();
  m.meta.chunk = kU32Max - 1;
  m.meta.num_chunks = kU32Max;
  m.meta.dtype = Dtype::kF8E5M2;
  m.meta.codec = kU32Max;
  m.meta.unit_bytes = kU64Max;
  m.meta.shape.dims = kDimsMax;
  m.meta.shape.extent.fill(kU64Max);
  for (Rank r = 0; r < static_cast<Rank>(kDestinationsMax); ++r) {
    const std::array<Rank, 1> group{0x7fffffff - r};
    m.destinations.add_group(group);
  }
  m.slot = kU64Max;
  m.timeout_ns = kU64Max - 1;
  fill_inline(m, kInlineBytesMax);
  return m;
}

Reply largest_reply() {
  Reply m;
  m.request = kU64Max;
  m.stage = Stage::kCaptured;
  m.code = Errc::kInternal;
  m.rank = 0x7fffffff;
  m.text = full<kTextBytesMax>('t');
  m.failures = kDestinationsMax;
  m.failed_rank.fill(0x7ffffffe);
  m.failed_code.fill(Errc::kEndOfStream);
  m.where = Where::kInline;
  m.meta = largest_send().meta;
  m.arena = arena();
  m.arena.path = full<kNameBytesMax>('p');
  m.offset = kU64Max;
  m.view = kU64Max;
  fill_inline(m, kInlineBytesMax);
  return m;
}

std::vector<Sample> samples() {
  std::vector<Sample> out;
  connections(out);
  client_requests(out);
  group_sends(out);
  replies(out);
  transfers(out);
  return out;
}

}  // namespace sidecar
