#include <ucp/api/ucp_version.h>

#include "am_protocol/cma.h"
#include "am_protocol/devices.h"
#include "am_protocol/transport_impl.h"
#include "core/log.h"

namespace sidecar {
namespace {

constexpr TimeNs kShutDownNs = 250 * kMillisecond;

}  // namespace

std::string ucx_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  ucp_get_version(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

Result<std::unique_ptr<UcxTransport>> UcxTransport::create(const UcxOptions& options, Loop& loop) {
  auto transport = std::make_unique<UcxTransportImpl>(options, loop);
  const Status opened = transport->open();
  if (!opened) return tl::unexpected(opened.error());
  return transport;
}

Result<std::unique_ptr<UcxTransport>> UcxTransport::create(const UcxOptions& options, Loop& loop,
                                                           Events& events) {
  auto transport = create(options, loop);
  if (transport) (*transport)->set_events(events);
  return transport;
}

UcxTransportImpl::UcxTransportImpl(const UcxOptions& options, Loop& loop) : options_(options), loop_(loop) {
  orphan_timer_.kind = kOrphanTimer;
  retired_timer_.kind = kRetiredTimer;
  loop_.add_source(&deadlines_);
}

Status UcxTransportImpl::open() {
  check_thread();
  CHECK(options_.local || options_.net);
  cma_ = options_.local && options_.cma && cma_works();
  if (options_.local) {
    if (const Status status = open_plane_at(PlaneKind::kLocal, options_.local_listen); !status) return status;
  }
  if (options_.net) {
    if (const Status status = open_plane_at(PlaneKind::kNet, options_.net_listen); !status) return status;
  }
  return {};
}

Status UcxTransportImpl::open_too(bool local) {
  check_thread();
  if ((local ? local_ : net_) != nullptr) return {};
  if (local) cma_ = options_.cma && cma_works();
  const Status opened = open_plane_at(local ? PlaneKind::kLocal : PlaneKind::kNet, "");
  if (opened && local && local_ == nullptr) return fail(Errc::kUnavailable, "there is no shared memory here");
  return opened;
}

Result<std::unique_ptr<Plane>> UcxTransportImpl::make_plane(PlaneKind kind) {
  const std::string devices = options_.net_reached_at.empty() ? "" : devices_for(options_.net_reached_at);
  auto opened = open_plane(kind, cma_, devices, options_.keep_environment);
  if (!opened) return tl::unexpected(opened.error());
  return std::make_unique<Plane>(kind, std::move(*opened), static_cast<PlaneOwner&>(*this), endpoints_,
                                 counters_);
}

Status UcxTransportImpl::open_plane_at(PlaneKind kind, const std::string& listen) {
  auto plane = make_plane(kind);
  if (!plane && kind == PlaneKind::kLocal && options_.net) {
    LOG_WARN("no shared memory, everything goes over the network: {}", to_string(plane.error()));
    return {};
  }
  if (!plane) return tl::unexpected(plane.error());
  if (!listen.empty()) {
    if (const Status status = (*plane)->listen(listen); !status) return status;
  }
  loop_.add_source(plane->get());
  (kind == PlaneKind::kLocal ? local_ : net_) = std::move(*plane);
  return {};
}

std::string UcxTransportImpl::describe() const {
  std::string text = "UCX " + ucx_version();
  for (const Plane* plane : {local_.get(), net_.get()}) {
    if (plane == nullptr) continue;
    text.append("\n").append(plane_name(plane->kind())).append(": ").append(plane->settings());
    if (!plane->address().empty()) text.append(", listens at ").append(plane->address().view());
    if (plane->local()) text.append(cma_ ? ", CMA works" : ", without CMA");
  }
  return text;
}

void UcxTransportImpl::check_thread() const {
  CHECK_ON_LOOP(loop_);
  // Nothing is sent, received or closed from inside UCX: it would overtake what is queued, or free what UCX
  // still uses.
  CHECK(local_ == nullptr || !local_->in_progress());
  CHECK(net_ == nullptr || !net_->in_progress());
}

// Arrivals before failures: what a process said before it died still counts.
bool UcxTransportImpl::step(Plane& plane, int budget) {
  CHECK(events_ != nullptr);
  bool worked = false;
  for (std::size_t i = 0; i < plane.requests.size(); ++i) {
    accept(plane, plane.requests[i]);
    worked = true;
  }
  plane.requests.clear();
  worked |= take_arrivals(plane, budget);
  worked |= take_failures(plane);
  worked |= take_closed(plane);
  if (plane.inbox.empty()) worked |= take_received(plane.received_earlier);
  worked |= take_sent();
  return worked || !plane.inbox.empty() || has_work();
}

bool UcxTransportImpl::has_work() const {
  for (const Plane* plane : {local_.get(), net_.get()}) {
    if (plane != nullptr && !(plane->received.empty() && plane->received_earlier.empty())) return true;
  }
  return !sent_.empty() || !broken_.empty();
}

UcxTransportImpl::~UcxTransportImpl() {
  for (Plane* plane : {local_.get(), net_.get()}) {
    if (plane != nullptr) loop_.remove_source(plane);
  }
  if (replacing_ != 0) loop_.unwatch(replacing_);
  loop_.remove_source(&deadlines_);
  shut_down();
}  // the planes end here

// Everything is closed by force and UCX asked for progress until it has given back every request: a worker
// that is destroyed too early ends the process. In the one case where UCX never does (see orphan()) the
// worker is left alone.
void UcxTransportImpl::shut_down() {
  check_thread();
  closing_down_ = true;
  bool said_goodbye = false;
  links_.for_each([&](Link& link) { said_goodbye |= link.said_goodbye; });
  for (Plane* plane : {local_.get(), net_.get()}) {
    if (plane != nullptr) plane->stop_accepting();
  }
  const TimeNs wait = said_goodbye ? kGoodbyeLingerNs / 4 : 0;
  const TimeNs begin = Loop::now_ns();
  while (Loop::now_ns() - begin < wait) take_back();
  close_everything();
  int quiet_looks = 0;  // twice: UCX's thread may have just had a connection in its hands
  while (quiet_looks < 2 && Loop::now_ns() - begin < kShutDownNs) {
    take_back();
    quiet_looks = quiet() ? quiet_looks + 1 : 0;
  }
  if (quiet_looks == 2) return each_plane([](Plane& plane) { plane.settle(); });
  LOG_WARN("UCX keeps {} sends and {} receives of connections to processes that do not run: left in memory",
           sends_.size(), payloads_.size());
  while (!orphans_.empty()) orphans_.pop_front();
  // Reachable for ever, so that leak checkers see that it is meant.
  struct Left {
    std::unique_ptr<Pools> pools;
    std::vector<UcxHandles> planes;
  };
  static auto* const all_left = new std::vector<Left>;
  Left& left = all_left->emplace_back(std::move(pools_));
  each_plane([&](Plane& plane) {
    plane.turned_away();
    left.planes.push_back(plane.abandon());
  });
}

void UcxTransportImpl::close_everything() {
  links_.for_each([&](Link& link) { drop_link(link); });
  deadlines_.cancel(orphan_timer_);
  deadlines_.cancel(retired_timer_);
  endpoints_.for_each([&](Endpoint& endpoint) {
    if (endpoint.state != Endpoint::State::kClosing) close_endpoint(endpoint);
  });
}

// What UCX has for us, without telling anybody.
void UcxTransportImpl::take_back() {
  each_plane([&](Plane& plane) {
    while (!plane.inbox.empty()) release(plane, plane.inbox.pop());
    plane.inbox.reset();
    plane.drain();
    take_closed(plane);
  });
  payloads_.for_each([&](Payload& payload) {
    if (payload.descriptor == nullptr) return;
    ucp_am_data_release(payload.plane->worker(), payload.descriptor);
    payloads_.release(&payload);
  });
  each_plane([&](Plane& plane) {
    take_received(plane.received_earlier);
    take_received(plane.received);
  });
  take_sent();
}

bool UcxTransportImpl::quiet() {
  bool idle = sends_.empty() && payloads_.empty() && endpoints_.size() == 0;
  each_plane([&](const Plane& plane) { idle &= plane.inbox.empty() && plane.closed.empty(); });
  each_plane([&](Plane& plane) { idle = idle && plane.turned_away(); });
  return idle;
}

}  // namespace sidecar
