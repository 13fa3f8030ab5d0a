// A session over a transport that only takes notes: the test plays the sidecar.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "client/arguments.h"
#include "client/parcel.h"
#include "client/session.h"

namespace sidecar::client_internal {

struct SentMessage {
  Message message;
  ConstBytes payload;
  bool rendezvous = false;
  Token token = 0;
};

class NotingTransport final : public Transport {
 public:
  LinkId connect(const ConnectOptions& options, const Hello& hello) override {
    connected_to = options;
    greeted_with = hello;
    return LinkId{++links, 1};
  }
  void send(LinkId link, const Message& message, ConstBytes payload, bool rendezvous, Token token) override {
    EXPECT_EQ(link, (LinkId{links, 1}));
    sent.push_back({message, payload, rendezvous, token});
  }
  void receive(const Incoming& incoming, Bytes into, Token token) override {
    receiving.push_back({incoming, into, token});
  }
  void after_arrived(LinkId /*link*/, Token /*token*/) override {
    ADD_FAILURE() << "no client asks for that";
  }
  void discard(const Incoming& incoming) override { discarded.push_back(incoming.id); }
  void close(LinkId /*link*/) override { ++closed; }
  LinkFacts facts(LinkId /*link*/) const override { return {}; }

  // The messages of one kind, in order.
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const SentMessage& one : sent) {
      if (const T* message = std::get_if<T>(&one.message)) found.push_back(*message);
    }
    return found;
  }

  struct Receiving {
    Incoming incoming;
    Bytes into;
    Token token = 0;
  };
  std::vector<SentMessage> sent;
  std::vector<Receiving> receiving;
  std::vector<Handle> discarded;
  std::optional<ConnectOptions> connected_to;
  std::optional<Hello> greeted_with;
  std::uint32_t links = 0;
  int closed = 0;
};

class SessionTest : public ::testing::Test {
 protected:
  static constexpr Rank kRank = 3;
  static constexpr InstanceId kOwn = 11;

  // What the views and buffers of a test keep alive.
  class ForwardingKeeper final : public Keeper {
   public:
    explicit ForwardingKeeper(SessionTest* test) : test_(test) {}
    void give_up_view(std::uint64_t view, Epoch epoch) override {
      test_->session->releases().add_view(view, epoch);
    }
    void give_up_slot(std::uint64_t slot, Epoch epoch) override {
      test_->session->releases().add_slot(slot, epoch);
    }

   private:
    SessionTest* test_;
  };

  SessionTest() {
    SessionOptions options;
    options.rank = kRank;
    options.grace_ns = 2 * kSecond;
    options.now = [this] { return now; };
    options.let_go = [this](InstanceId instance) { let_go.push_back(instance); };
    options.map = [this](const ArenaInfo& info, bool writable) -> Result<MappedRegion> {
      ++maps_tried;
      if (!mappable) return fail(Errc::kUnauthorized, "not yours");
      return MappedRegion{arena->data(), writable ? arena->data() : nullptr,
                          std::min<std::uint64_t>(arena->size(), info.bytes), arena};
    };
    session = std::make_unique<Session>(std::move(options), transport, keeper);
  }

  void link_up(std::uint16_t version = kProtocolVersionMax) {
    Hello hello;
    hello.instance = transport.links + 1;
    session->connect({true, false, Name("127.0.0.1:1")}, hello);
    HelloAck answer;
    answer.version = version;
    session->on_link_up(LinkId{transport.links, 1}, answer);
  }
  LinkId link() const { return {transport.links, 1}; }

  static ArenaInfo arena_info(InstanceId instance, std::uint64_t bytes = 1 << 20) {
    ArenaInfo info;
    info.instance = instance;
    info.bytes = bytes;
    info.path = Name("/dev/null");
    return info;
  }

  template <class T>
  struct Call {
    RequestId request = 0;
    Future<T> future;
    std::unique_ptr<Op> op;
  };
  template <class T>
  Call<T> make(OpKind kind, std::uint64_t timeout_ns) {
    Call<T> call;
    call.op = std::make_unique<Op>();
    call.request = call.op->request = ++last_request;
    call.op->kind = kind;
    call.op->timeout_ns = timeout_ns;
    auto state = std::make_shared<detail::State<T>>(std::weak_ptr<detail::Driver>(), last_request);
    call.op->result = state;
    call.future = Future<T>(state);
    return call;
  }

  Call<View> recv(std::string_view id, ChunkIndex chunk = 0, std::uint64_t timeout_ns = 10 * kSecond) {
    Call<View> call = make<View>(OpKind::kRecv, timeout_ns);
    call.op->id = DataId(id);
    call.op->chunk = chunk;
    Recv message;
    message.request = call.request;
    message.id = DataId(id);
    message.chunk = chunk;
    message.timeout_ns = timeout_ns;
    Message out = message;
    session->start(std::move(call.op), out, {});
    return call;
  }

  struct SendCall {
    RequestId request = 0;
    Future<void> captured;
    Future<void> delivered;
  };
  SendCall send(ConstBytes payload, Source source = Source::kPayload, std::uint64_t slot = 0,
                std::uint64_t timeout_ns = 10 * kSecond) {
    Call<void> call = make<void>(OpKind::kSend, timeout_ns);
    auto captured = std::make_shared<detail::State<void>>(std::weak_ptr<detail::Driver>(), call.request);
    call.op->captured = captured;
    call.op->has_slot = source == Source::kSlot;
    call.op->read_by_sidecar = source == Source::kDevice;
    call.op->payload_owner = std::exchange(owner, nullptr);
    call.op->slot = slot;
    call.op->slot_epoch = slot_epoch;
    Message out(std::in_place_type<Send>);
    std::get<Send>(out).request = call.request;
    std::get<Send>(out).source = source;
    std::get<Send>(out).meta.bytes = payload.size();
    session->start(std::move(call.op), out, source == Source::kPayload ? payload : ConstBytes{});
    return {call.request, Future<void>(captured), std::move(call.future)};
  }

  Call<Buffer> allocate(std::uint64_t bytes) {
    Call<Buffer> call = make<Buffer>(OpKind::kAllocate, 10 * kSecond);
    call.op->wanted = std::make_shared<Buffer::Content>();
    call.op->wanted->bytes = bytes;
    call.op->wanted->shape = {bytes};
    Allocate message;
    message.request = call.request;
    message.bytes = bytes;
    Message out = message;
    session->start(std::move(call.op), out, {});
    return call;
  }

  Call<void> mark_done(std::string_view id) {
    Call<void> call = make<void>(OpKind::kPlain, 10 * kSecond);
    MarkDone message;
    message.request = call.request;
    message.id = DataId(id);
    Message out = message;
    session->start(std::move(call.op), out, {});
    return call;
  }

  // --- the sidecar's side ---
  static Reply reply(RequestId request, Errc code = Errc::kOk, Stage stage = Stage::kFinal) {
    Reply out;
    out.request = request;
    out.code = code;
    out.stage = stage;
    return out;
  }
  static Reply chunk_reply(RequestId request, Where where, std::uint64_t bytes) {
    Reply out = reply(request);
    out.where = where;
    out.meta.id = DataId("id");
    out.meta.num_chunks = 4;
    out.meta.shape.dims = 1;
    out.meta.shape.extent[0] = bytes;
    out.meta.bytes = bytes;
    return out;
  }
  static Reply arena_reply(RequestId request, InstanceId instance, std::uint64_t offset, std::uint64_t bytes,
                           std::uint64_t view) {
    Reply out = chunk_reply(request, Where::kArena, bytes);
    out.arena = arena_info(instance);
    out.offset = offset;
    out.view = view;
    return out;
  }
  void answer(const Message& message, const Incoming& incoming = {}) {
    session->on_message(link(), message, incoming);
  }
  static Incoming payload(std::uint64_t bytes, std::uint32_t index = 5) {
    return {Handle{index, 1}, bytes, true};
  }

  TimeNs now = kSecond;
  bool mappable = true;
  int maps_tried = 0;
  RequestId last_request = 0;
  Epoch slot_epoch = 1;  // of the buffers that are sent: the first connection's
  std::vector<InstanceId> let_go;
  std::shared_ptr<const void> owner;  // goes with the next send
  std::shared_ptr<std::vector<std::byte>> arena = std::make_shared<std::vector<std::byte>>(1 << 20);
  std::shared_ptr<ForwardingKeeper> keeper = std::make_shared<ForwardingKeeper>(this);
  NotingTransport transport;
  std::unique_ptr<Session> session;
};

}  // namespace sidecar::client_internal
