// The engine's Transport over UCX active messages. Speaks through up to two planes on one loop: `local`
// (shared memory) and `net`. What it does beyond core/ports.h:
//
// - Messages that carry no payload, or a small eager one, go on a link's control endpoint, in order; the
// others go on its
//   bulk endpoint. Before the second endpoint has been accepted everything goes on the first.
// - A link that was closed right after Goodbye lives on for up to 100 ms, unseen, so that Goodbye arrives
// before the
//   disconnection. What else was queued on it completes normally or with an error.
// - send() is for links that are up: from on_link_up, or from the return of a successful on_hello. Any other
// id gets its
//   completion with kUnavailable.
// - Addresses given to connect() are numeric: resolving a name would block the loop.
// - Destruction closes everything and tells the engine nothing more; payloads that it still holds are
// released.
//
// Where shared memory cannot be had (no loopback device, a sealed container) a process that asks for both
// planes goes on with the network alone, says so in the log and has no local_address().
//
// Shared memory works between processes of one user. A local connection from another user is refused with
// kUnavailable when the kernel's process-to-process copy is in use (it would break at the first large
// transfer); that client uses the network plane.
//
// Threads: the loop's, also for construction and destruction, neither from inside a callback of the loop.
// Opening reads and for a moment changes the environment (am_protocol/settings.h).
#pragma once

#include <memory>
#include <string>

#include "core/loop.h"
#include "core/ports.h"

namespace sidecar {

struct UcxOptions {
  bool local = true;         // open the shared-memory plane
  bool net = true;           // open the network plane
  std::string local_listen;  // host:port, port 0: any; empty: do not listen
  std::string net_listen;
  // The numeric address that others are told for net_listen; see am_protocol/devices.h. Empty: UCX chooses
  // among all network devices.
  std::string net_reached_at;
  bool cma = true;                     // let the kernel copy between processes if a probe finds that it may
  TimeNs hello_timeout = 5 * kSecond;  // for a connection and its Hello, either way
  // The process is nobody else's: the settings stay in its environment, so that a plane that is opened later,
  // while other threads run, changes nothing there.
  bool keep_environment = false;
  std::size_t strangers_max = 1024;  // connections that have not been accepted; more are rejected
};

struct TransportCounters {
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t eager_bytes_sent = 0;
  std::uint64_t eager_bytes_received = 0;
  std::uint64_t rendezvous_sent = 0;  // transfers
  std::uint64_t rendezvous_received = 0;
  std::uint64_t rendezvous_bytes_sent = 0;
  std::uint64_t rendezvous_bytes_received = 0;
  std::uint64_t payloads_discarded = 0;
  std::uint64_t send_failures = 0;
  std::uint64_t sends_abandoned = 0;  // on links that have ended, and UCX did not complete them
  std::uint64_t protocol_errors = 0;  // headers that do not decode, messages out of place, unknown ids
  std::uint64_t unknown_ids = 0;      // active messages with an id that is not ours
  std::uint64_t unknown_senders = 0;  // messages that name no endpoint: dropped
  std::uint64_t hellos_refused = 0;
  std::uint64_t hello_timeouts = 0;
  std::uint64_t connections_rejected = 0;  // too many had not introduced themselves yet
  std::uint64_t links_opened = 0;
  std::uint64_t links_closed = 0;
  std::uint64_t planes_replaced = 0;  // shared memory was stuck: a process was killed while it wrote to us
};

class UcxTransport : public Transport {
 public:
  // kInvalidArgument: an address. kIo: UCX cannot start, or cannot listen (the figure is the errno).
  // set_events() before the loop runs.
  static Result<std::unique_ptr<UcxTransport>> create(const UcxOptions& options, Loop& loop);
  static Result<std::unique_ptr<UcxTransport>> create(const UcxOptions& options, Loop& loop, Events& events);

  virtual void set_events(Events& events) = 0;
  // Opens the plane that was not asked for at first, to connect from; nothing happens when it is there. Not
  // from inside an event.
  virtual Status open_too(bool local) = 0;

  // Where this process listens, with the real port; empty: it does not.
  [[nodiscard]] virtual Name local_address() const = 0;
  [[nodiscard]] virtual Name net_address() const = 0;
  // One line a plane, for the log at start: the UCX settings in force and what the CMA probe said.
  [[nodiscard]] virtual std::string describe() const = 0;
  [[nodiscard]] virtual const TransportCounters& counters() const = 0;
};

// Of the library in use: "1.13.1". Processes with different versions do not interoperate reliably.
std::string ucx_version();

}  // namespace sidecar
