#include <sys/random.h>

#include <atomic>

#include "am_protocol/cma.h"
#include "am_protocol/transport_impl.h"
#include "core/log.h"

namespace sidecar {
namespace {

// Known to the two ends only, so that nobody else's endpoint can join the link.
std::uint64_t random_number() {
  std::uint64_t number = 0;
  CHECK(getrandom(&number, sizeof(number), 0) == sizeof(number));
  return number;
}

// Error texts are static; what the other side said is kept for good, the first few times anything new is
// said.
const char* keep_text(std::string_view text) {
  constexpr std::size_t kKept = 64;
  static std::array<std::array<char, kTextBytesMax + 1>, kKept> kept{};
  static std::size_t count = 0;
  if (text.empty()) return "the other side refused the connection";
  for (std::size_t i = 0; i < count; ++i) {
    if (text == kept[i].data()) return kept[i].data();
  }
  if (count == kKept) return "the other side refused the connection";
  char* const place = kept[count++].data();
  for (char c : text.substr(0, kTextBytesMax)) {
    place[std::strlen(place)] = c >= ' ' && c < 127 ? c : '?';  // it may end up on a terminal
  }
  return place;
}

}  // namespace

LinkId UcxTransportImpl::connect(const ConnectOptions& options, const Hello& hello) {
  check_thread();
  Link* const link = links_.acquire();
  link->outbound = true;
  link->timer.object = link;
  link->timer.kind = kLinkTimer;
  link->plane = options.local ? local_.get() : net_.get();
  link->hello = {random_number(), hello.instance, hello.ticket};
  deadlines_.set_in(link->timer, options_.hello_timeout);
  const LinkId id = links_.handle_of(link);
  open_outbound(*link, options, hello);
  return id;
}

void UcxTransportImpl::open_outbound(Link& link, const ConnectOptions& options, const Hello& hello) {
  if (link.plane == nullptr) {
    return fail_later(link, {Errc::kUnavailable, kNoRank, "this process has no such transport", 0, 0});
  }
  const auto address = parse_address(options.address.view(), HostNames::kRefuse);
  if (!address) return fail_later(link, address.error());
  Hello introduction = hello;
  introduction.link = link.hello.link;
  introduction.open = open_mark_of(link);
  link.control = open_and_greet(link, *address, false, introduction);
  if (link.control != nullptr && options.two_endpoints)
    link.bulk = open_and_greet(link, *address, true, introduction);
}

Endpoint* UcxTransportImpl::open_and_greet(Link& link, const SocketAddress& address, bool bulk,
                                           Hello& hello) {
  Endpoint* const endpoint = endpoints_.add(link.plane);
  endpoint->bulk = bulk;
  endpoint->unsettled = true;
  endpoint->link = links_.handle_of(&link);
  const Status opened = link.plane->connect(address, endpoint);
  if (!opened) {
    endpoints_.remove(endpoint);
    fail_later(link, opened.error());
    return nullptr;
  }
  hello.bulk = bulk;
  // At once, before UCX makes progress on this connection: it knows of no lanes yet and fits the message to
  // those that come. Later it supposes some, and UCX 1.13 fails what it began for TCP when shared memory
  // comes instead.
  issue(make_send(hello, 0), *endpoint, {}, false);
  return endpoint;
}

void UcxTransportImpl::accept(Plane& plane, ucp_conn_request_h request) {
  if (strangers_ >= options_.strangers_max) {
    ++counters_.connections_rejected;
    return plane.reject(request);
  }
  Endpoint* const endpoint = endpoints_.add(&plane);
  if (!plane.accept(request, endpoint)) {  // the other side has gone already
    ++counters_.connections_rejected;
    return endpoints_.remove(endpoint);
  }
  endpoint->state = Endpoint::State::kStranger;
  ++strangers_;
  deadlines_.set_in(endpoint->timer, options_.hello_timeout);
}

// The only thing that an endpoint which has not been accepted may do.
void UcxTransportImpl::on_first_message(Endpoint& endpoint, const Arrival& arrival) {
  Error why{Errc::kProtocol, kNoRank, "something before Hello", 0, 0};
  const bool decoded = arrival.kind == Arrival::Kind::kMessage && arrival.bytes == 0 &&
                       decode_arrival(*endpoint.plane, arrival, &why);
  const auto* const hello = decoded ? std::get_if<Hello>(&inbound_) : nullptr;
  if (hello == nullptr) {
    ++counters_.protocol_errors;
    if (arrival.kind == Arrival::Kind::kUnknownId) ++counters_.unknown_ids;
    LOG_WARN_LIMITED("a connection that has not introduced itself was closed: {}", why.what);
    return close_endpoint(endpoint);
  }
  const Hello copy = *hello;  // the engine may come back to us
  copy.bulk ? on_bulk_hello(endpoint, copy) : on_control_hello(endpoint, copy);
}

void UcxTransportImpl::on_control_hello(Endpoint& endpoint, const Hello& hello) {
  if (const auto why = objection(*endpoint.plane, hello)) return refuse(endpoint, *why);
  Link* link = links_.acquire();
  link->state = Link::State::kAccepting;
  link->timer.object = link;
  link->timer.kind = kLinkTimer;
  link->plane = endpoint.plane;
  link->hello = {hello.link, hello.instance, hello.ticket};
  const Handle id = links_.handle_of(link);
  join(*link, endpoint);
  link->control = &endpoint;

  const Result<HelloAck> answer = events_->on_hello(id, hello);
  link = links_.find(id);
  if (link == nullptr) return;  // the engine closed it
  if (!answer) {
    orphan(*link);
    links_.release(link);
    endpoint.state = Endpoint::State::kRefused;
    ++strangers_;
    return refuse(endpoint, answer.error());
  }
  link->answer = *answer;
  link->answer.code = Errc::kOk;
  link->answer.open = open_mark_of(*link);
  look_at_mark(*link, hello.pid, hello.open);
  issue(make_send(link->answer, 0), endpoint, {}, false);
  link_is_up(*link);
  endpoints_.for_each([&](Endpoint& other) {
    if (other.state == Endpoint::State::kWaiting && other.hello == link->hello &&
        other.plane == link->plane) {
      on_bulk_hello(other, hello);
    }
  });
}

// Joins its link if that exists already, else waits: nothing orders the two endpoints' messages.
void UcxTransportImpl::on_bulk_hello(Endpoint& endpoint, const Hello& hello) {
  endpoint.state = Endpoint::State::kWaiting;
  endpoint.hello = {hello.link, hello.instance, hello.ticket};
  Link* const link = find_link(endpoint.hello);
  if (link == nullptr || link->state != Link::State::kUp || link->plane != endpoint.plane) return;
  if (link->bulk != nullptr) {
    ++counters_.protocol_errors;
    return close_endpoint(endpoint);
  }
  join(*link, endpoint);
  endpoint.bulk = true;
  link->bulk = &endpoint;
  // Its first message too: the other side uses an endpoint, and takes messages from it, once it was greeted
  // there.
  issue(make_send(link->answer, 0), endpoint, {}, false);
  link->bulk_usable = true;
}

std::optional<Error> UcxTransportImpl::objection(const Plane& plane, const Hello& hello) {
  if (find_link({hello.link, hello.instance, hello.ticket}) != nullptr) {
    return Error{Errc::kProtocol, kNoRank, "this link number is in use", 0, 0};
  }
  if (plane.local() && cma_ && !cma_works_with(hello.pid)) {
    return Error{Errc::kUnavailable, kNoRank,
                 "shared memory is for processes of one user: use the network address", 0, 0};
  }
  return std::nullopt;
}

// Connections are rare and links few.
Link* UcxTransportImpl::find_link(const Introduction& hello) {
  Link* found = nullptr;
  links_.for_each([&](Link& link) {
    if (!link.outbound && link.hello == hello) found = &link;
  });
  return found;
}

void UcxTransportImpl::join(Link& link, Endpoint& endpoint) {
  endpoint.state = Endpoint::State::kLinked;
  endpoint.link = links_.handle_of(&link);
  deadlines_.cancel(endpoint.timer);
  --strangers_;
}

// The other side closes once it has read why; if it does not, we do. Closing at once could overtake the
// answer.
void UcxTransportImpl::refuse(Endpoint& endpoint, const Error& why) {
  ++counters_.hellos_refused;
  endpoint.state = Endpoint::State::kRefused;
  endpoint.link = Handle{};
  deadlines_.set_in(endpoint.timer, kRefusalLingerNs);
  HelloAck answer;
  answer.code = why.code == Errc::kOk ? Errc::kUnavailable : why.code;
  answer.text.assign(why.what);
  issue(make_send(answer, 0), endpoint, {}, false);
}

void UcxTransportImpl::on_hello_ack(Link& link, Endpoint& endpoint, const HelloAck& answer) {
  if (answer.code != Errc::kOk) {
    return fail_link(link, {answer.code, kNoRank, keep_text(answer.text.view()), 0, 0});
  }
  if (answer.version < kProtocolVersionMin || answer.version > kProtocolVersionMax) {
    return fail_link(link, {Errc::kProtocol, kNoRank, "the other side speaks another protocol version",
                            answer.version, 0});
  }
  endpoint.greeted = true;
  if (endpoint.bulk) link.bulk_usable = true;
  if (link.bulk == nullptr || (link.bulk->greeted && link.control->greeted)) deadlines_.cancel(link.timer);
  if (link.state != Link::State::kConnecting) return;  // the second endpoint's greeting
  // A copy, since the engine may come back to us. NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const HelloAck copy = answer;
  look_at_mark(link, copy.pid, copy.open);
  const Handle id = links_.handle_of(&link);
  link_is_up(link);
  events_->on_link_up(id, copy);
}

OpenMark UcxTransportImpl::open_mark_of(Link& link) const {
  if (!link.plane->local() || !cma_) return {};
  std::atomic_ref(link.open_mark).store(random_number());
  return {reinterpret_cast<std::uintptr_t>(&link.open_mark), link.open_mark};
}

// Believed only when it can be read now: in another process-id namespace `pid` is somebody else.
void UcxTransportImpl::look_at_mark(Link& link, std::int64_t pid, const OpenMark& mark) const {
  if (!link.plane->local() || !cma_ || pid <= 0 || mark.at == 0) return;
  if (word_of(pid, mark.at) == mark.value) link.other = {pid, mark};
}

void UcxTransportImpl::link_is_up(Link& link) {
  link.state = Link::State::kUp;
  link.facts.local = link.plane->local();
  link.facts.transports.assign(lanes_of(link.control->ucp));
  ++counters_.links_opened;
}

}  // namespace sidecar
