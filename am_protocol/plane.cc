#include "am_protocol/plane.h"

#include <cstring>
#include <utility>

#include "am_protocol/am_ids.h"

namespace sidecar {
namespace {

// UCX's callback table for an id it does not know is uninitialised memory.
constexpr unsigned kAmIds = 65536;

// The queue in shared memory holds that many messages (UCX_SYSV_FIFO_SIZE), of which UCX takes out as few as
// one at a time: it takes more only while there always are more.
constexpr int kFifoLooks = 64;

// See settle(): of the first, 4 MiB each.
constexpr int kLastLooks = 1024;
constexpr int kIdleLooks = 16;

// Some 30 ms of nothing but progress (under ASan half a second, and load multiplies it): a sleeping process
// never comes so far.
constexpr std::uint32_t kSilentCallsMax = 1u << 14;
constexpr TimeNs kStuckNs = 1 * kSecond;

// `word` stays where it is until the send completes.
ucs_status_ptr_t send_own_word(ucp_ep_h to_self, const std::uintptr_t& word) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = [](void* request, ucs_status_t, void*) noexcept { ucp_request_free(request); };
  return ucp_am_send_nbx(to_self, kSelfAmId, &word, sizeof(word), nullptr, 0, &param);
}

}  // namespace

Plane::Plane(PlaneKind kind, OpenedPlane opened, PlaneOwner& owner, EndpointTable& endpoints,
             TransportCounters& counters)
    : kind_(kind),
      owner_(owner),
      endpoints_(endpoints),
      counters_(counters),
      ucx_{std::move(opened.context), std::move(opened.worker), nullptr},
      fd_(opened.fd),
      settings_(std::move(opened.settings)) {
  requests.reserve(64);
  register_handlers();
}

// Highest first: the table grows once, and no entry is ever left as it was allocated.
void Plane::register_handlers() {
  for (unsigned id = kAmIds; id-- > 0;) {
    ucp_am_handler_param_t param{};
    param.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    param.id = id;
    param.flags = id == kAmId ? UCP_AM_FLAG_PERSISTENT_DATA : 0;  // payloads may be held
    param.cb = id == kAmId ? on_message : id == kSelfAmId ? on_own_word : on_unknown;
    param.arg = this;
    CHECK(ucp_worker_set_am_recv_handler(worker(), &param) == UCS_OK);
  }
}

Status Plane::listen(std::string_view text) {
  const auto address = parse_address(text, HostNames::kResolve);
  if (!address) return tl::unexpected(address.error());
  // Asked beforehand, because UCX only says that it failed, and says it on stderr.
  const int code = listen_errno(*address);
  if (code != 0) {
    return fail(
        Errc::kIo,
        code == EADDRINUSE ? "this port is taken by another process" : "cannot listen at this address",
        kNoRank, static_cast<std::uint64_t>(code));
  }
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {address->get(), address->length};
  params.conn_handler = {on_request, this};
  ucp_listener_h raw = nullptr;
  ucs_status_t status = ucp_listener_create(worker(), &params, &raw);
  if (status != UCS_OK) {
    return fail(Errc::kIo, "cannot listen at this address", kNoRank,
                static_cast<std::uint64_t>(status == UCS_ERR_BUSY ? EADDRINUSE : EIO));
  }
  ucx_.listener.reset(raw);
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(raw, &attributes);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not tell where it listens"));
  address_ = attributes.sockaddr;
  return {};
}

Status Plane::open_endpoint(ucp_ep_params_t params, Endpoint* endpoint, const char* what) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;  // also what lets descriptors outlive their sender
  params.err_handler = {on_failure, endpoint};
  ucp_ep_h ucp = nullptr;
  const ucs_status_t status = ucp_ep_create(worker(), &params, &ucp);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, what));
  endpoints_.bind(endpoint, ucp);
  return {};
}

Status Plane::connect(const SocketAddress& address, Endpoint* endpoint) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = {address.get(), address.length};
  return open_endpoint(params, endpoint, "cannot connect to this address");
}

Status Plane::accept(ucp_conn_request_h request, Endpoint* endpoint) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
  params.conn_request = request;
  return open_endpoint(params, endpoint, "cannot accept a connection");
}

// Progress for the same reason as in close().
void Plane::reject(ucp_conn_request_h request) {
  touch();
  ucp_listener_reject(ucx_.listener.get(), request);
  drain();
}

// UCX's own thread queues socket events, by descriptor number, for us to handle in our next progress. Such an
// event must not outlive its descriptor: it would hit whichever new connection gets the number, and UCX 1.13
// aborts. Hence progress before, while the event still means this endpoint, and after, before anything new is
// opened; and hence no endpoint is closed while it connects, when its socket has events all the time.
bool Plane::close(Endpoint* endpoint) {
  if (endpoint == to_self_) {
    to_self_ = nullptr;
    spoke_to_self_ns_ = 0;
  }
  drain();
  if (failed.contains(endpoint)) failed.remove(endpoint);
  const ucp_ep_h ucp = endpoint->ucp;
  endpoints_.unbind(endpoint);
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  param.cb.send = on_closed;
  param.user_data = endpoint;
  const bool closed_now = !UCS_PTR_IS_PTR(ucp_ep_close_nbx(ucp, &param));
  drain();
  return closed_now;
}

bool Plane::drain() {
  CHECK(!in_progress_);
  in_progress_ = true;
  const bool worked = ucp_worker_progress(worker()) > 0;
  in_progress_ = false;
  return worked;
}

void Plane::settle() {
  for (int looks = 0, idle = 0; looks < kLastLooks && idle < kIdleLooks; ++looks)
    idle = drain() ? 0 : idle + 1;
}

bool Plane::progress(int budget) {
  bool worked = false;
  if (inbox.empty() && !resting_) {
    inbox.reset();
    CHECK(!in_progress_ && received_earlier.empty());
    std::swap(received_earlier, received);
    in_progress_ = true;
    // Who waits for what had arrived wants all of it. (Payloads over a network have left their process.)
    const bool all = !received_earlier.asked.empty() || (local() && !received_earlier.empty());
    int looks = all ? kFifoLooks : 1;
    while (looks-- > 0 && ucp_worker_progress(worker()) > 0) worked = true;
    in_progress_ = false;
    if (local() && !retired_ && ++silent_calls_ >= kSilentCallsMax) listen_for_self();
  }
  return owner_.step(*this, budget) || worked;
}

// Others write into our queue in shared memory: they take the next place, then fill it. One who is killed in
// between, or stopped, leaves a place behind which UCX reads nothing for ever; it then finds no work and does
// not let us sleep either. That looks the same when somebody else's queue is full, so a word to ourselves
// decides. Many calls lie between it and the verdict: whatever was in the queue before it has been read.
void Plane::listen_for_self() {
  silent_calls_ = 0;
  if (spoke_to_self_ns_ == 0) {
    if (speak_to_self()) spoke_to_self_ns_ = Loop::now_ns();
  } else if (Loop::now_ns() - spoke_to_self_ns_ >= kStuckNs) {
    spoke_to_self_ns_ = 0;  // said again a second later, if nothing could be done
    owner_.on_stuck(*this);
  }
}

bool Plane::speak_to_self() {
  if (to_self_ == nullptr) {
    ucp_address_t* address = nullptr;
    std::size_t bytes = 0;
    if (ucp_worker_get_address(worker(), &address, &bytes) != UCS_OK) return false;
    Endpoint* const endpoint = endpoints_.add(this);
    endpoint->state = Endpoint::State::kSelf;
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_FLAGS;
    params.flags = UCP_EP_PARAMS_FLAGS_NO_LOOPBACK;  // not to be paired with another of the kind
    params.address = address;
    const Status opened = open_endpoint(params, endpoint, "cannot connect to oneself");
    ucp_worker_release_address(worker(), address);
    if (!opened) {
      endpoints_.remove(endpoint);
      return false;
    }
    to_self_ = endpoint;
  }
  touch();
  return !UCS_PTR_IS_ERR(send_own_word(to_self_->ucp, own_word_));
}

// UCX_ERR_BUSY is normal: about every second attempt on shared memory. The loop just progresses again.
bool Plane::arm() {
  if (!inbox.empty() || owner_.has_work()) return false;
  if (!resting_) resting_ = ucp_worker_arm(worker()) == UCS_OK;
  return resting_;
}

Plane::~Plane() = default;

void Plane::reject_requests() {
  while (!requests.empty()) {  // which may bring more
    const ucp_conn_request_h request = requests.back();
    requests.pop_back();
    reject(request);
  }
}

void Plane::stop_listening() {
  reject_requests();
  ucx_.listener.reset();
}

void Plane::stop_accepting() {
  if (listening()) ignore_new_connections(address_);
}

// Nobody is rejected as long as UCX's thread may accept somebody else meanwhile: it would get the same
// number.
bool Plane::turned_away() {
  if (!listening()) return true;
  const Accepted left = end_accepted(address_);
  if (left.in_line == 0) reject_requests();
  return left.in_line == 0 && left.open == 0;
}

ucs_status_t Plane::arrived(std::span<const std::byte> header, void* data, std::size_t bytes,
                            const ucp_am_recv_param_t& param, bool known_id) {
  heard();
  const bool rendezvous = (param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  // A rendezvous that we do not take ends at its sender with this; anything else just ends.
  const ucs_status_t refused = rendezvous ? UCS_ERR_REJECTED : UCS_OK;
  const Endpoint* const sender =
      (param.recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0 ? endpoints_.find(param.reply_ep) : nullptr;
  if (sender == nullptr || inbox.full()) {
    ++counters_.unknown_senders;
    return refused;
  }
  Arrival arrival;
  arrival.endpoint = endpoints_.handle_of(sender);
  arrival.rendezvous = rendezvous;
  arrival.bytes = bytes;
  if (!known_id) {
    arrival.kind = Arrival::Kind::kUnknownId;
  } else if (header.size() > kHeaderBytesMax || (!rendezvous && bytes > kEagerBytesMax)) {
    arrival.kind = Arrival::Kind::kUnusable;
  } else if (bytes > 0) {
    // Guaranteed by PERSISTENT_DATA; without it the bytes would be gone when this returns.
    CHECK(rendezvous || (param.recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0);
    arrival.descriptor = data;
  }
  const bool keep_header = arrival.kind == Arrival::Kind::kMessage;
  inbox.push(arrival, keep_header ? header : std::span<const std::byte>{});
  if (arrival.descriptor != nullptr) return UCS_INPROGRESS;  // ours until it is received or released
  return arrival.kind == Arrival::Kind::kMessage ? UCS_OK : refused;
}

ucs_status_t Plane::on_message(void* plane, const void* header, size_t header_bytes, void* data, size_t bytes,
                               const ucp_am_recv_param_t* param) noexcept {
  return static_cast<Plane*>(plane)->arrived({static_cast<const std::byte*>(header), header_bytes}, data,
                                             bytes, *param, true);
}

ucs_status_t Plane::on_unknown(void* plane, const void* header, size_t header_bytes, void* data, size_t bytes,
                               const ucp_am_recv_param_t* param) noexcept {
  return static_cast<Plane*>(plane)->arrived({static_cast<const std::byte*>(header), header_bytes}, data,
                                             bytes, *param, false);
}

// From anybody else it is an id that we do not know.
ucs_status_t Plane::on_own_word(void* plane, const void* header, size_t header_bytes, void* data,
                                size_t bytes, const ucp_am_recv_param_t* param) noexcept {
  auto* const self = static_cast<Plane*>(plane);
  const bool ours = header_bytes == sizeof(self->own_word_) && bytes == 0 &&
                    std::memcmp(header, &self->own_word_, header_bytes) == 0;
  if (!ours) return on_unknown(plane, header, header_bytes, data, bytes, param);
  self->heard();
  return UCS_OK;
}

void Plane::on_request(ucp_conn_request_h request, void* plane) noexcept {
  static_cast<Plane*>(plane)->requests.push_back(request);
}

void Plane::on_failure(void* argument, ucp_ep_h ucp, ucs_status_t status) noexcept {
  auto* const endpoint = static_cast<Endpoint*>(argument);
  if (endpoint->ucp != ucp || endpoint->failed.linked()) return;  // closed, or known already
  endpoint->failure = status;
  endpoint->plane->failed.push_back(endpoint);
}

void Plane::on_closed(void* request, ucs_status_t, void* argument) noexcept {
  auto* const endpoint = static_cast<Endpoint*>(argument);
  endpoint->plane->closed.push_back(endpoint);
  ucp_request_free(request);
}

}  // namespace sidecar
