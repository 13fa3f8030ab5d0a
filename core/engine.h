// The sidecar's logic: what it holds, what it sends, who waits. One engine per process, single-threaded, no
// I/O and no clock of its own: it acts through ports (core/ports.h) and is told everything through Events, so
// that a whole cluster of engines runs in one thread of a test.
//
// A chunk's way through here:
//   it comes from a client   on_send       (engine_send.cc)      takes slots or parks, brings the bytes in
//   it is handed on          issue         (engine_outgoing.cc)  to each destination, whole or in parts
//   it leaves                transmit      (engine_peers.cc)     a transfer, until Ack
//   it arrives from a peer   on_chunk      (engine_receive.cc)   is admitted or not
//   its bytes move in        take_in       (engine_arrival.cc)   or wait for room
//   somebody waits for it    on_recv       (engine_recv.cc)
//   it is freed              on_mark_done  (engine_recv.cc), release (engine.cc)
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/chunk_store.h"
#include "core/client_table.h"
#include "core/engine_options.h"
#include "core/engine_stats.h"
#include "core/memory.h"
#include "core/outbox.h"
#include "core/peer_table.h"
#include "core/ports.h"
#include "core/timer_heap.h"

namespace sidecar {

class Engine final : public Events, public DeviceEvents {
 public:
  // `device`: the host's GPUs; null: sends from GPU memory are refused.
  Engine(const EngineOptions& options, Transport& transport, Directory& directory, Host& host,
         Device* device = nullptr);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // --- control
  // -------------------------------------------------------------------------------------------------------
  // A client may connect once it is registered. Registering again replaces its hints and its place for what
  // it says from now on; its connection, its views and what is under way stay as they are.
  Status register_client(const ClientRegistration& registration);
  // After acting on all that had arrived from it. An unknown one is ignored.
  void unregister_client(InstanceId client);
  // At once, as if its connection had broken: its lease has ended.
  void end_client(InstanceId client, const char* why);
  // The process of client `by` says that it was client `before`, whose connection has ended, and looks at
  // nothing of that any more: no need to wait for its end. Ignored when `before` was another process's.
  void let_go(InstanceId by, InstanceId before);
  // Whether it is registered: its connection has not ended yet, or not begun.
  [[nodiscard]] bool knows_client(InstanceId client) { return clients_.find(client) != nullptr; }

  // What the membership has to tell of other ranks; each change once, in order. A member that is gone is lost
  // (rule 8) unless it is still heard of; once silent for the ping time-out it is lost, without waiting for
  // the peer time-out. An instance whose rank another one has taken never gets it back.
  void member_joined(Rank rank, InstanceId instance);
  void member_replaced(Rank rank, InstanceId before, InstanceId instance);
  void member_gone(Rank rank, InstanceId instance);

  // From now on new sends are refused, from clients, and of new data also from peers; drained() when nothing
  // is under way to anybody.
  void drain();
  [[nodiscard]] bool drained() const;
  // Chunks that are here, or coming in, and that consumers have not marked done; stops counting at `enough`.
  [[nodiscard]] std::size_t undone(std::size_t enough = SIZE_MAX) const;
  // Tells clients and peers that this process goes away. Call once drained or out of patience.
  void say_goodbye();

  [[nodiscard]] EngineStats stats() const;
  // Chunks held or waited for, from the `skip`th on, at most `limit`.
  [[nodiscard]] std::vector<ChunkInfo> chunks(std::size_t skip, std::size_t limit) const;
  [[nodiscard]] std::vector<PeerInfo> peers() const;
  void check_invariants();  // aborts on a contradiction: debug builds and tests

  // --- the loop
  // --------------------------------------------------------------------------------------------------------
  // Runs what is due: timers, and those who waited for room. Call after each round of events and when
  // next_timer() is due.
  void step();
  [[nodiscard]] TimeNs next_timer() const { return timers_.next(); }

  // --- Events
  // ------------------------------------------------------------------------------------------------------------
  Result<HelloAck> on_hello(LinkId link, const Hello& hello) override;
  void on_link_up(LinkId link, const HelloAck& answer) override;
  void on_link_down(LinkId link, const Error& why) override;
  void on_message(LinkId link, const Message& message, const Incoming& incoming) override;
  void on_bad_message(LinkId link, const Message& rest, const Incoming& incoming, const Error& why) override;
  void on_sent(Token token, const Status& status) override;
  void on_received(Token token, const Status& status) override;
  void on_resolved(Rank rank, const Result<PeerRecord>& record) override;
  void on_process_gone(Token token) override;
  void on_copied(Token token, std::uint64_t bytes, const Status& status) override;

 private:
  // What to do when the transport or the host has finished something.
  enum class What : std::uint8_t {
    kFlight,
    kArrived,
    kShardReceived,
    kShardCopied,
    kQuarantine,
    kPeerEnded,
    kUnregistered,
  };
  struct Completion {
    What what = What::kFlight;
    Slot* slot = nullptr;        // kFlight: one reference
    Arrival* arrival = nullptr;  // kArrived
    Shard* shard = nullptr;      // kShardReceived, kShardCopied
    Client* client = nullptr;    // kQuarantine: a client that is gone, or
    Quarantine* peer = nullptr;  // kQuarantine: what was lent to a peer's process
    Rank rank = kNoRank;         // kPeerEnded: whose process,
    InstanceId instance = 0;     // and which one; kUnregistered: of the client
  };
  enum class Timer : std::uint32_t { kTick, kWaiter, kShard, kAllocation, kRetry, kOrphans };

  static constexpr Error kNoError{Errc::kOk, kNoRank, "", 0, 0};
  static constexpr TimeNs kBackoffFirst = 20 * kMillisecond;
  static constexpr TimeNs kBackoffMax = 1 * kSecond;
  static constexpr TimeNs kIdleDatumNs = 6 * kTombstoneNs;
  static constexpr TimeNs kRegistrationNs = 60 * kSecond;  // for a registered client to connect
  // A shard leaves in at most this many parts, rounded up; all shards of a chunk then in at most kPartsMax.
  static constexpr std::uint32_t kPartsOfOne = 32;
  static constexpr std::size_t kOrphansAtOnce = 1024;  // freed in one step

  // engine.cc
  Token expect(const Completion& completion);
  void set_timer(TimerNode& node, Timer kind, void* object, TimeNs at);
  [[nodiscard]] TimeNs deadline(std::uint64_t timeout_ns) const;
  [[nodiscard]] TimeNs tick_interval() const;
  void on_timer(TimerNode& timer);
  void tick();
  void release(Slot* slot);
  void drop_reference(Slot* slot);
  void consume(LinkId link, const Incoming& incoming);
  void discard(LinkId link, const Incoming& incoming);
  void report_credit(Link& link, bool resume);
  void send_plain(LinkId link, const Message& message) { transport_.send(link, message, {}, false, 0); }
  Link* find_link(LinkId id);
  Link& add_link(LinkId id, Link::Kind kind);

  // engine_faults.cc: what others do against the protocol
  void protocol_error(Link& link, const char* what);
  void reject_transfer(Link& link, const Transfer& transfer, const Error& why);

  // engine_client.cc: clients, their allocations and views
  Result<HelloAck> hello_from_client(LinkId link, const Hello& hello);
  void on_client_message(Link& link, const Message& message, const Incoming& incoming);
  void on_allocate(Client& client, const Allocate& allocate);
  void answer_allocation(Allocation& allocation);
  void drop_allocation(Allocation& allocation);
  void on_release(Client& client, const Release& give_up);
  void remove_grant(Grant& held);
  void drop_grant(Grant& held);
  void on_cancel(Client& client, const Cancel& cancel);
  void client_gone(Client& client, bool proven);
  void forget_client(Client& client);

  // engine_fill.cc: places that clients fill for their sends
  void offer_room(Shard& shard);
  void on_filled(Client& client, const Filled& filled);
  void drop_fill(Allocation& allocation, const Error& why);

  // engine_limits.cc: what one client may cost the others
  [[nodiscard]] Status may_call(std::size_t under_way) const;
  [[nodiscard]] Status may_hold(const Client& client, std::uint64_t bytes) const;
  Datum* name_datum(Client& client, const DataId& id, const Hash128& hash);
  void unname_datum(Datum& datum);
  void charge(Client& client, Shard& shard);
  void uncharge(const Shard& shard);
  [[nodiscard]] Error too_many_ids() const;

  // engine_orphans.cc: what is here while nobody is
  void note_clients();
  void free_orphans();

  // engine_recv.cc: what consumers do
  void on_recv(Client& client, const Recv& recv);
  void wait_for(Client& client, const Recv& recv, Datum& datum);
  void remove_waiter(Waiter& waiter);
  void drop_waiter(Waiter& waiter);
  void end_waiter(Waiter& waiter, const Error& error);
  void end_waiters(ChunkEntry& entry, const Error& error);
  void on_mark_done(Client& client, const MarkDone& done);
  void forfeit(Client& client, const Hash128& id, ChunkIndex chunk);
  void hide_chunk(Client& client, Datum& datum, ChunkIndex chunk);
  void free_entry(ChunkEntry& entry, const Client* forfeits);
  void answer_chunk(Client& client, RequestId request, ChunkEntry& entry, bool by_value);
  void answer(const Client& client, RequestId request, const Error& error);
  void answer_end(const Client& client, RequestId request, const DataId& id, ChunkIndex chunk,
                  ChunkIndex num_chunks);
  void answer_ok(const Client& client, RequestId request) { answer(client, request, kNoError); }
  Grant& grant(Client& client, ChunkEntry& entry);

  // engine_send.cc: from a client's send to the outbox
  void on_send(Link& link, const Send& send, const Incoming& incoming);
  void on_close_stream(Client& client, const CloseStream& close);
  Status check_send(const Client& client, const Send& send, const Incoming& incoming);
  Status check_source(const Client& client, const Send& send, const Incoming& incoming);
  [[nodiscard]] Status check_known(const Client& client, const Destinations& destinations);
  [[nodiscard]] Status check_joins(const Outgoing& outgoing, const Client& client, const Send& send) const;
  Outgoing& make_outgoing(const Destinations& destinations);
  Shard& add_shard(Outgoing& outgoing, Client& client, const Slice& slice, RequestId request,
                   std::uint64_t timeout_ns);
  bool take_room(Outgoing& outgoing);
  void start_shard(Shard& shard, const std::byte* inline_data);
  void connect_early(Outgoing& outgoing);
  void shard_moved(Shard& shard, const Status& status);
  void shard_in(Shard& shard);
  void pump_send_room();

  // engine_outgoing.cc: from the outbox to the destinations, ends and answers
  void issue(Outgoing& outgoing, Shard& shard);
  void choose_parts(Outgoing& outgoing);
  void deliver(Destination& destination, Delivery::Kind kind, Slice part);
  [[nodiscard]] std::uint64_t parts_key(const Destination& destination) const;
  [[nodiscard]] bool must_wait(const Destination& destination);
  void let_next_attempt_go(Destination& destination);
  void settle(Delivery& delivery, const Error& result);
  void note_failure(Destination& destination, Errc code, const Text& text);
  void check_destination(Destination& destination);
  [[nodiscard]] bool must_retract(Destination& destination);
  [[nodiscard]] bool attempted_again(const Destination& destination);
  void finish_if_over(Outgoing& outgoing);
  void answer_shard(Shard& shard, const Error* error);
  void drop_outgoing(Outgoing& outgoing);
  void leave_lines(Outgoing& outgoing);
  void abandon(Outgoing& outgoing, const Shard* cause, const Error& why, const Error& others);
  void give_up(Destination& destination, const Error& why);
  void end_shard(Shard& shard, const Error& why);
  void shard_lost(Shard& shard, const Error& why);
  [[nodiscard]] Error why_late(const Shard& shard) const;

  // engine_peers.cc: transfers to peers
  Peer& peer_of(Rank rank);
  void enqueue(Delivery& delivery);
  void pump(Peer& peer);
  void transmit(Peer& peer, Delivery& delivery);
  void on_ack(Peer& peer, const Ack& ack);
  void delivered(Delivery& delivery);
  void on_refuse(Peer& peer, const Refuse& refuse);
  void on_credit(Link& link, const Credit& credit);
  void unlink(Slot* slot);
  void drop_lost_arenas();
  void on_unlink(Link& link, const Unlink& message);
  void end_lent(Delivery& delivery);
  void new_instance(Peer& peer, InstanceId instance);
  enum class Loss { kReplaced, kProven, kSilent };  // by a new instance; its process ended; not heard of
  void lose_peer(Peer& peer, const Error& why, Loss loss);
  void fail_begun(Peer& peer, const Error& why);
  void drop_unlinks(Peer& peer);
  void quarantine_lent(Peer& peer, InstanceId lost);
  void end_quarantine(Quarantine& quarantine);

  // engine_links.cc: links to peers
  Result<HelloAck> hello_from_peer(LinkId link, const Hello& hello);
  [[nodiscard]] std::size_t unsettled(const Peer& peer) const;
  [[nodiscard]] bool wants_link(const Peer& peer) const;
  void want_link(Peer& peer);
  void begin_link(Peer& peer);
  void set_state(Peer& peer, LinkState state);
  bool map_foreign(const ArenaInfo& info);
  void link_failed(Peer& peer);
  void watch_for_end(Peer& peer);
  bool has_ended(const Peer& peer) const;
  void lose_ended(Peer& peer);
  void close_links(Peer& peer);
  void check_peer(Peer& peer);

  // engine_members.cc: what the membership says of peers
  void check_departed(Peer& peer);
  [[nodiscard]] bool can_reach(Rank rank);
  [[nodiscard]] static bool is_retired(const Peer& peer, InstanceId instance);

  // engine_receive.cc: what peers send
  void on_peer_message(Link& link, const Message& message, const Incoming& incoming);
  bool is_new(Link& link, const Transfer& transfer);
  void ack(Peer& peer, LinkId link, Sequence sequence, const Error& result);
  void send_ack(Link& link, Sequence sequence, std::uint32_t count, const Error& result);
  void owe_ack(Link& link, Sequence sequence);
  void pay_acks();
  void on_chunk(Link& link, const Chunk& chunk, const Incoming& incoming);
  void describe(ChunkEntry& entry, const ChunkMeta& meta, Peer& source);
  [[nodiscard]] std::uint64_t receive_unit(const ChunkMeta& meta) const;
  void on_chunk_ref(Link& link, const ChunkRef& ref);
  Slot* foreign_slot(ForeignArena& arena, const ChunkRef& ref, const Peer& owner);
  void make_ready(ChunkEntry& entry, LinkId link, Sequence sequence);

  // engine_arrival.cc: bytes on their way in
  ChunkEntry* find_begun(const Peer& peer, const DataId& id, const Hash128& hash, ChunkIndex chunk);
  [[nodiscard]] Status check_part(const ChunkEntry& entry, const Chunk& chunk) const;
  void on_further_part(ChunkEntry& entry, Link& link, const Chunk& chunk, const Incoming& incoming);
  Arrival& add_arrival(ChunkEntry& entry, LinkId link, const Chunk& chunk, const Incoming& incoming);
  void remove_arrival(Arrival& arrival);
  void back_to_absent(ChunkEntry& entry);
  void reset_entry(ChunkEntry& entry);
  bool start_receive(ChunkEntry& entry, const std::byte* inline_data);
  std::uint64_t spare_for(const ChunkEntry& entry);
  void begin_receiving(ChunkEntry& entry);
  void take_all_in(ChunkEntry& entry, const std::byte* inline_data);
  void take_in(Arrival& arrival, const std::byte* inline_data);
  void landed(Arrival& arrival);
  void settle_arrival(ChunkEntry& entry, LinkId link, Sequence sequence, const Error& result);
  void arrival_failed(Arrival& arrival);
  void drop_if_void(ChunkEntry& entry);
  void drop_parts(ChunkEntry& entry);
  void on_retract(Link& link, const Retract& retract);
  void drop_parked_on(LinkId link);
  void drop_parked_from(const Peer& peer);
  template <class Match>
  void drop_parked(Match&& match);
  void on_withdraw(Link& link, const Withdraw& withdraw);

  // engine_room.cc: who may wait for room here, and who comes back for it later
  void pump_receive_room();
  [[nodiscard]] bool must_turn_away(const Peer& peer) const;
  void turn_away(Arrival& arrival);
  void refuse(Peer& peer, LinkId link, Sequence sequence);
  enum class Resume { kAll, kThoseWithRoom };
  void resume_refused(Resume whom);
  [[nodiscard]] std::size_t share_of_line() const;
  void change_crowd(Peer& peer, bool owed_resume, std::size_t parked);
  void left_line(Peer& peer) { change_crowd(peer, peer.owed_resume, peer.parked - 1); }

  // engine_datum.cc: a datum as a whole
  Result<ChunkEntry*> admit(const Peer& peer, const ChunkMeta& meta, const Hash128& hash, bool in_parts);
  Status agree(Datum& datum, const Peer& peer, bool stream);
  [[nodiscard]] Error refuse_new() const;
  Status close_datum(const Peer& peer, const StreamEnd& end);
  void on_stream_end(Link& link, const StreamEnd& end);
  void count_known(Datum& datum, ChunkIndex num_chunks);
  void update_awaited(Datum& datum);
  void note_size(Datum& datum, std::uint64_t bytes);
  void keep_room(Datum& datum);
  void chunk_lost(const Peer& peer, const Retract& retract, const Hash128& hash);
  [[nodiscard]] static Error chunk_gone(const Datum& datum);
  void lose_datum(Datum& datum);
  void tidy(Datum* datum);
  void erase_datum(Datum* datum);
  void forget_idle_data(TimeNs now);

  const EngineOptions options_;
  Transport& transport_;
  Directory& directory_;
  Host& host_;
  Device* const device_;
  const std::shared_ptr<const Ranks> alone_;  // the group of a client that has none
  TimerHeap timers_;
  Memory memory_;
  ChunkStore store_;
  Outbox outbox_;
  ClientTable clients_;
  PeerTable peers_;
  Pool<Completion> completions_;
  std::deque<Link> links_;  // by LinkId::index; addresses are stable
  TimerNode tick_;
  TimeNs last_tick_ = 0;
  Message scratch_;  // what is sent is built here: a Message is 3 KiB
  EngineCounters counters_;
  std::size_t owed_resumes_ = 0;  // peers with owed_resume
  std::size_t crowd_ = 0;         // those, and peers with anything parked
  std::vector<LinkId> links_owed_acks_;
  std::uint32_t connecting_ = 0;                              // peers that are being connected to
  TimeNs alone_since_ = kNever;                               // no client is registered; kNever: some are
  TimerNode orphans_;                                         // more of them are to be freed
  std::uint64_t orphans_burst_ = 0, orphan_bytes_burst_ = 0;  // freed, and not yet logged
  bool send_room_changed_ = false;                            // somebody left the line for room
  bool receive_room_changed_ = false;  // somebody left the parked ones, or was refused for no lack of room
  bool draining_ = false;
};

}  // namespace sidecar
