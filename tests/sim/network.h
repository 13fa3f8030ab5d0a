// The network of a SimWorld: links of one or two endpoints between processes, with delays, losses and late
// completions, as hostile as core/ports.h allows:
//   - messages without payload keep their order on a link, messages with payload go beside them and may
//   overtake
//   - eager bytes are read at some time before on_sent, rendezvous bytes when the receiver's transfer ends
//   - a sender's completion says nothing about arrival; completions come before or after on_link_down
//   - a link that breaks loses what was under way, and a broken receive leaves garbage behind
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/ports.h"

namespace sidecar::sim {

class SimProcess;
class SimWorld;
struct SimLink;

struct Packet {
  std::shared_ptr<SimLink> link;
  int from = 0;  // which end sent it
  Message message;
  ConstBytes source;             // the sender's memory, to be read at most once
  std::vector<std::byte> bytes;  // eager: what was read
  bool has_payload = false;
  bool rendezvous = false;
  bool read = false;  // source is of no interest any more
  bool lost = false;
  bool completed = false;  // at the sender
  Token token = 0;
  std::size_t position = 0;  // in the sender's list
};
using PacketRef = std::shared_ptr<Packet>;

struct SimLink {
  enum class State { kIdle, kConnecting, kUp, kGone };
  struct End {
    SimProcess* process = nullptr;
    LinkId id;
    State state = State::kIdle;
    std::array<TimeNs, 2> lane_busy_until{};  // towards this end: when the last message of that lane arrives
    std::vector<PacketRef> unfinished;        // sent from this end, not completed
    std::uint64_t eager_held = 0;             // arrived at this end, not yet received or discarded
  };
  std::array<End, 2> end;  // 0 connected, 1 accepted
  ConnectOptions options;
  Hello hello;
  bool broken = false;          // nothing sent from now on arrives;
  std::array<bool, 2> flush{};  // what that end had sent before still does
};
using LinkRef = std::shared_ptr<SimLink>;

// What one process sees of the network.
class SimTransport final : public Transport {
 public:
  explicit SimTransport(SimProcess& process) : process_(process) {}

  LinkId connect(const ConnectOptions& options, const Hello& hello) override;
  void send(LinkId link, const Message& message, ConstBytes payload, bool rendezvous, Token token) override;
  void receive(const Incoming& incoming, Bytes into, Token token) override;
  void after_arrived(LinkId link, Token token) override;
  void discard(const Incoming& incoming) override;
  void close(LinkId link) override;
  LinkFacts facts(LinkId link) const override;

  // Payloads handed out and not yet ended: anything left at the end of a test is a leak.
  [[nodiscard]] std::size_t incoming_open() const { return incoming_open_; }
  [[nodiscard]] std::uint64_t eager_held_max() const { return eager_held_max_; }
  // Counted by kind of message, as numbered in Message.
  [[nodiscard]] std::uint64_t sent(std::size_t kind) const { return sent_[kind]; }
  [[nodiscard]] std::uint64_t rendezvous_sent() const { return rendezvous_sent_; }
  [[nodiscard]] std::uint64_t links_made() const { return links_made_; }
  // Those that it has with that process now.
  [[nodiscard]] std::vector<LinkId> links_with(const SimProcess& other) const;

 private:
  friend class SimNetwork;
  struct LinkCell {
    std::uint32_t generation = 1;
    LinkRef link;
    int side = 0;
  };
  struct IncomingCell {
    std::uint32_t generation = 1;
    PacketRef packet;
  };
  struct Receiving {  // a rendezvous that is moving
    PacketRef packet;
    Bytes into;
    Token token = 0;
    bool over = false;
  };
  LinkId add(const LinkRef& link, int side);
  void remove(LinkId id);
  [[nodiscard]] const LinkCell* find(LinkId id) const;
  Incoming hand_out(const PacketRef& packet);
  PacketRef take_back(const Incoming& incoming);

  SimProcess& process_;
  std::vector<LinkCell> links_;
  std::vector<std::uint32_t> free_links_;
  std::vector<IncomingCell> incoming_;
  std::vector<std::uint32_t> free_incoming_;
  std::vector<std::shared_ptr<Receiving>> receiving_;
  std::size_t incoming_open_ = 0;
  std::uint64_t eager_held_max_ = 0;
  std::uint64_t links_made_ = 0;
  std::uint64_t rendezvous_sent_ = 0;
  std::array<std::uint64_t, std::variant_size_v<Message>> sent_{};
};

class SimNetwork {
 public:
  explicit SimNetwork(SimWorld& world) : world_(world) {}
  // What was still under way when the world ended: a link and its packets keep each other.
  ~SimNetwork() {
    for (const std::weak_ptr<SimLink>& each : links_) {
      const LinkRef link = each.lock();
      if (link == nullptr) continue;
      for (SimLink::End& end : link->end) end.unfinished.clear();
    }
  }
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // Both ends lose every link between them, with all that is under way.
  void reset(SimProcess& a, SimProcess& b);
  // Any link of that process, by chance; false: it has none.
  bool reset_some(SimProcess& process);
  void process_died(SimProcess& process);
  // Messages with payload between these two take this much longer from now on (0: as before).
  void slow_bulk(SimProcess& from, SimProcess& to, TimeNs extra);
  // Sees every message just before its receiver does; false: the link breaks there, and the message is lost
  // with it.
  void filter(std::function<bool(SimProcess& from, SimProcess& to, const Message&)> keep) {
    keep_ = std::move(keep);
  }
  // True: the message comes as bytes that make none; what is left of it then can still be read. Sees Hello
  // too, which always is one.
  void spoil(std::function<bool(SimProcess& from, SimProcess& to, Message&)> spoil) {
    spoil_ = std::move(spoil);
  }
  // Links between two processes that are up at both ends.
  [[nodiscard]] int links_up(const SimProcess& a, const SimProcess& b) const;

 private:
  friend class SimTransport;
  void hello_arrives(const LinkRef& link);
  void answer_arrives(const LinkRef& link, const Result<HelloAck>& answer);
  void ship(const PacketRef& packet);
  void arrive(const PacketRef& packet);
  void deliver(const PacketRef& packet);
  void complete(const PacketRef& packet, const Status& status);
  void complete_later(const PacketRef& packet, TimeNs delay, const Status& status);
  void transfer_ends(const std::shared_ptr<SimTransport::Receiving>& receiving);
  void transfer_fails(const std::shared_ptr<SimTransport::Receiving>& receiving);
  void end_down(const LinkRef& link, int side, const Error& why);
  void leave(const LinkRef& link, int side);
  void tell_other(const LinkRef& link, int side, TimeNs delay, const char* why);
  void break_link(const LinkRef& link);
  void settle_unread(const LinkRef& link, int side, bool lose);
  TimeNs delay_of(const SimLink& link, SimProcess& from, SimProcess& to, bool bulk);

  SimWorld& world_;
  std::vector<std::weak_ptr<SimLink>> links_;
  std::vector<std::pair<std::pair<std::int64_t, std::int64_t>, TimeNs>> slow_;
  std::function<bool(SimProcess&, SimProcess&, const Message&)> keep_;
  std::function<bool(SimProcess&, SimProcess&, Message&)> spoil_;
};

}  // namespace sidecar::sim
