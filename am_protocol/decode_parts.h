// The parts that several messages share, read from a header that the verifier has passed: offsets are inside
// it, nothing else is known. Every reader writes all of `out` and returns nullptr, or a text that begins with
// the field at fault.
#pragma once

#include <bit>
#include <cstring>

#include "am_protocol/schema_check.h"
#include "core/messages.h"

namespace sidecar {

using Fault = const char*;
using OpaqueBytes = flatbuffers::Vector<std::uint8_t>;

// False: the number has no name. `last` is the enum's largest.
template <class Core, class Wire>
[[nodiscard]] bool read_enum(Wire value, Core last, Core& out) {
  out = static_cast<Core>(value);
  return out <= last;
}

// False: longer than N bytes. Absent is empty.
template <std::size_t N, class Vector>
[[nodiscard]] bool read_text(const Vector* in, FixedText<N>& out) {
  if (in == nullptr || in->size() == 0) {
    out.assign({});
    return true;
  }
  if (in->size() > N) return false;
  out.assign({reinterpret_cast<const char*>(in->data()), in->size()});
  return true;
}

inline bool overflows(std::uint64_t a, std::uint64_t b) { return a + b < a; }

template <class Vector>
std::size_t length(const Vector* in) {
  return in == nullptr ? 0 : in->size();
}

// `in` holds at least `count` values. By bytes, because the verifier looks at the alignment of a vector's
// length only: eight-byte values may lie at any multiple of four.
template <class Vector, class T>
void copy_numbers(const Vector* in, std::size_t count, T* out) {
  static_assert(std::endian::native == std::endian::little &&
                sizeof(typename Vector::value_type) == sizeof(T));
  if (in != nullptr) std::memcpy(out, in->Data(), count * sizeof(T));
}

// Of a client's request. An empty one is the engine's to refuse, like all that a caller can get wrong.
inline Fault read_id(const OpaqueBytes* in, DataId& out) {
  return read_text(in, out) ? nullptr : "id: longer than 255 bytes";
}

// Only what keeps the struct well formed; whether it makes sense is check_meta()'s question.
Fault read_meta(const wire::Meta* in, ChunkMeta& out);
// The same, and check_meta().
Fault read_peer_meta(const wire::Meta* in, ChunkMeta& out);
// Of a Send: must be there.
Fault read_device(const wire::Device* in, DeviceSource& out);
// Absent: no arena.
Fault read_arena(const wire::Arena* in, ArenaInfo& out);
Fault read_destinations(const flatbuffers::Vector<std::uint16_t>* group_end,
                        const flatbuffers::Vector<std::int32_t>* ranks, Destinations& out);
Fault read_transfer(Sequence sequence, Sequence settled, Transfer& out);

// A chunk's bytes are in the header or in the payload, never in both, and as many as meta.bytes says. `count`
// and `out` are the message's inline_bytes and inline_data.
Fault read_inline(const OpaqueBytes* in, std::uint64_t meta_bytes, std::uint64_t payload_bytes,
                  std::uint32_t& count, std::array<std::byte, kInlineBytesMax>& out);
Fault check_payload(const OpaqueBytes* in, std::uint64_t meta_bytes, std::uint64_t payload_bytes);
Fault check_no_bytes(const OpaqueBytes* in, std::uint64_t payload_bytes);

}  // namespace sidecar
