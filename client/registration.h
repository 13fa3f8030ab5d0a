// What this client asks of the control plane. The only file of the client that knows gRPC; everything here
// blocks, for a bounded time, and belongs on no loop.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda_api.h"
#include "sidecar/failure.h"
#include "sidecar/options.h"

namespace grpc {
class ChannelCredentials;
}

namespace sidecar::client_internal {

// Null: without TLS. Fails naming the setting and the file. With TLS it has a thread, which looks at the
// files.
Expected<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const TlsFiles& tls);

// A sidecar's gRPC server, and how to speak to it. An address alone: without TLS.
struct Contact {
  Contact() = default;
  Contact(std::string host_port, std::shared_ptr<grpc::ChannelCredentials> how = nullptr)
      : address(std::move(host_port)), credentials(std::move(how)) {}
  std::string address;
  std::shared_ptr<grpc::ChannelCredentials> credentials;
};

struct RegisterInput {
  Contact sidecar;
  InstanceId instance = 0;
  Rank rank = kNoRank;
  std::vector<Rank> group;
  std::uint64_t send_unit_bytes = 0;
  std::uint64_t recv_unit_bytes = 0;
  std::string node;
  std::string ucx_version;
  std::string ticket;    // the one it has, when it registers again as the same instance
  std::int64_t pid = 0;  // of the process that will connect; 0: this one
  bool renews = true;    // and will call renew_client()
};

// What complete options say of it; instance and UCX's version are left to the caller.
Expected<RegisterInput> register_input(const ClientOptions& options);

struct Registered {
  Contact where;  // it was registered: the leader
  Rank leader = kNoRank;
  InstanceId sidecar = 0;
  std::string ticket;
  std::string node;
  ArenaInfo arena;
  std::string net_address;
  std::string local_address;           // empty: no shared memory
  std::vector<CudaUuid> gpus;          // whose memory the sidecar copies by itself
  std::chrono::milliseconds lease{0};  // 0: needs no renewal
};

// Ends the calls below early, which another thread is in or about to make. Thread-safe.
class Interruption {
 public:
  // For good.
  void interrupt();

  // For the calls. Until end(), interrupt() calls `cancel`; false: it came already.
  bool begin(std::function<void()> cancel);
  void end();

 private:
  std::mutex mutex_;
  bool interrupted_ = false;
  std::function<void()> cancel_;
};

// Waits for a sidecar that is not up yet.
Expected<Registered> register_client(const RegisterInput& input, std::chrono::nanoseconds deadline,
                                     Interruption* interruption = nullptr);
// kNotFound, kUnauthorized: the registration has ended.
// `let_go`: see the proto.
Expected<void> renew_client(const Registered& registered, InstanceId instance,
                            const std::vector<InstanceId>& let_go, std::chrono::nanoseconds deadline,
                            Interruption* interruption);
void unregister_client(const Registered& registered, InstanceId instance,
                       Interruption* interruption = nullptr);

// Where a rank's gRPC server is unless somebody says otherwise. Fails for ranks whose port would be none.
Expected<std::string> default_address(Rank leader);

// The node's name when none is configured: the machine's host name.
std::string host_name();

// --- for operators
// ---------------------------------------------------------------------------------------------------

struct MemoryRow {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t runs = 0;      // chunks that lie there
  std::uint64_t failures = 0;  // times that there was no room
};

struct SidecarStatus {
  Rank rank = kNoRank;
  std::uint64_t instance = 0;
  std::string node;
  bool draining = false;
  double uptime_seconds = 0;
  std::string version;
  std::string ucx_version;
  std::string arena_kind;
  std::string arena_path;
  std::uint64_t arena_bytes = 0;
  bool memory_pressure = false;
  std::vector<MemoryRow> memory;
  std::vector<std::pair<std::string, std::uint64_t>> now;       // what is held or under way
  std::vector<std::pair<std::string, std::uint64_t>> counters;  // since the start
};

struct ChunkLine {
  std::string id;
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 0;  // 0: not known yet
  std::uint64_t bytes = 0;
  std::string state;
  Rank producer = kNoRank;
  std::uint32_t holders = 0;
  std::uint32_t waiters = 0;
};

struct PeerLine {
  Rank rank = kNoRank;
  std::uint64_t instance = 0;
  std::string state;
  std::string path;        // "shared memory" or "network"
  std::string transports;  // UCX's names
  std::string address;
  std::uint64_t queued = 0;
  std::uint64_t unacknowledged = 0;
  std::uint64_t lent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_mapped = 0;
};

struct MemberLine {
  Rank rank = kNoRank;
  std::uint64_t instance = 0;  // 0: not known
  std::string node;            // empty: not known
  std::string address;
  bool self = false;  // the sidecar that was asked
};

// `change`: "present" when the watch began, "joined", "replaced", "gone".
using OnMember = std::function<void(const std::string& change, const MemberLine& member)>;

struct DrainResult {
  bool finished = false;
  std::uint64_t outgoing_left = 0;
  std::uint64_t chunks_left = 0;
};

// Waits until the sidecar has drained, or `timeout` is over; it ends right after the answer.
Expected<DrainResult> ask_drain(const Contact& sidecar, std::chrono::nanoseconds timeout);
Expected<SidecarStatus> ask_status(const Contact& sidecar, std::chrono::nanoseconds deadline);
// What its counters say of the longest step of its loop begins anew.
Expected<void> restart_longest_step(const Contact& sidecar, std::chrono::nanoseconds deadline);
Expected<std::vector<ChunkLine>> ask_chunks(const Contact& sidecar, std::chrono::nanoseconds deadline);
Expected<std::vector<PeerLine>> ask_peers(const Contact& sidecar, std::chrono::nanoseconds deadline);
Expected<std::vector<MemberLine>> ask_members(const Contact& sidecar, std::chrono::nanoseconds deadline);
// Tells who is there and then every change, until the sidecar or the connection ends: how it did.
Failure watch_members(const Contact& sidecar, const OnMember& on_member);

}  // namespace sidecar::client_internal
