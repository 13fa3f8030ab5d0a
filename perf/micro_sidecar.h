// An engine with one client and one peer or more that cost nothing: no transport, no clock, no other process.
// What is left is the logic.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#include "core/check.h"
#include "core/engine.h"
#include "perf/micro_ids.h"

namespace sidecar::perf {

inline constexpr std::uint32_t kObjectBytes = 64;
inline constexpr std::size_t kArenaBytes = std::size_t{1} << 30;  // only what is used of it becomes memory
inline constexpr Rank kPeer = 1;
inline constexpr LinkId kClientLink{0, 1}, kPeerIn{1, 1};

// The world as an engine sees it: everybody may come, nothing takes time, what is sent is looked at and
// dropped.
class World final : public Transport, public Directory, public Host {
 public:
  LinkId connect(const ConnectOptions&, const Hello&) override { return connecting; }
  void send(LinkId, const Message& message, ConstBytes, bool, Token) override {
    if (const auto* reply = std::get_if<Reply>(&message)) {
      replies += reply->code == Errc::kOk ? 1 : 0;
    } else if (const auto* ack = std::get_if<Ack>(&message)) {
      acks += ack->code == Errc::kOk ? 1 : 0;
    } else if (const auto* chunk = std::get_if<Chunk>(&message)) {
      sequence = chunk->transfer.sequence;
    }
  }
  void receive(const Incoming&, Bytes, Token) override { CHECK(false); }
  void after_arrived(LinkId, Token) override { CHECK(false); }
  void discard(const Incoming&) override { CHECK(false); }
  void close(LinkId) override {}
  LinkFacts facts(LinkId) const override { return {}; }
  bool knows(Rank) const override { return true; }
  void resolve(Rank) override {}
  Status redeem(const Hello&) override { return {}; }
  TimeNs now() const override { return time; }
  Result<MappedArena> map_arena(const ArenaInfo&) override { return fail(Errc::kIo, "no arenas here"); }
  void unmap_arena(InstanceId) override {}
  bool is_mapped_through(InstanceId) override { return false; }
  bool watch_process(std::int64_t, Token) override { return false; }
  void unwatch_process(Token) override {}

  TimeNs time = kSecond;
  std::uint64_t replies = 0, acks = 0;
  Sequence sequence = 0;  // of the chunk that was sent last
  LinkId connecting;      // what the next connection will be
};

class Arena {
 public:
  Arena() {
    void* const at = ::mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    bytes = {static_cast<std::byte*>(at), kArenaBytes};
  }
  ~Arena() { ::munmap(bytes.data(), bytes.size()); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  Bytes bytes;
};

// A sidecar with one client and the peers that connect() has connected both ways; kPeer's way to us is there
// from the start.
class MicroSidecar {
 public:
  MicroSidecar() : engine_(options(), world, world, world) {
    CHECK(engine_.register_client({.instance = 2, .group = {}}).has_value());
    Hello hello;
    hello.instance = 2;
    CHECK(engine_.on_hello(kClientLink, hello).has_value());
    hear_from(kPeer);
    ChunkMeta meta;
    meta.num_chunks = 1;
    meta.kind = ChunkKind::kObject;
    meta.bytes = kObjectBytes;
    auto& in = renew<Chunk>(arrives_);
    in.meta = meta;
    in.is_inline = true;
    in.inline_bytes = kObjectBytes;
    std::memset(in.inline_data.data(), 1, kObjectBytes);
    auto& out = renew<Send>(sends_);
    out.meta = meta;
    out.inline_bytes = kObjectBytes;
    std::memset(out.inline_data.data(), 1, kObjectBytes);
  }

  void arrive(std::uint64_t number) {
    auto& chunk = std::get<Chunk>(arrives_);
    chunk.transfer = {++arrived_, arrived_};  // all before it are settled
    chunk.meta.id = id_of(number);
    engine_.on_message(kPeerIn, arrives_, {});
  }
  void recv(std::uint64_t number) { engine_.on_message(kClientLink, Recv{++request_, id_of(number)}, {}); }
  void mark_done(std::uint64_t number) {
    auto& done = renew<MarkDone>(says_);
    done.request = ++request_;
    done.id = id_of(number);
    engine_.on_message(kClientLink, says_, {});
  }
  void send(std::uint64_t number, Rank to = kPeer) {
    auto& message = std::get<Send>(sends_);
    message.destinations.groups = 0;
    const std::array<Rank, 1> group{to};
    message.destinations.add_group(group);
    message.request = ++request_;
    message.meta.id = id_of(number);
    engine_.on_message(kClientLink, sends_, {});
  }
  void acknowledge(Rank from = kPeer) {
    renew<Ack>(says_).sequence = world.sequence;
    engine_.on_message(link_to(from), says_, {});
  }
  // The first send asks for the peer's address; from then on there is a link.
  void connect(Rank rank = kPeer) {
    if (rank != kPeer) hear_from(rank);
    const std::uint64_t replies = world.replies;
    send(~std::uint64_t{0} - static_cast<std::uint64_t>(rank), rank);
    PeerRecord record;
    record.rank = rank;
    record.instance = instance_of(rank);
    record.net_address.assign("peer");
    world.connecting = link_to(rank);
    engine_.on_resolved(rank, record);
    HelloAck answer;
    answer.rank = rank;
    answer.instance = instance_of(rank);
    engine_.on_link_up(link_to(rank), answer);
    acknowledge(rank);
    CHECK(world.replies == replies + 1);
  }
  // As after each round of events on a loop.
  void step(TimeNs later = 10'000) {
    world.time += later;
    engine_.step();
  }

  World world;

 private:
  // 0 and 1 are kClientLink and kPeerIn.
  static LinkId link_from(Rank rank) { return {static_cast<std::uint32_t>(2 * rank - 1), 1}; }
  static LinkId link_to(Rank rank) { return {static_cast<std::uint32_t>(2 * rank), 1}; }
  static InstanceId instance_of(Rank rank) { return static_cast<InstanceId>(rank) + 2; }
  void hear_from(Rank rank) {
    Hello hello;
    hello.role = Role::kPeer;
    hello.rank = rank;
    hello.instance = instance_of(rank);
    CHECK(engine_.on_hello(link_from(rank), hello).has_value());
  }
  EngineOptions options() {
    EngineOptions options;
    options.node.assign("here");
    options.arena = arena_.bytes;
    options.client_calls_max = options.client_ids_max = 2'000'000;
    return options;
  }
  Arena arena_;
  Engine engine_;
  Message arrives_, sends_, says_;  // a Message is 4 KiB: filled again and again, as the transport does it
  Sequence arrived_ = 0;
  RequestId request_ = 0;
};

}  // namespace sidecar::perf
