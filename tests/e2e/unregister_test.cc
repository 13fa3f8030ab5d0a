// Registrations that are given back or made anew while their connection is busy: with a client put together
// from the library's parts, which says nothing of it on the connection.
#include <signal.h>

#include <thread>

#include "am_protocol/transport.h"
#include "client/session.h"
#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

namespace ci = client_internal;

class PlainClient {
 public:
  PlainClient(const Cluster& cluster, Rank rank) {
    input_.sidecar = cluster.address(rank);
    input_.instance = 0x5eed;
    input_.rank = rank;
    input_.ucx_version = ucx_version();
    registered_ = ci::register_client(input_, seconds(10)).value();
    UcxOptions ucx;
    ucx.local = true;
    ucx.net = false;
    transport_ = *UcxTransport::create(ucx, loop_);
    ci::SessionOptions options;
    options.rank = rank;
    options.map_arenas = false;
    options.now = &Loop::now_ns;
    session_ = std::make_unique<ci::Session>(std::move(options), *transport_, std::weak_ptr<ci::Keeper>());
    transport_->set_events(*session_);
    loop_.set_hooks({.on_step = [this] { return session_->step(); },
                     .next_deadline = [this] { return session_->next_deadline(); },
                     .on_timer = [this](TimeNs now) { session_->on_timer(now); }});
    Hello hello;
    hello.role = Role::kClient;
    hello.link = 1;
    hello.rank = rank;
    hello.instance = input_.instance;
    hello.to_instance = registered_.sidecar;
    hello.pid = ::getpid();
    hello.ticket = Ticket(registered_.ticket);
    session_->connect({true, false, Name(registered_.local_address)}, hello);
    EXPECT_TRUE(run_until([this] { return session_->up(); }));
  }
  ~PlainClient() { session_->close_link({Errc::kCancelled, kNoRank, "over"}); }

  template <class Done>
  bool run_until(Done done) {
    const auto until = std::chrono::steady_clock::now() + seconds(10);
    while (!done() && std::chrono::steady_clock::now() < until) loop_.run_once(Wait::kNo);
    return done();
  }
  // What was handed over so far leaves.
  void flush() {
    for (int i = 0; i < 20; ++i) loop_.run_once(Wait::kNo);
  }

  Future<void> send_object(const std::string& id, std::span<const std::byte> bytes, Rank to) {
    Message message(std::in_place_type<Send>);
    Send& send = std::get<Send>(message);
    send.meta.id = DataId(id);
    send.meta.num_chunks = 1;
    send.meta.kind = ChunkKind::kObject;
    send.meta.bytes = bytes.size();
    EXPECT_TRUE(send.destinations.add_group(std::vector<Rank>{to}));
    send.source = Source::kInline;
    send.inline_bytes = static_cast<std::uint32_t>(bytes.size());
    std::ranges::copy(bytes, send.inline_data.begin());
    return start<void>(ci::OpKind::kSend, std::move(message));
  }
  Future<void> send_tensor(const std::string& id, std::span<const std::byte> bytes, Rank to) {
    Message message(std::in_place_type<Send>);
    Send& send = std::get<Send>(message);
    send.meta.id = DataId(id);
    send.meta.num_chunks = 1;
    send.meta.shape.dims = 1;
    send.meta.shape.extent[0] = send.meta.bytes = bytes.size();
    EXPECT_TRUE(send.destinations.add_group(std::vector<Rank>{to}));
    send.source = Source::kPayload;
    return start<void>(ci::OpKind::kSend, std::move(message), bytes);
  }
  Future<void> mark_done(const std::string& id) {
    Message message(std::in_place_type<MarkDone>);
    std::get<MarkDone>(message).id = DataId(id);
    return start<void>(ci::OpKind::kPlain, std::move(message));
  }
  Future<View> recv(const std::string& id) {
    Message message(std::in_place_type<Recv>);
    Recv& recv = std::get<Recv>(message);
    recv.id = DataId(id);
    recv.timeout_ns = kNever;
    recv.by_value = true;
    return start<View>(ci::OpKind::kRecv, std::move(message));
  }
  void unregister() { ci::unregister_client(registered_, input_.instance); }
  void register_again(std::uint64_t unit_bytes) {
    input_.send_unit_bytes = input_.recv_unit_bytes = unit_bytes;
    input_.ticket = registered_.ticket;
    const auto again = ci::register_client(input_, seconds(10));
    ASSERT_TRUE(again) << to_string(again.error());
    EXPECT_NE(again->ticket, registered_.ticket);
    registered_ = *again;
  }
  [[nodiscard]] bool up() const { return session_->up(); }

 private:
  template <class T>
  Future<T> start(ci::OpKind kind, Message message, ConstBytes payload = {}) {
    auto op = std::make_unique<ci::Op>();
    op->kind = kind;
    op->request = ++last_request_;
    std::visit(
        [&](auto& m) {
          if constexpr (requires { m.request; }) m.request = op->request;
        },
        message);
    auto state = std::make_shared<detail::State<T>>(std::weak_ptr<detail::Driver>(), op->request);
    op->result = state;
    session_->start(std::move(op), message, payload);
    return Future<T>(std::move(state));
  }

  Loop loop_;
  ci::RegisterInput input_;
  ci::Registered registered_;
  RequestId last_request_ = 0;
  std::unique_ptr<UcxTransport> transport_;
  std::unique_ptr<ci::Session> session_;
};

class Registrations : public BothPaths {
 protected:
  Registrations() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "128M"}) {}
};
SIDECAR_BOTH_PATHS(Registrations);

TEST_P(Registrations, UnregisteringActsFirstOnWhatWasSaidOnTheConnection) {
  Client consumer = cluster_.client(this->consumer());
  Client other = cluster_.client(0);
  PlainClient client(cluster_, 0);
  {
    const auto bytes = contents("mine", 0, 100'000);
    ASSERT_TRUE(consumer.send(tensor_of(bytes), "mine", {{0}}));
  }
  const auto bytes = contents("o", 0, 1000);
  constexpr int kSends = 30;  // as many as arrive though nobody looks
  cluster_.process(0).signal(SIGSTOP);
  std::vector<Future<void>> sends;
  for (int i = 0; i < kSends; ++i)
    sends.push_back(client.send_object("o" + std::to_string(i), bytes, this->consumer()));
  auto done = client.mark_done("mine");
  auto never = client.recv("never");
  client.flush();
  std::thread leaving([&client] { client.unregister(); });
  std::this_thread::sleep_for(milliseconds(200));
  cluster_.process(0).signal(SIGCONT);  // and now it sees all that at once
  leaving.join();
  EXPECT_TRUE(client.run_until([&] { return !client.up(); }));
  EXPECT_EQ(never.get().code(), Errc::kPeerLost);
  for (int i = 0; i < kSends; ++i) {
    const std::string id = "o" + std::to_string(i);
    const auto view = consumer.recv(id, 0, seconds(10));
    ASSERT_TRUE(view) << id << ": " << to_string(view.error());
    EXPECT_TRUE(matches(view->bytes(), "o", 0));
    EXPECT_TRUE(consumer.mark_done(id));
  }
  EXPECT_EQ(other.recv("mine", 0, seconds(0)).code(), Errc::kAlreadyDone);
  EXPECT_EQ(cluster_.counter(0, "waiting_recvs"), 0u);
  EXPECT_EQ(cluster_.counter(0, "clients"), 1u);
}

TEST_P(Registrations, UnregisteringInTheMiddleOfALargeSendEndsItForThoseWhoWait) {
  Client consumer = cluster_.client(this->consumer());
  PlainClient client(cluster_, 0);
  const auto bytes = contents("big", 0, 40 << 20);
  auto waiting = consumer.recv_async("big", 0, seconds(20));
  auto sending = client.send_tensor("big", bytes, this->consumer());
  client.flush();
  client.unregister();
  EXPECT_TRUE(client.run_until([&] { return sending.ready(); }));
  const auto sent = sending.get();
  const auto got = waiting.get();
  if (got) {
    EXPECT_TRUE(matches(got->bytes(), "big", 0)) << "it was captured";
  } else {
    EXPECT_EQ(got.code(), Errc::kPeerLost) << to_string(got.error());
    EXPECT_FALSE(sent);
  }
  EXPECT_TRUE(consumer.mark_done("big"));
}

TEST_P(Registrations, RegressionC2RegisteringAgainWithOtherHintsLosesNothing) {
  Client consumer = cluster_.client(this->consumer());
  PlainClient client(cluster_, 0);
  const auto bytes = contents("big", 0, 20 << 20);
  auto waiting = client.recv("late");
  auto sending = client.send_tensor("big", bytes, this->consumer());
  for (const std::uint64_t unit : {7168u, 4096u, 100u}) {
    client.flush();
    client.register_again(unit);
    EXPECT_TRUE(client.up());
  }
  EXPECT_TRUE(client.run_until([&] { return sending.ready(); }));
  EXPECT_TRUE(sending.get());
  EXPECT_TRUE(matches(consumer.recv("big").value().bytes(), "big", 0));
  const auto late = contents("late", 0, 100'000);
  ASSERT_TRUE(consumer.send(tensor_of(late), "late", {{0}}));
  EXPECT_TRUE(client.run_until([&] { return waiting.ready(); }));
  EXPECT_TRUE(matches(waiting.get().value().bytes(), "late", 0));
  EXPECT_TRUE(consumer.mark_done("big"));
  auto done = client.mark_done("late");
  EXPECT_TRUE(client.run_until([&] { return done.ready(); }));
  EXPECT_TRUE(done.get());
}

}  // namespace
}  // namespace sidecar::e2e
