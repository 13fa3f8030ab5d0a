// Every message of the protocol as a plain struct: what core handles and what am_protocol encodes. Field by
// field the same as am_protocol/sidecar_v1.fbs; am_protocol/README.md says who sends what when. No
// allocation, bounded size.
#pragma once

#include <optional>
#include <type_traits>
#include <variant>

#include "core/types.h"

namespace sidecar {

inline constexpr std::uint16_t kProtocolVersionMin = 1;
inline constexpr std::uint16_t kProtocolVersionMax = 4;
// From this one on: shards, parts of a chunk, Retract, Source::kNothing and kDevice.
inline constexpr std::uint16_t kGroupsVersion = 2;
// From this one on: an Ack for several transfers.
inline constexpr std::uint16_t kAckRunsVersion = 3;
// From this one on: Source::kFill, Stage::kRoom and Filled.
inline constexpr std::uint16_t kFillVersion = 4;

using Ticket = FixedText<64>;  // proves a registration (client) or a peer's permission (sidecar); opaque

// A region that another process may map. path is empty when it cannot be mapped.
struct ArenaInfo {
  InstanceId instance = 0;
  std::uint64_t nonce = 0;  // also in the file's header page: opening it and reading this proves "same node"
  std::uint64_t bytes = 0;
  Name path;
};

enum class Role : std::uint8_t { kClient = 0, kPeer = 1 };

// --- both connections
// ---------------------------------------------------------------------------------------------

// For connections over shared memory. As long as `value` (random) stands at the address `at` of the sender's
// process, it has not closed the connection: whoever reads its memory looks there afterwards, since nothing
// else tells a process that was stopped for long whether what it read was still what was meant. 0: none.
struct OpenMark {
  std::uint64_t at = 0;
  std::uint64_t value = 0;
};

// First message on every endpoint, from the side that connected. Nothing else is served before it was
// accepted.
struct Hello {
  std::uint16_t version_min = kProtocolVersionMin;
  std::uint16_t version_max = kProtocolVersionMax;
  Role role = Role::kClient;
  bool bulk = false;           // the second endpoint of a link, for payloads; the first carries control
  std::uint64_t link = 0;      // random, the same on both endpoints of one link
  Rank rank = kNoRank;         // peers: the connecting sidecar; clients: the rank they registered for
  InstanceId instance = 0;     // of the connecting process
  InstanceId to_instance = 0;  // the process it means to reach; another one refuses
  std::int64_t pid = 0;        // of the connecting process, 0 unknown
  Name node;
  Ticket ticket;
  ArenaInfo arena;  // peers: the connecting sidecar's arena
  OpenMark open;    // set by the transport
};

struct HelloAck {
  Errc code = Errc::kOk;
  Text text;
  std::uint16_t version = kProtocolVersionMax;
  Rank rank = kNoRank;
  InstanceId instance = 0;
  std::int64_t pid = 0;  // of the answering process
  bool mapped = false;   // peers: the answering side has mapped Hello.arena, ChunkRef may be used
  Name node;
  ArenaInfo arena;  // of the answering sidecar
  OpenMark open;    // set by the transport
};

struct Goodbye {
  bool final = true;  // the process is going away, not only this link
};

struct Ping {
  std::uint64_t value = 0;
  bool answer = false;
};

// Eager payload bytes consumed on this link since its Hello (the sender may have kEagerWindowBytes
// unconsumed), and whether transfers that were refused for lack of room may be sent again now.
struct Credit {
  std::uint64_t consumed = 0;
  bool resume = false;
};

// --- client -> sidecar: each is answered by Reply with the same request, except Cancel, Release and Filled
// --------------------

enum class Source : std::uint8_t {
  kInline = 0,
  kPayload = 1,
  kSlot = 2,
  kNothing = 3,  // a group's member other than the first, whose shard 0 copies for all: only acknowledged
  kDevice = 4,   // GPU memory of the client's process, copied by the sidecar
  kFill = 5,     // the client copies the bytes into the arena itself once it is told where, then says Filled
};

// GPU memory that another process of this node may open: CUDA's IPC handles, as bytes.
struct DeviceSource {
  static constexpr std::size_t kHandleBytes = 64;
  std::array<std::byte, 16> device{};            // the GPU's UUID
  std::array<std::byte, kHandleBytes> memory{};  // of the allocation that the bytes lie in,
  std::uint64_t offset = 0;                      // and where in it they begin
  std::array<std::byte, kHandleBytes> event{};  // recorded behind what writes the bytes: copied only after it
  bool has_event = false;
};

struct Send {
  RequestId request = 0;
  ChunkMeta meta;
  Destinations destinations;
  Source source = Source::kInline;
  std::uint64_t slot = 0;  // kSlot: what Allocate returned
  // A group's members copy together: this call brings shard `shard` of `shards`, which are as many as the
  // group has members (shard_of(), types.h). 0: this call brings the whole chunk.
  std::uint16_t shard = 0;
  std::uint16_t shards = 0;
  DeviceSource device{};  // kDevice
  std::uint64_t timeout_ns = kNever;
  std::uint32_t inline_bytes = 0;  // kInline: the chunk's bytes
  std::array<std::byte, kInlineBytesMax> inline_data;
};

struct Recv {
  RequestId request = 0;
  DataId id;
  ChunkIndex chunk = 0;
  std::uint64_t timeout_ns = kNever;  // 0: answer at once
  bool by_value = false;              // the client cannot map arenas: send the bytes
};

struct Cancel {
  RequestId target = 0;  // a Send, Recv or Allocate that is still waiting; its Reply says kCancelled
};

struct Allocate {
  RequestId request = 0;
  std::uint64_t bytes = 0;
  std::uint64_t unit_bytes = 0;  // 0: the hint of the registration
  std::uint64_t timeout_ns = kNever;
};

// Gives up views (count grants of each) and unsent allocations. Batched; unknown ones are ignored.
struct Release {
  std::uint16_t views = 0;
  std::array<std::uint64_t, kReleasesMax> view{};
  std::array<std::uint32_t, kReleasesMax> count{};
  std::uint16_t slots = 0;
  std::array<std::uint64_t, kReleasesMax> slot{};
};

// The bytes of a Send with kFill are in place; from here on the client leaves them alone.
struct Filled {
  std::uint64_t slot = 0;  // Reply.offset of kRoom
};

struct MarkDone {
  RequestId request = 0;
  DataId id;
  ChunkIndex chunk = 0;
};

struct CloseStream {
  RequestId request = 0;
  DataId id;
  ChunkIndex num_chunks = 0;
  Destinations destinations;
  std::uint64_t timeout_ns = kNever;
};

// --- sidecar -> client
// ----------------------------------------------------------------------------------------------

enum class Stage : std::uint8_t {
  kFinal = 0,     // the request is over
  kCaptured = 1,  // Send with kPayload: the source buffer may be reused; kFinal follows
  kRoom = 2,      // Send with kFill: the chunk's place is at `offset` of the sidecar's arena; kFinal follows
};

enum class Where : std::uint8_t { kNothing = 0, kArena = 1, kInline = 2, kPayload = 3 };

struct Reply {
  RequestId request = 0;
  Stage stage = Stage::kFinal;
  Errc code = Errc::kOk;
  Rank rank = kNoRank;  // the rank the error concerns
  Text text;
  // Send to several groups: which leaders failed and why; the others have the data.
  std::uint16_t failures = 0;
  std::array<Rank, kDestinationsMax> failed_rank;
  std::array<Errc, kDestinationsMax> failed_code;
  // Recv: what and where. Allocate: where (kArena), no meta.
  Where where = Where::kNothing;
  ChunkMeta meta;
  ArenaInfo arena;
  std::uint64_t offset = 0;  // from the arena's first data byte
  std::uint64_t view = 0;    // to be given up with Release, once per Reply that carried it
  std::uint32_t inline_bytes = 0;
  std::array<std::byte, kInlineBytesMax> inline_data;
};

// --- sidecar -> sidecar: transfers, each answered by Ack or Refuse with the same sequence
// -----------------------------

// `settled`: every sequence below it is over at the sender, so the receiver's duplicate window may forget it.
struct Transfer {
  Sequence sequence = 0;
  Sequence settled = 0;
};

// A large chunk may come in parts, each a transfer of its own with its payload; meta is the whole chunk's,
// the same in each.
struct Chunk {
  Transfer transfer;
  ChunkMeta meta;
  std::uint64_t part_begin = 0;  // of the chunk's bytes,
  std::uint64_t part_bytes = 0;  // and how many: 0, it is all of them
  bool is_inline = false;
  std::uint32_t inline_bytes = 0;
  std::array<std::byte, kInlineBytesMax> inline_data;
};

struct ChunkRef {
  Transfer transfer;
  ChunkMeta meta;
  InstanceId arena = 0;  // the sender's own arena
  std::uint64_t offset = 0;
};

// The receiver of a ChunkRef needs it no more: the sender of that ChunkRef may reuse the slots.
struct Unlink {
  Transfer transfer;
  Sequence chunk_ref = 0;  // its sequence, as numbered by the one that gets this message
};

struct StreamEnd {
  Transfer transfer;
  DataId id;
  ChunkIndex num_chunks = 0;
};

struct Ack {
  Sequence sequence = 0;
  Errc code = Errc::kOk;
  Text text;
  std::uint64_t consumed = 0;  // as in Credit
  std::uint32_t count = 1;     // with kOk: of so many transfers, `sequence` and those that follow it
};

// No room: the sender keeps the data and sends again after Credit.resume.
struct Refuse {
  Sequence sequence = 0;
};

// The sender gave up on a transfer: if it still waits for room, forget it.
struct Withdraw {
  Sequence sequence = 0;
};

// A chunk that never comes as it was begun. What came of it, in parts, is worth nothing. Sent when nothing
// of it is under way any more. `lost`: whoever sent it is gone, and those who wait for it are told so;
// otherwise they wait for another attempt.
struct Retract {
  Transfer transfer;
  DataId id;
  ChunkIndex chunk = 0;
  bool lost = false;
};

using Message = std::variant<Hello, HelloAck, Goodbye, Ping, Credit, Send, Recv, Cancel, Allocate, Release,
                             MarkDone, CloseStream, Reply, Chunk, ChunkRef, Unlink, StreamEnd, Ack, Refuse,
                             Withdraw, Retract, Filled>;

// A new T in `message`, as `T t;` makes one: emplace<T>() would zero all of it first, and a Reply is 4 KiB.
template <class T>
T& renew(Message& message) {
  struct Fresh {
    operator T() const {  // NOLINT(google-explicit-constructor): std::variant converts it
      T fresh;
      return fresh;
    }
  };
  return message.emplace<T>(Fresh{});
}

// The request that a client's message wants answered; nothing for the other kinds.
inline std::optional<RequestId> request_of(const Message& message) {
  return std::visit(
      [](const auto& m) -> std::optional<RequestId> {
        if constexpr (requires { m.request; } && !std::is_same_v<std::remove_cvref_t<decltype(m)>, Reply>) {
          return m.request;
        }
        return std::nullopt;
      },
      message);
}

// The transfer that a peer's message is; nothing for the other kinds.
inline std::optional<Transfer> transfer_of(const Message& message) {
  return std::visit(
      [](const auto& m) -> std::optional<Transfer> {
        if constexpr (requires { m.transfer; }) return m.transfer;
        return std::nullopt;
      },
      message);
}

}  // namespace sidecar
