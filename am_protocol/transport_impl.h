// Behind UcxTransport. One class, a file for each job:
//   transport.cc   opening, closing down, the step that acts on what the planes have recorded
//   handshake.cc   connect, Hello, HelloAck, second endpoints
//   links.cc       the end of links and endpoints, deadlines
//   inbound.cc     arrivals to the engine, offences
//   outbound.cc    sends and their completions
//   payloads.cc    receive, discard and their completions
//   replace.cc     another local plane for one whose queue is stuck
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "am_protocol/codec.h"
#include "am_protocol/deadlines.h"
#include "am_protocol/payload.h"
#include "am_protocol/plane.h"
#include "am_protocol/send_op.h"
#include "am_protocol/transport.h"
#include "core/fd.h"

namespace sidecar {

inline constexpr std::uint32_t kProtocolErrorsMax = 8;    // on one link, then it is closed
inline constexpr std::uint32_t kSendsPerLinkMax = 65536;  // beyond: the other side takes nothing any more
inline constexpr std::size_t kPayloadsMax = 65536;        // held at once, over all links
inline constexpr std::size_t kControlPayloadMax = 8192;   // larger ones go on the bulk endpoint
inline constexpr TimeNs kRefusalLingerNs = 1 * kSecond;   // for the other side to read why
inline constexpr TimeNs kLeavingNs =
    1 * kSecond;  // for a connection that nobody wants any more to come about
inline constexpr TimeNs kAbandonNs =
    500 * kMillisecond;  // for UCX to complete the sends of a link that has ended
inline constexpr TimeNs kGoodbyeLingerNs = 100 * kMillisecond;
static_assert(kSendsPerLinkMax >= 2 * kTransferWindow,
              "a peer with a full window is not a reason to hang up");
static_assert(kPayloadsMax >= kWaitingSendsMax + 2 * kParkedMax, "the engine's own bounds are met first");

class UcxTransportImpl final : public UcxTransport, private PlaneOwner, private DeadlineOwner {
 public:
  UcxTransportImpl(const UcxOptions& options, Loop& loop);
  ~UcxTransportImpl() override;
  UcxTransportImpl(const UcxTransportImpl&) = delete;
  UcxTransportImpl& operator=(const UcxTransportImpl&) = delete;
  Status open();

  // Transport
  LinkId connect(const ConnectOptions& options, const Hello& hello) override;
  void send(LinkId link, const Message& message, ConstBytes payload, bool rendezvous, Token token) override;
  void receive(const Incoming& incoming, Bytes into, Token token) override;
  void after_arrived(LinkId link, Token token) override;
  void discard(const Incoming& incoming) override;
  void close(LinkId link) override;
  LinkFacts facts(LinkId link) const override;

  // UcxTransport
  void set_events(Events& events) override { events_ = &events; }
  Status open_too(bool local) override;
  Name local_address() const override { return local_ ? local_->address() : Name(); }
  Name net_address() const override { return net_ ? net_->address() : Name(); }
  std::string describe() const override;
  const TransportCounters& counters() const override { return counters_; }

 private:
  // transport.cc
  Result<std::unique_ptr<Plane>> make_plane(PlaneKind kind);
  Status open_plane_at(PlaneKind kind, const std::string& listen);
  bool step(Plane& plane, int budget) override;
  [[nodiscard]] bool has_work() const override;
  void check_thread() const;
  void shut_down();
  void close_everything();
  void take_back();
  [[nodiscard]] bool quiet();

  // handshake.cc
  void open_outbound(Link& link, const ConnectOptions& options, const Hello& hello);
  Endpoint* open_and_greet(Link& link, const SocketAddress& address, bool bulk, Hello& hello);
  void accept(Plane& plane, ucp_conn_request_h request);
  void on_first_message(Endpoint& endpoint, const Arrival& arrival);
  void on_control_hello(Endpoint& endpoint, const Hello& hello);
  void on_bulk_hello(Endpoint& endpoint, const Hello& hello);
  std::optional<Error> objection(const Plane& plane, const Hello& hello);
  void join(Link& link, Endpoint& endpoint);
  void refuse(Endpoint& endpoint, const Error& why);
  void on_hello_ack(Link& link, Endpoint& endpoint, const HelloAck& answer);
  void link_is_up(Link& link);
  Link* find_link(const Introduction& hello);

  // links.cc
  bool take_failures(Plane& plane);
  bool take_closed(Plane& plane);
  void on_deadline(TimerNode& node) override;
  void fail_later(Link& link, const Error& why);
  void fail_link(Link& link, const Error& why);
  void drop_link(Link& link);
  [[nodiscard]] OpenMark open_mark_of(Link& link) const;
  void look_at_mark(Link& link, std::int64_t pid, const OpenMark& mark) const;
  bool given_up(LinkId id);
  void close_endpoint(Endpoint& endpoint);

  // inbound.cc
  bool take_arrivals(Plane& plane, int budget);
  void on_arrival(Plane& plane, const Arrival& arrival);
  void on_link_arrival(Link& link, Endpoint& endpoint, const Arrival& arrival);
  void offence(Link& link, const Error& what);
  void deliver(Plane& plane, Handle link, const Arrival& arrival);
  void on_bad_message(Plane& plane, Handle link, const Arrival& arrival, const Error& why);
  std::optional<Incoming> hold(Plane& plane, Handle link, const Arrival& arrival);
  bool decode_arrival(Plane& plane, const Arrival& arrival, Error* why);
  void release(Plane& plane, const Arrival& arrival);

  // outbound.cc
  SendOp* make_send(const Message& message, Token token);
  void issue(SendOp* op, Endpoint& endpoint, ConstBytes payload, bool rendezvous);
  void detach(SendOp* op);
  void complete(SendOp* op, ucs_status_t status);
  bool take_sent();
  void orphan(Link& link);
  void abandon_orphans();
  void release(SendOp* op);
  static void on_send_done(void* request, ucs_status_t status, void* op) noexcept;

  // payloads.cc
  void complete(Payload* payload, ucs_status_t status);
  bool take_received(Plane::Received& received);
  static void on_receive_done(void* request, ucs_status_t status, size_t bytes, void* payload) noexcept;

  // replace.cc
  void on_stuck(Plane& plane) override;
  void replace_local();
  void progress_retired();
  bool is_done_with(const Plane& plane);

  template <class Visit>
  void each_plane(Visit&& visit) {
    if (local_ != nullptr) visit(*local_);
    if (net_ != nullptr) visit(*net_);
    for (const auto& plane : retired_) visit(*plane);
  }

  UcxOptions options_;
  Loop& loop_;
  Events* events_ = nullptr;
  TransportCounters counters_;
  bool cma_ = false;
  bool closing_down_ = false;

  // Leaked, with the planes, in the one case where UCX does not give back what is in them.
  struct Pools {
    EndpointTable endpoints;
    Pool<Link> links;
    Pool<SendOp> sends;
    Pool<LongHeader> long_headers;
    Pool<Payload> payloads{kPayloadsMax};
  };
  std::unique_ptr<Pools> pools_ = std::make_unique<Pools>();
  EndpointTable& endpoints_ = pools_->endpoints;
  Pool<Link>& links_ = pools_->links;
  std::size_t strangers_ = 0;  // endpoints that are neither accepted nor closing
  List<Link, &Link::broken> broken_;
  Deadlines deadlines_{*this};

  Encoder encoder_;
  alignas(16) std::array<std::byte, kHeaderBytesMax> encoded_;
  Pool<SendOp>& sends_ = pools_->sends;
  Pool<LongHeader>& long_headers_ = pools_->long_headers;
  CompletionQueue<SendOp> sent_;
  List<SendOp, &SendOp::under_way> orphans_;
  TimerNode orphan_timer_;

  Message inbound_{Ping{}};  // decoded in place
  Pool<Payload>& payloads_ = pools_->payloads;

  std::unique_ptr<Plane> local_;
  std::unique_ptr<Plane> net_;
  std::vector<std::unique_ptr<Plane>> retired_;  // not on the loop: see progress_retired()
  TimerNode retired_timer_;
  std::uint64_t replacing_ = 0;  // the loop's watch for it; 0: none
  Fd turn_;                      // always readable
};

}  // namespace sidecar
