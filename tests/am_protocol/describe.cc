#include "tests/am_protocol/describe.h"

#include <string_view>
#include <type_traits>

namespace sidecar {
namespace {

std::string show(ConstBytes bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text = "0x";
  for (const std::byte b : bytes) {
    text += kHex[std::to_integer<unsigned>(b) >> 4];
    text += kHex[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

template <std::size_t N>
std::string show(const FixedText<N>& text) {
  const auto printable = [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; };
  if (std::ranges::all_of(text.view(), printable)) return '"' + std::string(text.view()) + '"';
  return show(std::as_bytes(std::span(text.view())));
}

template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>)
std::string show(T value) {
  if constexpr (std::is_enum_v<T>)
    return std::to_string(static_cast<std::underlying_type_t<T>>(value));
  else
    return std::to_string(value);
}

template <class T>
std::string show(std::span<const T> values) {
  std::string text = "[";
  for (const T& value : values) text += (text.size() > 1 ? " " : "") + show(value);
  return text + "]";
}

class Description {
 public:
  explicit Description(const char* kind) : text_(std::string(kind) + "\n") {}

  template <class T>
  void field(const char* name, const T& value, const T& by_default) {
    if (!(value == by_default)) add(name, show(value));
  }
  template <class T, std::size_t N>
  void list(const char* name, const std::array<T, N>& values, std::size_t count) {
    if (count > 0) add(name, show(std::span<const T>(values.data(), count)));
  }
  void bytes(const char* name, const std::array<std::byte, kInlineBytesMax>& data, std::size_t count) {
    if (count > 0) add(name, show(ConstBytes(data.data(), count)));
  }
  void add(const char* name, const std::string& value) { text_ += std::string(name) + " " + value + "\n"; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

#define FIELD(name) d.field(#name, m.name, by_default.name)

void parts(Description& d, const ChunkMeta& m) {
  const ChunkMeta by_default{};
  FIELD(id);
  FIELD(chunk);
  FIELD(num_chunks);
  FIELD(stream);
  FIELD(kind);
  FIELD(dtype);
  FIELD(codec);
  d.list("shape", m.shape.extent, m.shape.dims);
  FIELD(bytes);
  FIELD(unit_bytes);
}

void parts(Description& d, const ArenaInfo& m) {
  d.field("arena.instance", m.instance, InstanceId{0});
  d.field("arena.nonce", m.nonce, std::uint64_t{0});
  d.field("arena.bytes", m.bytes, std::uint64_t{0});
  d.field("arena.path", m.path, Name());
}

void parts(Description& d, const DeviceSource& m) {
  const auto whole = [](const auto& bytes) { return show(ConstBytes(bytes)); };
  const DeviceSource by_default{};
  if (m.device != by_default.device) d.add("device.device", whole(m.device));
  if (m.memory != by_default.memory) d.add("device.memory", whole(m.memory));
  d.field("device.offset", m.offset, by_default.offset);
  if (m.has_event) d.add("device.event", whole(m.event));
}

void parts(Description& d, const Destinations& m) {
  d.list("group_end", m.group_end, m.groups);
  d.list("ranks", m.ranks, m.groups == 0 ? 0 : m.group_end[m.groups - 1]);
}

void parts(Description& d, const Transfer& m) {
  const Transfer by_default{};
  FIELD(sequence);
  FIELD(settled);
}

std::string text(const Hello& m) {
  const Hello by_default{};
  Description d("Hello");
  // Always: their defaults move with each release.
  d.add("version_min", show(m.version_min));
  d.add("version_max", show(m.version_max));
  FIELD(role);
  FIELD(bulk);
  FIELD(link);
  FIELD(rank);
  FIELD(instance);
  FIELD(to_instance);
  FIELD(pid);
  FIELD(node);
  FIELD(ticket);
  parts(d, m.arena);
  FIELD(open.at);
  FIELD(open.value);
  return d.take();
}

std::string text(const HelloAck& m) {
  const HelloAck by_default{};
  Description d("HelloAck");
  FIELD(code);
  FIELD(text);
  d.add("version", show(m.version));
  FIELD(rank);
  FIELD(instance);
  FIELD(pid);
  FIELD(mapped);
  FIELD(node);
  parts(d, m.arena);
  FIELD(open.at);
  FIELD(open.value);
  return d.take();
}

std::string text(const Goodbye& m) {
  const Goodbye by_default{};
  Description d("Goodbye");
  FIELD(final);
  return d.take();
}

std::string text(const Ping& m) {
  const Ping by_default{};
  Description d("Ping");
  FIELD(value);
  FIELD(answer);
  return d.take();
}

std::string text(const Credit& m) {
  const Credit by_default{};
  Description d("Credit");
  FIELD(consumed);
  FIELD(resume);
  return d.take();
}

std::string text(const Send& m) {
  const Send by_default{};
  Description d("Send");
  FIELD(request);
  parts(d, m.meta);
  parts(d, m.destinations);
  FIELD(source);
  FIELD(slot);
  FIELD(timeout_ns);
  d.bytes("inline_data", m.inline_data, m.inline_bytes);
  FIELD(shard);
  FIELD(shards);
  parts(d, m.device);
  return d.take();
}

std::string text(const Recv& m) {
  const Recv by_default{};
  Description d("Recv");
  FIELD(request);
  FIELD(id);
  FIELD(chunk);
  FIELD(timeout_ns);
  FIELD(by_value);
  return d.take();
}

std::string text(const Cancel& m) {
  const Cancel by_default{};
  Description d("Cancel");
  FIELD(target);
  return d.take();
}

std::string text(const Allocate& m) {
  const Allocate by_default{};
  Description d("Allocate");
  FIELD(request);
  FIELD(bytes);
  FIELD(unit_bytes);
  FIELD(timeout_ns);
  return d.take();
}

std::string text(const Release& m) {
  Description d("Release");
  d.list("view", m.view, m.views);
  d.list("count", m.count, m.views);
  d.list("slot", m.slot, m.slots);
  return d.take();
}

std::string text(const Filled& m) {
  const Filled by_default{};
  Description d("Filled");
  FIELD(slot);
  return d.take();
}

std::string text(const MarkDone& m) {
  const MarkDone by_default{};
  Description d("MarkDone");
  FIELD(request);
  FIELD(id);
  FIELD(chunk);
  return d.take();
}

std::string text(const CloseStream& m) {
  const CloseStream by_default{};
  Description d("CloseStream");
  FIELD(request);
  FIELD(id);
  FIELD(num_chunks);
  parts(d, m.destinations);
  FIELD(timeout_ns);
  return d.take();
}

std::string text(const Reply& m) {
  const Reply by_default{};
  Description d("Reply");
  FIELD(request);
  FIELD(stage);
  FIELD(code);
  FIELD(rank);
  FIELD(text);
  d.list("failed_rank", m.failed_rank, m.failures);
  d.list("failed_code", m.failed_code, m.failures);
  FIELD(where);
  parts(d, m.meta);
  parts(d, m.arena);
  FIELD(offset);
  FIELD(view);
  d.bytes("inline_data", m.inline_data, m.inline_bytes);
  return d.take();
}

std::string text(const Chunk& m) {
  const Chunk by_default{};
  Description d("Chunk");
  parts(d, m.transfer);
  parts(d, m.meta);
  FIELD(is_inline);
  d.bytes("inline_data", m.inline_data, m.inline_bytes);
  FIELD(part_begin);
  FIELD(part_bytes);
  return d.take();
}

std::string text(const ChunkRef& m) {
  const ChunkRef by_default{};
  Description d("ChunkRef");
  parts(d, m.transfer);
  parts(d, m.meta);
  FIELD(arena);
  FIELD(offset);
  return d.take();
}

std::string text(const Unlink& m) {
  const Unlink by_default{};
  Description d("Unlink");
  parts(d, m.transfer);
  FIELD(chunk_ref);
  return d.take();
}

std::string text(const StreamEnd& m) {
  const StreamEnd by_default{};
  Description d("StreamEnd");
  parts(d, m.transfer);
  FIELD(id);
  FIELD(num_chunks);
  return d.take();
}

std::string text(const Ack& m) {
  const Ack by_default{};
  Description d("Ack");
  FIELD(sequence);
  FIELD(code);
  FIELD(text);
  FIELD(consumed);
  FIELD(count);
  return d.take();
}

std::string text(const Refuse& m) {
  const Refuse by_default{};
  Description d("Refuse");
  FIELD(sequence);
  return d.take();
}

std::string text(const Withdraw& m) {
  const Withdraw by_default{};
  Description d("Withdraw");
  FIELD(sequence);
  return d.take();
}

std::string text(const Retract& m) {
  const Retract by_default{};
  Description d("Retract");
  parts(d, m.transfer);
  FIELD(id);
  FIELD(chunk);
  FIELD(lost);
  return d.take();
}

#undef FIELD

}  // namespace

std::string describe(const Message& message) {
  return std::visit([](const auto& m) { return text(m); }, message);
}

}  // namespace sidecar
