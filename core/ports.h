// What core asks of the world (transport, directory, host) and what the world tells core (Events). Pure
// virtual, so that many engines run in one thread of a test over a fake network and a fake clock.
//
// Threads: everything here is called on the loop's thread only.
// Re-entrancy: no call into a port calls back into Events before it has returned; completions come in a later
// step.
#pragma once

#include "core/messages.h"

namespace sidecar {

// A connection to a client or to a peer: one or two transport endpoints with one fate.
using LinkId = Handle;

// Given with a request, returned with its completion. 0: no completion wanted.
using Token = std::uint64_t;

// A message's payload: `bytes` long, not yet received. Eager: the bytes are here, held by the transport.
// Rendezvous: they are still at the sender, which is the back-pressure. Every payload is ended by exactly one
// Transport::receive or discard.
struct Incoming {
  Handle id;
  std::uint64_t bytes = 0;
  bool rendezvous = false;
  [[nodiscard]] bool present() const { return id.valid(); }
};

// Where and how to reach a sidecar, and a single-use ticket to show it.
struct PeerRecord {
  Rank rank = kNoRank;
  InstanceId instance = 0;
  Name node;
  Name net_address;    // host:port of the network listener
  Name local_address;  // host:port of the shared-memory listener; empty: none
  ArenaInfo arena;
  Ticket ticket;
};

struct ConnectOptions {
  bool local = false;         // through the shared-memory context
  bool two_endpoints = true;  // control and bulk (peers); clients use one
  Name address;
};

// What the transport knows of a link, for `peers`: "sysv", "tcp", ...
struct LinkFacts {
  bool local = false;
  Name transports;
};

class Transport {
 public:
  virtual ~Transport() = default;

  // Starts a connection and the Hello exchange. Ends with exactly one on_link_up or on_link_down for the
  // returned id.
  virtual LinkId connect(const ConnectOptions& options, const Hello& hello) = 0;

  // Queues a message; it is encoded before the call returns. `payload` stays valid until on_sent(token),
  // which comes exactly once also when the link is gone. `rendezvous`: the receiver decides when the bytes
  // move; else they go at once (at most kEagerBytesMax). Messages on one link without payload are not
  // reordered.
  virtual void send(LinkId link, const Message& message, ConstBytes payload, bool rendezvous,
                    Token token) = 0;

  // Moves the payload into `into` (exactly incoming.bytes long), then on_received(token). kPeerLost: the
  // payload does not count, because its sender had closed the link when all of it was there.
  virtual void receive(const Incoming& incoming, Bytes into, Token token) = 0;

  // on_received(token) once everything is told that had arrived on that link before this call, even if the
  // link ends meanwhile; kPeerLost as above. For bytes that came by another way than the transport: what was
  // said before they came, such as that nobody wants them any more, is heard first.
  virtual void after_arrived(LinkId link, Token token) = 0;

  // The bytes are not wanted.
  virtual void discard(const Incoming& incoming) = 0;

  // Closes at once; what was queued completes with an error. No on_link_down follows. A stale id is ignored.
  virtual void close(LinkId link) = 0;

  virtual LinkFacts facts(LinkId link) const = 0;
};

class Directory {
 public:
  virtual ~Directory() = default;
  // Whether this rank can exist at all.
  virtual bool knows(Rank rank) const = 0;
  // Asks that rank's sidecar for its record and a ticket; Events::on_resolved follows, always.
  virtual void resolve(Rank rank) = 0;
  // Takes a client's or peer's ticket if it is valid for this Hello (peers' are single-use).
  virtual Status redeem(const Hello& hello) = 0;
};

struct MappedArena {
  const std::byte* data = nullptr;
  std::uint64_t bytes = 0;
};

class Host {
 public:
  virtual ~Host() = default;
  virtual TimeNs now() const = 0;
  // Maps another sidecar's arena read-only after proving its nonce. Idempotent per instance.
  virtual Result<MappedArena> map_arena(const ArenaInfo& arena) = 0;
  virtual void unmap_arena(InstanceId instance) = 0;
  // Whether a process maps our arena because that other sidecar told it where to look.
  virtual bool is_mapped_through(InstanceId sidecar) = 0;
  // on_process_gone(token) once that process has ended; false: it cannot be watched from here.
  virtual bool watch_process(std::int64_t pid, Token token) = 0;
  // No on_process_gone(token) follows. It is being watched.
  virtual void unwatch_process(Token token) = 0;
};

// The GPUs of this host. A sidecar without any has none of this.
class Device {
 public:
  virtual ~Device() = default;
  // Starts to copy into.size() bytes of another process's GPU memory into our own; DeviceEvents::on_copied
  // tells.
  virtual void copy(const DeviceSource& source, Bytes into, Token token) = 0;
  // Nobody wants that copy any more: what has not begun does not begin. on_copied comes all the same, with an
  // error or, if it was too late, as if nothing had been said. An unknown token is ignored.
  virtual void cancel(Token token) = 0;
};

class DeviceEvents {
 public:
  virtual ~DeviceEvents() = default;
  // The first `bytes` of that copy are in place: growing counts, all of them the last time. Or once an error,
  // after which nothing is written any more.
  virtual void on_copied(Token token, std::uint64_t bytes, const Status& status) = 0;
};

class Events {
 public:
  virtual ~Events() = default;

  // A connecting side has introduced itself. Success accepts the link, which is up when this returns; failure
  // refuses it with that text and closes it. For the second endpoint of a link it is not called.
  virtual Result<HelloAck> on_hello(LinkId link, const Hello& hello) = 0;
  // Our own connection was accepted.
  virtual void on_link_up(LinkId link, const HelloAck& answer) = 0;
  // It failed, broke or was closed by the other side. `reset`: the other side's socket was closed by its
  // kernel or by itself. No message comes after this; completions of its sends and receives still do.
  virtual void on_link_down(LinkId link, const Error& why) = 0;
  // `incoming` is present when the message carries a payload. The handler owns it from here.
  virtual void on_message(LinkId link, const Message& message, const Incoming& incoming) = 0;
  // One that breaks the protocol came on a link that is up. The transport has counted it, and closes the link
  // of one who goes on. `rest` is what could be read: the request or transfer to be answered (request_of,
  // transfer_of), or Ping{} when not even that. `incoming` as above.
  virtual void on_bad_message(LinkId link, const Message& rest, const Incoming& incoming,
                              const Error& why) = 0;
  virtual void on_sent(Token token, const Status& status) = 0;
  virtual void on_received(Token token, const Status& status) = 0;
  virtual void on_resolved(Rank rank, const Result<PeerRecord>& record) = 0;
  virtual void on_process_gone(Token token) = 0;
};

}  // namespace sidecar
