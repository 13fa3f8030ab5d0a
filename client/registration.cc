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
std::shared_ptr<grpc::Channel> channel_to(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void set_deadline(grpc::ClientContext& context, std::chrono::nanoseconds deadline) {
  // Far enough to mean "for ever", near enough not to overflow a clock.
  constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24 * 365);
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::microseconds>(std::min(deadline, kLongest)));
}

Failure failure_of(const grpc::Status& status, const std::string& address, Rank rank) {
  const bool silent = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  const bool refused = status.error_code() == grpc::StatusCode::UNAVAILABLE;
  if (silent || refused) {
    return {Errc::kUnavailable, rank,
            "no sidecar answers at " + address + "; is it running, and is this its gRPC port? (" +
                status.error_message() + ")"};
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
  request.set_pid(::getpid());
  request.set_protocol_version_min(kProtocolVersionMin);
  request.set_protocol_version_max(kProtocolVersionMax);
  request.set_ucx_version(input.ucx_version);
  request.set_renews(true);
  request.set_ticket(input.ticket);

  std::string address = input.address;
  for (int hop = 0; hop < 2; ++hop) {
    grpc::ClientContext context;
    set_deadline(context, deadline);
    context.set_wait_for_ready(true);
    v1::RegisterResponse response;
    const grpc::Status status = interruptible(context, interruption, [&] {
      return v1::Registration::NewStub(channel_to(address))->Register(&context, request, &response);
    });
    if (!status.ok()) return failure_of(status, address, input.rank);
    if (!response.leader_grpc_address().empty()) {  // the group's data is held by another sidecar
      address = response.leader_grpc_address();
      continue;
    }
    Registered registered;
    registered.address = address;
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
    return v1::Registration::NewStub(channel_to(registered.address))->Renew(&context, request, &response);
  });
  if (!status.ok()) return failure_of(status, registered.address, registered.leader);
  return {};
}

void unregister_client(const Registered& registered, InstanceId instance) {
  grpc::ClientContext context;
  set_deadline(context, std::chrono::seconds(1));
  v1::UnregisterRequest request;
  request.set_client_instance(instance);
  request.set_ticket(registered.ticket);
  v1::UnregisterResponse response;
  // A sidecar that cannot be told any more has forgotten us, or will when it sees the connection end.
  static_cast<void>(
      v1::Registration::NewStub(channel_to(registered.address))->Unregister(&context, request, &response));
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

Expected<DrainResult> ask_drain(const std::string& address, std::chrono::nanoseconds timeout) {
  grpc::ClientContext context;
  set_deadline(context, timeout + std::chrono::seconds(5));
  v1::DrainRequest request;
  // 0 would be the sidecar's own choice.
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
  request.set_timeout_ms(static_cast<std::uint64_t>(std::max<std::int64_t>(milliseconds, 1)));
  v1::DrainResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(address))->Drain(&context, request, &response);
  if (!status.ok()) return failure_of(status, address, kNoRank);
  return DrainResult{response.finished(), response.outgoing_left(), response.chunks_left()};
}

Expected<SidecarStatus> ask_status(const std::string& address, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::StatsResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(address))->Stats(&context, {}, &response);
  if (!status.ok()) return failure_of(status, address, kNoRank);
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

Expected<std::vector<ChunkLine>> ask_chunks(const std::string& address, std::chrono::nanoseconds deadline) {
  const auto stub = v1::Admin::NewStub(channel_to(address));
  std::vector<ChunkLine> lines;
  v1::ChunksRequest request;
  do {
    grpc::ClientContext context;
    set_deadline(context, deadline);
    v1::ChunksResponse response;
    const grpc::Status status = stub->Chunks(&context, request, &response);
    if (!status.ok()) return failure_of(status, address, kNoRank);
    for (const v1::ChunkRow& row : response.chunks()) {
      lines.push_back({row.data_id(), row.chunk(), row.num_chunks(), row.bytes(), row.state(), row.producer(),
                       row.holders(), row.waiters()});
    }
    request.set_page_token(response.next_page_token());
  } while (request.page_token() != 0);
  return lines;
}

Expected<std::vector<PeerLine>> ask_peers(const std::string& address, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::PeersResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel_to(address))->Peers(&context, {}, &response);
  if (!status.ok()) return failure_of(status, address, kNoRank);
  std::vector<PeerLine> lines;
  for (const v1::PeerRow& row : response.peers()) {
    lines.push_back({row.rank(), row.instance(), row.state(), row.path(), row.transports(),
                     row.grpc_address(), row.queued(), row.unacknowledged(), row.lent(), row.bytes_sent(),
                     row.bytes_mapped()});
  }
  return lines;
}

}  // namespace sidecar::client_internal
