// Connections. A Link is what the engine knows: one or two UCX endpoints with one fate. An Endpoint that has
// come in belongs to no link before its Hello was accepted.
//
//   outbound link:  connecting --HelloAck--> up --------------------> gone
//   inbound:        stranger --Hello, accepted--> (link) up --------> gone
//                      |  \--Hello, refused--> refused -------------> gone   HelloAck says why; the other
//                      side closes
//                      \-- second endpoint: waiting --> joins its link
//   up --close() after Goodbye--> lingering --> gone   so that Goodbye is not overtaken by the disconnection
//
// An outbound endpoint that is not wanted any more before it has connected is `leaving`: see Plane::close.
#pragma once

#include <ucp/api/ucp.h>

#include "am_protocol/send_op.h"
#include "core/flat_index.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/pool.h"
#include "core/ports.h"
#include "core/timer_heap.h"

namespace sidecar {

class Plane;

// TimerNode::kind
inline constexpr std::uint32_t kEndpointTimer = 1;
inline constexpr std::uint32_t kLinkTimer = 2;
inline constexpr std::uint32_t kOrphanTimer = 3;
inline constexpr std::uint32_t kRetiredTimer = 4;

// Which link a second endpoint belongs to. The ticket is compared too: the number alone could be overheard.
struct Introduction {
  std::uint64_t link = 0;
  InstanceId instance = 0;
  Ticket ticket;
  friend bool operator==(const Introduction&, const Introduction&) = default;
};

struct Endpoint {
  enum class State : std::uint8_t { kLinked, kStranger, kWaiting, kRefused, kLeaving, kSelf, kClosing };
  Plane* plane = nullptr;
  ucp_ep_h ucp = nullptr;  // null once closed
  State state = State::kLinked;
  bool bulk = false;
  bool unsettled = false;  // outbound: nothing has come from the other side yet
  bool greeted = false;    // outbound: its HelloAck has come
  Handle link;             // kLinked
  Introduction hello;      // kWaiting
  ucs_status_t failure = UCS_OK;
  ListHook failed;  // UCX reported a failure that is not dealt with yet
  TimerNode timer;
  [[nodiscard]] bool unaccepted() const {
    return state == State::kStranger || state == State::kWaiting || state == State::kRefused;
  }
};

// What the other side said of its mark (see OpenMark); `pid` 0: it has none, or it cannot be read from here.
struct OtherMark {
  std::int64_t pid = 0;
  OpenMark mark;
};

struct Link {
  enum class State : std::uint8_t { kConnecting, kAccepting, kUp, kLingering };
  State state = State::kConnecting;
  bool outbound = false;
  bool said_goodbye = false;
  Plane* plane = nullptr;
  Endpoint* control = nullptr;
  Endpoint* bulk = nullptr;  // null: none (yet), payloads go through control
  bool bulk_usable = false;  // the other side knows that it belongs to this link
  Introduction hello;
  HelloAck answer;  // inbound: also said on the second endpoint
  std::uint32_t offences = 0;
  List<SendOp, &SendOp::under_way> sends;
  LinkFacts facts;
  std::uint64_t open_mark = 0;  // read by the other side's process; 0 once we want no more of it
  OtherMark other;
  Error failure;
  ListHook broken;  // `failure` is to be reported and the link dropped
  TimerNode timer;
};

// Endpoints by handle and by UCX's pointer, which is what a message's callback knows of its sender.
class EndpointTable {
 public:
  Endpoint* add(Plane* plane) {
    Endpoint* const endpoint = pool_.acquire();
    endpoint->plane = plane;
    endpoint->timer.object = endpoint;
    endpoint->timer.kind = kEndpointTimer;
    return endpoint;
  }
  void remove(Endpoint* endpoint) { pool_.release(endpoint); }

  // From creation until close only: UCX reuses addresses.
  void bind(Endpoint* endpoint, ucp_ep_h ucp) {
    endpoint->ucp = ucp;
    by_ucp_.insert(hash(ucp), pool_.handle_of(endpoint).index);
    if (pool_.handle_of(endpoint).index >= by_index_.size()) by_index_.resize(by_index_.size() * 2 + 64);
    by_index_[pool_.handle_of(endpoint).index] = endpoint;
  }
  void unbind(Endpoint* endpoint) {
    CHECK(by_ucp_.erase(hash(endpoint->ucp), [&](std::uint32_t i) { return by_index_[i] == endpoint; }));
    endpoint->ucp = nullptr;
  }
  [[nodiscard]] Endpoint* find(ucp_ep_h ucp) const {
    const std::uint32_t at =
        by_ucp_.find(hash(ucp), [&](std::uint32_t i) { return by_index_[i]->ucp == ucp; });
    return at == FlatIndex::kNone ? nullptr : by_index_[at];
  }
  [[nodiscard]] Endpoint* find(Handle handle) { return pool_.find(handle); }
  [[nodiscard]] Handle handle_of(const Endpoint* endpoint) const { return pool_.handle_of(endpoint); }
  [[nodiscard]] std::size_t size() const { return pool_.size(); }
  template <class Visit>
  void for_each(Visit&& visit) {
    pool_.for_each(visit);
  }

 private:
  static std::uint64_t hash(ucp_ep_h ucp) { return mix(reinterpret_cast<std::uintptr_t>(ucp), 1); }
  Pool<Endpoint> pool_;
  FlatIndex by_ucp_;
  std::vector<Endpoint*> by_index_;
};

}  // namespace sidecar
