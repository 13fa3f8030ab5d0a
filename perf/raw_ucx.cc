#include "perf/raw_ucx.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "perf/shared_page.h"

namespace sidecar::perf {
namespace {

constexpr unsigned kAmId = 1;

void must(ucs_status_t status, const char* what) {
  if (status == UCS_OK) return;
  std::fprintf(stderr, "raw UCX: %s: %s\n", what, ucs_status_string(status));
  std::abort();
}

// What a sidecar's shared-memory plane uses (am_protocol/settings.cc), written down once more so that the two
// are compared on purpose and not by sharing code.
void set_defaults() {
  for (const auto& [name, value] : {std::pair{"UCX_TLS", "sysv,posix,cma,tcp"},
                                    {"UCX_NET_DEVICES", "lo"},
                                    {"UCX_MM_ERROR_HANDLING", "y"},
                                    {"UCX_CMA_MEMORY_INVALIDATE", "y"},
                                    {"UCX_MAX_RNDV_RAILS", "1"},
                                    {"UCX_TCP_TX_SEG_SIZE", "64K"},
                                    {"UCX_TCP_RX_SEG_SIZE", "256K"},
                                    {"UCX_TCP_SNDBUF", "512K"},
                                    {"UCX_KEEPALIVE_INTERVAL", "1s"}}) {
    setenv(name, value, 0);
  }
}

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

void on_endpoint_error(void*, ucp_ep_h, ucs_status_t) {}  // the others leave when the measurement is over

}  // namespace

RawUcx::RawUcx(OnMessage on_message) : on_message_(std::move(on_message)) {
  set_defaults();
  ucp_config_t* config = nullptr;
  must(ucp_config_read(nullptr, nullptr, &config), "settings");
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  must(ucp_init(&params, config, &context_), "context");
  ucp_config_release(config);
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SINGLE;
  must(ucp_worker_create(context_, &worker, &worker_), "worker");
  int events = -1;
  must(ucp_worker_get_efd(worker_, &events), "event descriptor");
  fd_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (fd_ < 0 || epoll_ctl(fd_, EPOLL_CTL_ADD, events, &event) != 0) must(UCS_ERR_IO_ERROR, "epoll");
  ucp_am_handler_param_t handler{};
  handler.field_mask =
      UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kAmId;
  handler.cb = on_am;
  handler.arg = this;
  must(ucp_worker_set_am_recv_handler(worker_, &handler), "handler");
}

RawUcx::~RawUcx() {
  if (out_ != nullptr) in_.push_back(out_);
  for (ucp_ep_h endpoint : in_) {
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    params.flags = UCP_EP_CLOSE_FLAG_FORCE;
    void* const request = ucp_ep_close_nbx(endpoint, &params);
    if (!UCS_PTR_IS_PTR(request)) continue;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) ucp_worker_progress(worker_);
    ucp_request_free(request);
  }
  if (listener_ != nullptr) ucp_listener_destroy(listener_);
  close(fd_);
  ucp_worker_destroy(worker_);
  ucp_cleanup(context_);
}

std::uint16_t RawUcx::listen() {
  const sockaddr_in address = loopback(0);
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {reinterpret_cast<const sockaddr*>(&address), sizeof(address)};
  params.conn_handler = {on_connection, this};
  must(ucp_listener_create(worker_, &params, &listener_), "listener");
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  must(ucp_listener_query(listener_, &attributes), "listener's port");
  sockaddr_in bound{};
  std::memcpy(&bound, &attributes.sockaddr, sizeof(bound));
  return ntohs(bound.sin_port);
}

void RawUcx::on_connection(ucp_conn_request_h request, void* self) {
  auto* const me = static_cast<RawUcx*>(self);
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_CONN_REQUEST | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.conn_request = request;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_endpoint_error;
  ucp_ep_h endpoint = nullptr;
  must(ucp_ep_create(me->worker_, &params, &endpoint), "accepting");
  me->in_.push_back(endpoint);
}

void RawUcx::connect(std::uint16_t port) {
  const sockaddr_in address = loopback(port);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS |
                      UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.sockaddr = {reinterpret_cast<const sockaddr*>(&address), sizeof(address)};
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = on_endpoint_error;
  must(ucp_ep_create(worker_, &params, &out_), "connecting");
  // UCX goes on choosing lanes for a moment. In UCX 1.13 a header longer than shared memory's short messages
  // that is sent meanwhile can fail with "Invalid parameter": its protocol is picked by the limits of the
  // lane that is given up.
  const std::uint64_t until = monotonic_ns() + 100'000'000;
  while (monotonic_ns() < until) step();
}

void RawUcx::send(std::span<const std::byte> header) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY;
  params.cb.send = [](void* request, ucs_status_t status, void* self) {
    must(status, "send");
    --static_cast<RawUcx*>(self)->sending_;
    ucp_request_free(request);
  };
  params.user_data = this;
  void* const request = ucp_am_send_nbx(out_, kAmId, header.data(), header.size(), nullptr, 0, &params);
  if (UCS_PTR_IS_ERR(request)) must(UCS_PTR_STATUS(request), "send");
  if (UCS_PTR_IS_PTR(request)) ++sending_;
}

ucs_status_t RawUcx::on_am(void* self, const void* header, std::size_t header_bytes, void*, std::size_t,
                           const ucp_am_recv_param_t*) {
  auto* const me = static_cast<RawUcx*>(self);
  if (me->arrived_count_ == me->arrived_.size()) me->arrived_.emplace_back();
  const auto* const bytes = static_cast<const std::byte*>(header);
  me->arrived_[me->arrived_count_++].assign(bytes, bytes + header_bytes);
  return UCS_OK;
}

bool RawUcx::step() {
  bool worked = ucp_worker_progress(worker_) != 0;
  for (std::size_t i = 0; i < arrived_count_; ++i) on_message_(arrived_[i]);
  worked = worked || arrived_count_ > 0;
  arrived_count_ = 0;
  return worked;
}

void RawUcx::wait() {
  bool worked = false;
  while (true) {
    while (step()) worked = true;
    if (worked) return;
    const ucs_status_t armed = ucp_worker_arm(worker_);
    if (armed == UCS_ERR_BUSY) continue;
    must(armed, "arming");
    epoll_event event{};
    epoll_wait(fd_, &event, 1, 1000);
    worked = true;
  }
}

}  // namespace sidecar::perf
