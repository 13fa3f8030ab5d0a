// Settings of a client.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>

#include "sidecar/data.h"

namespace sidecar {
inline namespace api {

// Who makes progress.
enum class Progress : std::uint8_t {
  kThread,  // a thread of the client's own; any number of the caller's threads may share the client
  kCaller,  // the caller, by waiting and by Client::poll(); everything from one thread. The fastest way to
            // one answer
};

// What the thread that makes progress does while there is nothing to do.
enum class Polling : std::uint8_t {
  kEvent,     // sleeps at once
  kAdaptive,  // looks again for a short while after traffic, then sleeps; like kEvent where there are two
              // cores at most
  kBusy,      // never sleeps: one core for the lowest latency
};

// PEM files. All empty: no TLS. They are read again when they have changed, for connections made later.
struct TlsFiles {
  std::string ca{};    // who signs the sidecars' certificates; empty: whom the system trusts
  std::string cert{};  // this client's own, for sidecars that ask for one (--tls-ca)
  std::string key{};   // its private key, without a password
};

struct ClientOptions {
  Rank rank = kNoRank;  // the caller's sidecar; kNoRank: the group's smallest rank, or 0 without a group
  Group group{};        // all ranks of the caller's group; empty: just `rank`
  // How a group of several sends a tensor. All members make the same calls, and all of them must set the same
  // here. true: every member holds the whole tensor, its call copies its slice, and all calls end together.
  // false: the call of the member with the smallest rank copies for all; the others' are acknowledged at
  // once, which says nothing of delivery. Objects, empty tensors and Buffers are always sent the second way.
  bool concurrent_copy = false;
  std::string address{};  // host:port of the sidecar's gRPC server; empty: 127.0.0.1:(10000 + leader's rank)
  TlsFiles tls{};
  std::uint64_t send_unit_bytes =
      0;  // hint: bytes of one unit (hidden size * dtype size) of what this client sends
  std::uint64_t recv_unit_bytes = 0;  // and of what it receives; 0: no idea
  std::string node{};                 // may only veto sharing memory; empty: the machine's host name
  Progress progress = Progress::kThread;
  Polling polling = Polling::kAdaptive;
  std::chrono::nanoseconds deadline =
      std::chrono::seconds(600);  // of each call that names none; kForever must be asked for
  std::chrono::nanoseconds connect_deadline =
      std::chrono::seconds(30);  // a sidecar that is just starting is waited for
  // How long after a call's deadline the client waits for the sidecar's own verdict. Only a sidecar that
  // hangs needs it.
  std::chrono::nanoseconds grace = std::chrono::seconds(2);
  // When the sidecar is lost, or has ended this client's registration because nothing was heard of the client
  // for too long: true: the client registers and connects again by itself, for as long as that takes. Calls
  // under way end with kPeerLost; calls made meanwhile wait within their deadlines (with a deadline of 0:
  // kUnavailable). false: they all fail, and the way on is another Client.
  bool reconnect = true;
  bool map_arenas = true;  // false: never share memory, have all bytes sent (for tests and odd containers)
  bool writable_views = false;  // see View::writable_data
  // Ends connect()'s wait for a sidecar that does not answer, with kCancelled: for a Ctrl-C meanwhile.
  std::stop_token give_up{};

  // Warnings go to standard error; SIDECAR_LOG (debug, info, warn, error, off) sets how much.

  // The defaults with SIDECAR_RANK, SIDECAR_GROUP (ranks with commas), SIDECAR_CONCURRENT_COPY (0, 1),
  // SIDECAR_ADDRESS, SIDECAR_TLS_CA, SIDECAR_TLS_CERT, SIDECAR_TLS_KEY, SIDECAR_NODE, SIDECAR_POLL (event,
  // adaptive, busy), SIDECAR_SEND_UNIT_BYTES and SIDECAR_RECV_UNIT_BYTES applied. Fails naming the variable.
  static Expected<ClientOptions> from_env();
};

}  // namespace api
}  // namespace sidecar
