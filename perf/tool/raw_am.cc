#include "perf/tool/raw_am.h"

#include <poll.h>

#include <cstring>
#include <exception>
#include <utility>

#include "am_protocol/address.h"
#include "am_protocol/cma.h"
#include "core/limits.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr unsigned kAmId = 1;
constexpr TimeNs kSpinNs = 50'000;  // the loop's own default
constexpr int kPatienceMs = 1'000;

void must(ucs_status_t status, const char* what) {
  if (status != UCS_OK) fail_measurement(std::string(what) + ": " + ucs_status_string(status));
}

SocketAddress address_of(const std::string& host, std::uint16_t port) {
  const bool six = host.find(':') != host.npos;
  auto address =
      parse_address((six ? "[" + host + "]:" : host + ":") + std::to_string(port), HostNames::kResolve);
  if (!address) fail_measurement("address " + host + ": " + to_string(address.error()));
  return *address;
}

}  // namespace

RawAm::RawAm(PlaneKind kind, std::uint64_t size, std::uint32_t outstanding)
    : size_(size), into_(outstanding, size) {
  auto opened = open_plane(kind, kind == PlaneKind::kLocal && cma_works());
  if (!opened) fail_measurement(to_string(opened.error()));
  plane_ = std::move(*opened);
  ucp_am_handler_param_t handler{};
  handler.field_mask =
      UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kAmId;
  handler.cb = on_am;
  handler.arg = this;
  must(ucp_worker_set_am_recv_handler(plane_.worker.get(), &handler), "handler");
}

RawAm::~RawAm() {
  const ucp_worker_h worker = plane_.worker.get();
  for (void* descriptor : descriptors_) ucp_am_data_release(worker, descriptor);
  if (endpoint_ == nullptr) return;
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* const request = ucp_ep_close_nbx(endpoint_, &params);
  while (sending_ + receiving_ > 0 ||
         (UCS_PTR_IS_PTR(request) && ucp_request_check_status(request) == UCS_INPROGRESS))
    ucp_worker_progress(worker);
  if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);
}

std::uint16_t RawAm::listen(const std::string& host) {
  const SocketAddress address = address_of(host, 0);
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {address.get(), address.length};
  params.conn_handler = {on_connection, this};
  ucp_listener_h raw = nullptr;
  must(ucp_listener_create(plane_.worker.get(), &params, &raw), "listening");
  listener_.reset(raw);
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  must(ucp_listener_query(raw, &attributes), "the listener's port");
  const std::string text(format_address(attributes.sockaddr).view());
  return static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
}

void RawAm::open(ucp_ep_params_t params) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {on_failure, this};
  must(ucp_ep_create(plane_.worker.get(), &params, &endpoint_), "connecting");
}

void RawAm::connect(const std::string& host, std::uint16_t port) {
  const SocketAddress address = address_of(host, port);
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = {address.get(), address.length};
  open(params);
}

void RawAm::send(std::span<const std::byte> bytes) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = bytes.size() <= kEagerBytesMax ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV;
  params.cb.send = [](void* request, ucs_status_t status, void* self) noexcept {
    auto* const me = static_cast<RawAm*>(self);
    --me->sending_;
    if (status != UCS_OK) me->wrong_ = std::string("send: ") + ucs_status_string(status);
    ucp_request_free(request);
  };
  params.user_data = this;
  void* const request = ucp_am_send_nbx(endpoint_, kAmId, nullptr, 0, bytes.data(), bytes.size(), &params);
  if (UCS_PTR_IS_ERR(request)) must(UCS_PTR_STATUS(request), "send");
  if (request != nullptr) ++sending_;
}

ucs_status_t RawAm::on_am(void* self, const void*, std::size_t, void* data, std::size_t bytes,
                          const ucp_am_recv_param_t* params) noexcept {
  auto* const me = static_cast<RawAm*>(self);
  const bool rendezvous = (params->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
  if (bytes != me->size_) {
    me->wrong_ = "a message of another size";
    return rendezvous ? UCS_ERR_REJECTED : UCS_OK;
  }
  if (!rendezvous) {
    std::memcpy(me->into_.next().data(), data, bytes);  // as whoever needs it longer than this call
    ++me->received_;
    return UCS_OK;
  }
  me->descriptors_.push_back(data);
  return UCS_INPROGRESS;
}

void RawAm::on_connection(ucp_conn_request_h request, void* self) noexcept {
  static_cast<RawAm*>(self)->request_ = request;
}

void RawAm::on_failure(void* self, ucp_ep_h, ucs_status_t status) noexcept {
  auto* const me = static_cast<RawAm*>(self);
  me->lost_ = true;
  me->wrong_ = std::string("the connection broke: ") + ucs_status_string(status);
}

void RawAm::receive(void* descriptor) {
  ucp_request_param_t params{};
  params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  params.cb.recv_am = [](void* request, ucs_status_t status, size_t, void* self) noexcept {
    auto* const me = static_cast<RawAm*>(self);
    --me->receiving_;
    ++me->received_;
    if (status != UCS_OK) me->wrong_ = std::string("receive: ") + ucs_status_string(status);
    ucp_request_free(request);
  };
  params.user_data = this;
  ++receiving_;
  void* const request =
      ucp_am_recv_data_nbx(plane_.worker.get(), descriptor, into_.next().data(), size_, &params);
  if (UCS_PTR_IS_PTR(request)) return;
  --receiving_;
  ++received_;
  if (UCS_PTR_IS_ERR(request)) wrong_ = std::string("receive: ") + ucs_status_string(UCS_PTR_STATUS(request));
}

bool RawAm::take_records() {
  bool worked = false;
  if (ucp_conn_request_h request = std::exchange(request_, nullptr); request != nullptr) {
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request;
    open(params);
    worked = true;
  }
  for (void* descriptor : std::exchange(descriptors_, {})) {
    receive(descriptor);
    worked = true;
  }
  return worked;
}

bool RawAm::progress(int) {
  const bool worked = ucp_worker_progress(plane_.worker.get()) > 0;
  return take_records() || worked;
}

bool RawAm::arm() { return ucp_worker_arm(plane_.worker.get()) == UCS_OK; }

void RawAm::check() const {
  if (!wrong_.empty()) fail_measurement(wrong_);
}

namespace {

class LoopDriver final : public Driver {
 public:
  LoopDriver(RawAm& am, LoopOptions options) : am_(am), loop_(options) {
    loop_.add_source(&am_);
    LoopHooks hooks;
    hooks.on_step = [this] { return on_step(); };
    loop_.set_hooks(std::move(hooks));
  }
  ~LoopDriver() override { loop_.remove_source(&am_); }
  LoopDriver(const LoopDriver&) = delete;
  LoopDriver& operator=(const LoopDriver&) = delete;
  void run(const Step& step) override {
    step_ = &step;
    loop_.kick();
    loop_.run();
    step_ = nullptr;
    if (wrong_) std::rethrow_exception(std::exchange(wrong_, nullptr));
  }

 private:
  bool on_step() {
    if (step_ == nullptr) return false;
    Did did = Did::kAll;
    try {
      did = (*step_)();
    } catch (...) {  // libuv is between us and run()
      wrong_ = std::current_exception();
    }
    if (did == Did::kAll) {
      step_ = nullptr;
      loop_.stop();
    }
    return did == Did::kSomething;
  }

  RawAm& am_;
  const Step* step_ = nullptr;
  std::exception_ptr wrong_;
  Loop loop_;
};

class BareDriver final : public Driver {
 public:
  BareDriver(RawAm& am, LoopOptions options) : am_(am), options_(options) {}
  void run(const Step& step) override {
    TimeNs last = Loop::now_ns();
    for (Did did = step(); did != Did::kAll; did = step()) {
      const bool worked = am_.progress(0) || did == Did::kSomething;
      if (options_.policy == PollPolicy::kBusy) continue;
      if (options_.policy == PollPolicy::kAdaptive) {
        const TimeNs now = Loop::now_ns();
        if (worked) last = now;
        if (now - last < kSpinNs) continue;
      }
      if (worked || !am_.arm()) continue;
      pollfd fd{am_.fd(), POLLIN, 0};
      ::poll(&fd, 1, kPatienceMs);
    }
  }

 private:
  RawAm& am_;
  const LoopOptions options_;
};

}  // namespace

std::unique_ptr<Driver> make_driver(RawAm& am, bool bare, const std::string& poll) {
  LoopOptions options;
  const auto policy = parse_poll_policy(poll);
  if (!policy) fail_measurement(to_string(policy.error()));
  options.policy = *policy;
  options.spin_ns = kSpinNs;
  if (bare) return std::make_unique<BareDriver>(am, options);
  return std::make_unique<LoopDriver>(am, options);
}

}  // namespace sidecar::perf
