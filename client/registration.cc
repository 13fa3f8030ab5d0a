#include "client/registration.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "client/registration_grpc.h"
#include "control/sidecar.grpc.pb.h"

namespace sidecar::client_internal {
namespace {

Errc code_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE: return Errc::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND: return Errc::kNotFound;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED: return Errc::kUnauthorized;
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN: return Errc::kInternal;
    default: return Errc::kUnavailable;
  }
}

ArenaInfo arena_of(const v1::Arena& arena) {
  ArenaInfo info;
  info.instance = arena.instance();
  info.nonce = arena.nonce();
  info.bytes = arena.bytes();
  if (arena.path().size() <= kNameBytesMax) info.path = Name(arena.path());
  return info;
}

template <class Map>
std::vector<std::pair<std::string, std::uint64_t>> sorted(const Map& map) {
  std::vector<std::pair<std::string, std::uint64_t>> rows(map.begin(), map.end());
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

// A sidecar that is only just starting is asked again soon. One that is slow gets its time: gRPC gives up an
// attempt to connect after what it calls the minimum back-off. Proxies are for the world outside.
std::shared_ptr<grpc::Channel> channel_to(const Contact& sidecar) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto credentials =
      sidecar.credentials != nullptr ? sidecar.credentials : grpc::InsecureChannelCredentials();
  return grpc::CreateCustomChannel(sidecar.address, credentials, arguments);
}

void set_deadline(grpc::ClientContext& context, std::chrono::nanoseconds deadline) {
  // Far enough to mean "for ever", near enough not to overflow a clock.
  constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::microseconds>(std::min(deadline, kLongest)));
}

Failure failure_of(const grpc::Status& status, const Contact& sidecar, Rank rank) {
  const bool silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  const bool refused = status.error_code() == grpc::StatusCode::UNAVAILABLE;
  if (silent || refused) {
    const bool tls = sidecar.credentials != nullptr;
    return {Errc::kUnavailable, rank,
            "no sidecar answers at " + sidecar.address + "; is it running, is this its gRPC port, and " +
                (tls ? "does it use TLS, with certificates that fit ours?"
                     : "does it use TLS, which we do not?") +
                " (" + status.error_message() + ")"};
  }
  return {code_of(status.error_code()), rank, status.error_message()};
}

void Interruption::interrupt() {
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  if (cancel_) cancel_();
}

bool Interruption::begin(std::function<void()> cancel) {
  const std::lock_guard lock(mutex_);
  if (interrupted_) return false;
  cancel_ = std::move(cancel);
  return true;
}

void Interruption::end() {
  const std::lock_guard lock(mutex_);
  cancel_ = nullptr;
}

namespace {

// A call that waited for a connection is not told why there is none; one that does not wait is, and has no
// other use here.
std::string why_not_connected(const std::shared_ptr<grpc::Channel>& channel) {
  if (channel->GetState(false) != GRPC_CHANNEL_TRANSIENT_FAILURE) return "";
  grpc::ClientContext context;
  set_deadline(context, std::chrono::milliseconds(100));
  v1::StatsResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel)->Stats(&context, {}, &response);
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ? ": " + status.error_message() : "";
}

// One call, which may be interrupted.
template <class Call>
grpc::Status interruptible(grpc::ClientContext& context, Interruption* interruption, Call call) {
  if (interruption == nullptr) return call();
  if (!interruption->begin([&context] { context.TryCancel(); }))
    return {grpc::StatusCode::CANCELLED, "the client is closing"};
  grpc::Status status = call();
  interruption->end();
  return status;
}

}  // namespace

Expected<Registered> register_client(const RegisterInput& input, std::chrono::nanoseconds deadline,
                                     Interruption* interruption) {
  v1::RegisterRequest request;
  request.set_client_instance(input.instance);
  request.set_rank(input.rank);
  for (const Rank rank : input.group) request.add_group(rank);
  request.set_send_unit_bytes(input.send_unit_bytes);
  request.set_recv_unit_bytes(input.recv_unit_bytes);
  request.set_node(input.node);
  request.set_pid(input.pid != 0 ? input.pid : ::getpid());
  request.set_protocol_version_min(kProtocolVersionMin);
  request.set_protocol_version_max(kProtocolVersionMax);
  request.set_ucx_version(input.ucx_version);
  request.set_renews(input.renews);
  request.set_ticket(input.ticket);

  Contact sidecar = input.sidecar;
  for (int hop = 0; hop < 2; ++hop) {
    grpc::ClientContext context;
    set_deadline(context, deadline);
    context.set_wait_for_ready(true);
    v1::RegisterResponse response;
    const auto channel = channel_to(sidecar);
    grpc::Status status = interruptible(context, interruption, [&] {
      return v1::Registration::NewStub(channel)->Register(&context, request, &response);
    });
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
      status = {status.error_code(), status.error_message() + why_not_connected(channel)};
    if (!status.ok()) return failure_of(status, sidecar, input.rank);
    if (!response.leader_grpc_address().empty()) {  // the group's data is held by another sidecar
      sidecar.address = response.leader_grpc_address();
      continue;
    }
    Registered registered;
    registered.where = sidecar;
    registered.leader = response.leader();
    registered.sidecar = response.sidecar_instance();
    registered.ticket = response.ticket();
    registered.node = response.node();
    registered.arena = arena_of(response.arena());
    registered.net_address = response.net_address();
    registered.local_address = response.local_address();
    for (const std::string& gpu : response.gpus()) {
      CudaUuid uuid;
      if (gpu.size() != uuid.size()) continue;
      std::memcpy(uuid.data(), gpu.data(), uuid.size());
      registered.gpus.push_back(uuid);
    }
    registered.lease = std::chrono::milliseconds(response.lease_ms());
    return registered;
  }
  return Failure{Errc::kProtocol, input.rank, "the group's leader sends us on to yet another sidecar"};
}

Expected<void> renew_client(const Registered& registered, InstanceId instance,
                            const std::vector<InstanceId>& let_go, std::chrono::nanoseconds deadline,
                            Interruption* interruption) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::RenewRequest request;
  request.set_client_instance(instance);
  request.set_ticket(registered.ticket);
  for (const InstanceId before : let_go) request.add_let_go(before);
  v1::RenewResponse response;
  const grpc::Status status = interruptible(context, interruption, [&] {
    return v1::Registration::NewStub(channel_to(registered.where))->Renew(&context, request, &response);
  });
  if (!status.ok()) return failure_of(status, registered.where, registered.leader);
  return {};
}

void unregister_client(const Registered& registered, InstanceId instance, Interruption* interruption) {
  grpc::ClientContext context;
  set_deadline(context, std::chrono::seconds(1));
  v1::UnregisterRequest request;
  request.set_client_instance(instance);
  request.set_ticket(registered.ticket);
  v1::UnregisterResponse response;
  // A sidecar that cannot be told any more has forgotten us, or will when it sees the connection end.
  static_cast<void>(interruptible(context, interruption, [&] {
    return v1::Registration::NewStub(channel_to(registered.where))->Unregister(&context, request, &response);
  }));
}

Expected<std::string> default_address(Rank leader) {
  constexpr Rank kBase = 10000;
  constexpr Rank kLast = 65535 - kBase;
  if (leader < 0 || leader > kLast) {
    return Failure{Errc::kInvalidArgument, leader,
                   "rank: only 0 to " + std::to_string(kLast) + " have a default port; name the address"};
  }
  return "127.0.0.1:" + std::to_string(kBase + leader);
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

Expected<DrainResult> ask_drain(const Contact& sidecar, std::chrono::nanoseconds timeout) {
  grpc::ClientContext context;
  set_deadline(context, timeout + std::chrono::seconds(5));
  v1::DrainRequest request;
  // 0 would be the sidecar's own choice.
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  request.set_timeout_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(milliseconds, 1)));
  v1::DrainResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(sidecar))->Drain(&context, request, &response);
  if (!status.ok()) return failure_of(status, sidecar, kNoRank);
  return DrainResult{response.finished(), response.outgoing_left(), response.chunks_left()};
}

Expected<SidecarStatus> ask_status(const Contact& sidecar, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::StatsResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(sidecar))->Stats(&context, {}, &response);
  if (!status.ok()) return failure_of(status, sidecar, kNoRank);
  const auto memory = [](const char* name, const v1::MemoryRegion& region) {
    return MemoryRow{name, region.bytes(), region.used_bytes(), region.runs(), region.failures()};
  };
  SidecarStatus out;
  out.rank = response.rank();
  out.instance = response.instance();
  out.node = response.node();
  out.draining = response.draining();
  out.uptime_seconds = response.uptime_seconds();
  out.version = response.version();
  out.ucx_version = response.ucx_version();
  out.arena_kind = response.arena_kind();
  out.arena_path = response.arena().path();
  out.arena_bytes = response.arena().bytes();
  out.memory_pressure = response.memory_pressure();
  out.memory = {memory("send", response.send()), memory("receive", response.receive()),
                memory("reserve", response.reserve())};
  out.now = {{"chunks", response.chunks()},
             {"views", response.views()},
             {"outgoing", response.outgoing()},
             {"waiting_sends", response.waiting_sends()},
             {"parked_chunks", response.parked_chunks()},
             {"waiting_recvs", response.waiting_recvs()},
             {"clients", response.clients()},
             {"peers_connected", response.peers_connected()}};
  out.counters = sorted(response.counters());
  return out;
}

Expected<void> restart_longest_step(const Contact& sidecar, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::StatsRequest request;
  request.set_restart_longest_step(true);
  v1::StatsResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(sidecar))->Stats(&context, request, &response);
  if (!status.ok()) return failure_of(status, sidecar, kNoRank);
  return {};
}

Expected<std::vector<ChunkLine>> ask_chunks(const Contact& sidecar, std::chrono::nanoseconds deadline) {
  const auto stub = v1::Admin::NewStub(channel_to(sidecar));
  std::vector<ChunkLine> lines;
  v1::ChunksRequest request;
  do {
    grpc::ClientContext context;
    set_deadline(context, deadline);
    v1::ChunksResponse response;
    const grpc::Status status = stub->Chunks(&context, request, &response);
    if (!status.ok()) return failure_of(status, sidecar, kNoRank);
    for (const v1::ChunkRow& row : response.chunks()) {
      lines.push_back({row.data_id(), row.chunk(), row.num_chunks(), row.bytes(), row.state(), row.producer(),
                       row.holders(), row.waiters()});
    }
    request.set_page_token(response.next_page_token());
  } while (request.page_token() != 0);
  return lines;
}

Expected<std::vector<PeerLine>> ask_peers(const Contact& sidecar, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::PeersResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(sidecar))->Peers(&context, {}, &response);
  if (!status.ok()) return failure_of(status, sidecar, kNoRank);
  std::vector<PeerLine> lines;
  for (const v1::PeerRow& row : response.peers()) {
    lines.push_back({row.rank(), row.instance(), row.state(), row.path(), row.transports(),
                     row.grpc_address(), row.queued(), row.unacknowledged(), row.lent(), row.bytes_sent(),
                     row.bytes_mapped()});
  }
  return lines;
}

}  // namespace sidecar::client_internal
