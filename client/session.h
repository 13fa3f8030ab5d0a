// A client's side of the protocol: the calls under way on one connection to one sidecar. No I/O and no clock
// of its own, so that a test drives it over a fake transport.
//
//   session.cc       link, deadlines, loss, dispatch
//   session_send.cc  send, allocate, and the plain requests
//   session_fill.cc  large sends of the caller's memory
//   session_recv.cc  what arrives, and giving it up again
//
// Threads: loop thread only, apart from releases(). Results are set on the loop thread; a callback behind one
// may start new calls at once, so nothing here holds on to an iterator or an Op while it reports.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>

#include "client/mappings.h"
#include "client/op.h"
#include "client/releases.h"
#include "core/ports.h"
#include "core/timer_heap.h"

namespace sidecar::client_internal {

struct SessionOptions {
  Rank rank = kNoRank;  // of the sidecar, for error reports
  std::uint64_t grace_ns = 2 * kSecond;
  bool map_arenas = true;
  bool writable_views = false;
  std::function<TimeNs()> now;
  MapArena map;
  // Of an earlier connection, made as that instance, no view and no buffer is left. Any thread, and not while
  // the session is ending; may be empty.
  std::function<void(InstanceId instance)> let_go{};
};

class Session final : public Events {
 public:
  enum class LinkState : std::uint8_t { kNone, kConnecting, kUp, kDown };

  Session(SessionOptions options, Transport& transport, std::weak_ptr<Keeper> keeper);
  // The transport is gone already, so that nothing uses a call's memory any more.
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // One attempt; may be repeated whenever the one before, or the connection that it made, has ended. Calls,
  // views and buffers of an earlier connection have nothing to do with the new one.
  void connect(const ConnectOptions& options, const Hello& hello);
  // Maps the arena of the sidecar to be connected to, for allocate and recv. False: bytes will be sent
  // instead.
  bool map_own_arena(const ArenaInfo& arena);
  [[nodiscard]] bool maps_own_arena() const { return own_arena_.data != nullptr; }

  // Sends the request and takes over the call. `payload` lives until the call's outcome is reported.
  void start(std::unique_ptr<Op> op, Message& message, ConstBytes payload);
  void cancel(RequestId request);
  // Every call ends with `why`; those whose memory the transport still reads, as soon as it has finished.
  void end_all(const Failure& why);

  // After each round of events: gives up what is pending, copies a piece of what is sent. True: something
  // was.
  bool step();
  [[nodiscard]] TimeNs next_deadline() const { return timers_.next(); }
  void on_timer(TimeNs now);

  // Says goodbye; over() once that is on its way, or when there is nobody to tell.
  void say_goodbye();
  [[nodiscard]] bool over() const { return state_ != LinkState::kUp || goodbye_sent_; }
  void close_link(const Failure& why);

  [[nodiscard]] LinkState link_state() const { return state_; }
  [[nodiscard]] bool up() const { return state_ == LinkState::kUp; }  // any thread
  // Of the protocol, as the sidecar chose it. Any thread, once it was up.
  [[nodiscard]] std::uint16_t version() const { return version_; }
  [[nodiscard]] const Failure& why_down() const { return why_down_; }
  [[nodiscard]] std::size_t under_way() const { return ops_.size(); }
  [[nodiscard]] ReleaseQueue& releases() { return releases_; }
  // Memory for Client::allocate when the arena is not mapped.
  static Buffer private_buffer(Dtype dtype, std::vector<std::uint64_t> shape, std::uint64_t bytes);

  Result<HelloAck> on_hello(LinkId link, const Hello& hello) override;
  void on_link_up(LinkId link, const HelloAck& answer) override;
  void on_link_down(LinkId link, const Error& why) override;
  void on_message(LinkId link, const Message& message, const Incoming& incoming) override;
  void on_bad_message(LinkId link, const Message& rest, const Incoming& incoming, const Error& why) override;
  void on_sent(Token token, const Status& status) override;
  void on_received(Token token, const Status& status) override;
  void on_resolved(Rank rank, const Result<PeerRecord>& record) override;
  void on_process_gone(Token token) override;

 private:
  static constexpr Token kGoodbyeToken = ~Token{0};

  // session.cc
  Op* find(RequestId request);
  [[nodiscard]] bool understood(const Message& message) const;
  void report(Op& op, const Failure& failure);
  template <class T>
  void report_value(Op& op, Expected<T> value);
  void erase_if_idle(RequestId request);
  void lose(const Failure& why);
  void overdue(RequestId request);
  void send_plain(const Message& message) { transport_.send(link_, message, {}, false, 0); }

  // session_send.cc
  void on_send_reply(Op& op, const Reply& reply);
  void on_plain_reply(Op& op, const Reply& reply);
  void on_allocate_reply(Op& op, const Reply& reply);
  void capture_if_over(Op& op);
  void settle_send(Op& op);
  bool take_eager_credit(std::uint64_t bytes);

  // session_fill.cc
  [[nodiscard]] bool fills_itself(const Message& message, ConstBytes payload) const;
  void ask_for_room(Op& op, Message& message, ConstBytes payload);
  void on_room(Op& op, const Reply& reply);
  bool fill_step();
  void end_fill(Op& op);
  void abandon_fill(Op& op);

  // session_recv.cc
  void on_reply(const Reply& reply, const Incoming& incoming);
  void on_stale_reply(const Reply& reply, const Incoming& incoming);
  void on_recv_reply(Op& op, const Reply& reply, const Incoming& incoming);
  void view_in_arena(Op& op, const Reply& reply);
  void ask_by_value(Op& op);
  bool flush_releases();

  SessionOptions options_;
  Transport& transport_;
  std::weak_ptr<Keeper> keeper_;
  std::atomic<LinkState> state_ = LinkState::kNone;  // written by the loop's thread only
  LinkId link_;
  Epoch epoch_ = 0;
  std::shared_ptr<Connection> connection_;
  std::atomic<std::uint16_t> version_ = 0;
  Failure why_down_;
  bool goodbye_sent_ = false;

  TimerHeap timers_;
  std::unordered_map<RequestId, std::unique_ptr<Op>> ops_;
  Mappings mappings_;
  MappedRegion own_arena_;  // writable, for buffers
  ReleaseQueue releases_;
  std::deque<RequestId> filling_;  // those that have room; some may have ended
  Message scratch_;                // a Message is 3 KiB: built in place

  // Eager bytes on this link: sent, and of those consumed by the sidecar.
  std::uint64_t eager_sent_ = 0;
  std::uint64_t eager_consumed_ = 0;
};

template <class T>
void Session::report_value(Op& op, Expected<T> value) {
  abandon_fill(op);
  timers_.cancel(op.timer);
  op.reported = true;
  std::get<StatePtr<T>>(op.result)->set(std::move(value));
}

}  // namespace sidecar::client_internal
