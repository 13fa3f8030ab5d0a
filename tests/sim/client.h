// An executor's client, speaking the protocol itself. It keeps what it was lent and looks at it again and
// again: memory that changes while somebody may look at it is a failure of the test, whatever the test is
// about.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/process.h"

namespace sidecar::sim {

struct ClientSpec {
  Rank rank = 0;
  std::string machine{};  // empty: its sidecar's
  std::uint64_t send_unit_bytes = 0;
  std::uint64_t receive_unit_bytes = 0;
  bool connect = true;
  std::vector<Rank> group{};  // sorted, `rank` is its first; empty: just `rank`
  Rank member = kNoRank;      // which of them this is; kNoRank: the first
};

struct SendSpec {
  std::string id{};
  ChunkIndex chunk = 0;
  ChunkIndex num_chunks = 1;
  std::uint64_t bytes = 256;
  std::vector<std::vector<Rank>> to{};
  bool stream = false;  // num_chunks counts as 0
  TimeNs timeout = 600 * kSecond;
  std::uint64_t unit_bytes = 0;
  ChunkKind kind = ChunkKind::kTensor;
  Dtype dtype = Dtype::kU8;
  std::vector<std::uint64_t> shape{};  // empty: {bytes / element}
  std::uint32_t codec = 0;
  Source source = Source::kPayload;  // objects up to kInlineBytesMax go inline whatever this says
  std::uint64_t slot = 0;            // kSlot: an allocation of this client
  bool eager = false;                // kPayload up to kEagerBytesMax: at once, if the credits allow
  bool fills = true;                 // kFill: as soon as it is told where; otherwise fill_room() does
  bool together = false;             // its group's members each bring a shard, all with the same
  std::uint64_t salt = 0;            // SimClient::new_salt(); 0: one of its own
};

// What became of a request.
struct Outcome {
  bool is_final = false;
  bool captured = false;
  bool has_room = false;
  int finals = 0;  // more than one is a failure
  Reply reply{};
  TimeNs asked_at = 0;
  TimeNs captured_at = 0;
  TimeNs at = 0;
  std::optional<std::uint64_t> salt;  // recv: which send's bytes these are
  [[nodiscard]] bool ok() const { return is_final && reply.code == Errc::kOk; }
  [[nodiscard]] std::string text() const { return std::string(reply.text.view()); }
};

void PrintTo(const Outcome& outcome, std::ostream* out);  // for GoogleTest

// A view this client holds: it may look at these bytes.
struct View {
  ChunkName name;
  std::uint64_t salt = 0;
  ConstBytes bytes;
  std::uint64_t offset = 0;
  InstanceId arena = 0;
  InstanceId through = 0;  // the sidecar that told of it
  std::uint32_t count = 0;
};

class SimClient final : public SimProcess, public Events {
 public:
  SimClient(SimWorld& world, const ClientSpec& spec);

  // Registers with the sidecar of its rank and connects.
  void connect();
  void disconnect();  // Goodbye
  void cut_off();     // gives its connection up without a word, and lives on
  void forget_all();  // looks at nothing any more, and says so to nobody
  [[nodiscard]] bool connected() const { return up_; }
  [[nodiscard]] const Error& down_reason() const { return down_; }
  [[nodiscard]] InstanceId instance() const { return instance_; }
  [[nodiscard]] Rank rank() const { return spec_.rank; }
  [[nodiscard]] bool looks_into(InstanceId arena, InstanceId through) const;

  RequestId send(const SendSpec& spec);
  std::uint64_t new_salt(const SendSpec& spec) { return world().contents().new_salt({spec.id, spec.chunk}); }
  RequestId recv(const std::string& id, ChunkIndex chunk = 0, TimeNs timeout = 600 * kSecond,
                 bool by_value = false);
  RequestId mark_done(const std::string& id, ChunkIndex chunk = 0);
  RequestId allocate(std::uint64_t bytes, TimeNs timeout = 600 * kSecond, std::uint64_t unit_bytes = 0);
  RequestId close_stream(const std::string& id, ChunkIndex num_chunks,
                         const std::vector<std::vector<Rank>>& to, TimeNs timeout = 600 * kSecond);
  void cancel(RequestId target);  // and of a send with kFill: writes no more
  // kFill: copies the bytes to where it was told, whether the send is over or not; then says so, once.
  void write_room(RequestId request);
  void fill_room(RequestId request);
  [[nodiscard]] std::uint64_t room(RequestId request) const { return filling_.at(request).offset; }
  [[nodiscard]] bool maps_home() const { return home_ != nullptr; }
  void release_view(std::uint64_t view);
  void release_all_views();
  void release_slot(std::uint64_t offset);
  RequestId raw(const Message& message, RequestId request);  // as it is; for what a good client never sends
  void say(const Message& message) { transport().send(link_, message, {}, false, 0); }  // asks for nothing
  void raw_payload(const Message& message, std::uint64_t bytes);  // the same, with an eager payload

  [[nodiscard]] const Outcome& outcome(RequestId request) const { return outcomes_.at(request); }
  [[nodiscard]] bool over(RequestId request) const { return outcomes_.at(request).is_final; }
  [[nodiscard]] std::size_t open_requests() const;
  [[nodiscard]] const std::map<std::uint64_t, View>& views() const { return views_; }
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& slots() const {
    return slots_;
  }  // offset -> bytes
  void check_views();

  // Events
  Events& events() override { return *this; }
  void after_event() override;
  void died() override;
  Result<HelloAck> on_hello(LinkId link, const Hello& hello) override;
  void on_link_up(LinkId link, const HelloAck& answer) override;
  void on_link_down(LinkId link, const Error& why) override;
  void on_message(LinkId link, const Message& message, const Incoming& incoming) override;
  void on_bad_message(LinkId, const Message&, const Incoming&, const Error&) override {}
  void on_sent(Token token, const Status& status) override;
  void on_received(Token token, const Status& status) override;
  void on_resolved(Rank, const Result<PeerRecord>&) override {}
  void on_process_gone(Token) override {}

 private:
  struct Payload {  // bytes on their way out
    std::vector<std::byte> bytes;
  };
  struct Filling {  // bytes to be copied into the arena
    ChunkName name;
    Send message;
    std::uint64_t salt = 0;
    std::uint64_t offset = 0;
    bool at_once = true;
  };
  struct Arriving {  // bytes on their way in
    std::vector<std::byte> bytes;
    Reply reply;
  };
  RequestId open(const ChunkName* name);
  void send_payload(const SendSpec& spec, const Send& message, std::uint64_t salt);
  void on_room(const Reply& reply);
  void send_from_gpu(const SendSpec& spec, Send& message, std::uint64_t salt);
  void on_reply(const Reply& reply, const Incoming& incoming);
  void on_view(const Reply& reply, Outcome& outcome);
  void finish(const Reply& reply);
  void check_view(const View& view);

  const ClientSpec spec_;
  const InstanceId instance_;
  InstanceId home_instance_ = 0;
  LinkId link_;
  bool up_ = false;
  Error down_{};
  std::uint64_t last_request_ = 0;
  Token last_token_ = 0;
  std::map<RequestId, Outcome> outcomes_;
  std::map<RequestId, ChunkName> names_;
  std::map<Token, Payload> sending_;
  std::map<Token, Arriving> arriving_;
  std::map<RequestId, Filling> filling_;
  std::map<std::uint64_t, View> views_;
  std::map<std::uint64_t, std::uint64_t> slots_;
  std::map<RequestId, std::uint64_t> allocating_;
  std::set<ChunkName> done_;
  std::map<InstanceId, std::shared_ptr<SimArena>> arenas_;
  std::shared_ptr<SimArena> home_;  // the arena of its own sidecar, which it may write to
  std::uint64_t eager_sent_ = 0, eager_consumed_ = 0;
};

Destinations destinations(const std::vector<std::vector<Rank>>& to);

}  // namespace sidecar::sim
