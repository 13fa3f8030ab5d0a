// What core/ports.h promises of a Transport, over each way that two processes (or one with itself) can be
// connected.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/am_protocol/transport_fixture.h"

namespace sidecar::testing {
namespace {

enum class Way { kLocal, kNet, kLocalSelf, kNetSelf };

class TransportContract : public ::testing::TestWithParam<Way> {
 protected:
  [[nodiscard]] bool local() const { return GetParam() == Way::kLocal || GetParam() == Way::kLocalSelf; }
  [[nodiscard]] bool self() const { return GetParam() == Way::kLocalSelf || GetParam() == Way::kNetSelf; }

  void SetUp() override {
    server_ = std::make_unique<Side>(server_options(local()), *loop_);
    if (!self()) client_only_ = std::make_unique<Side>(client_options(local()), *loop_);
    client_ = self() ? server_.get() : client_only_.get();
  }
  void TearDown() override {
    client_only_.reset();
    server_.reset();
  }

  [[nodiscard]] ConnectOptions options(bool two = true) const {
    ConnectOptions o;
    o.local = local();
    o.two_endpoints = two;
    o.address = local() ? server_->transport->local_address() : server_->transport->net_address();
    return o;
  }
  // Both ends of a new link that is up: (client's, server's).
  std::pair<LinkId, LinkId> connected(bool two = true) {
    const std::size_t ups = client_->ups.size();
    const std::size_t hellos = server_->hellos.size();
    const LinkId link = client_->connect(options(two), hello_of(100 + ups));
    EXPECT_TRUE(loop_.run_until([&] { return client_->ups.size() > ups; }));
    EXPECT_TRUE(client_->downs.empty()) << to_string(client_->downs.at(0).second);
    EXPECT_EQ(server_->hellos.size(), hellos + 1);
    return {link, server_->hellos.back().first};
  }
  void expect_ok(const Side& side) {
    for (const auto& [token, status] : side.sent) EXPECT_TRUE(status) << to_string(status.error());
    for (const auto& [token, status] : side.received) EXPECT_TRUE(status) << to_string(status.error());
  }

  TestLoop loop_;
  std::unique_ptr<Side> server_;
  std::unique_ptr<Side> client_only_;
  Side* client_ = nullptr;
};

std::string way_name(const ::testing::TestParamInfo<Way>& about) {
  switch (about.param) {
    case Way::kLocal: return "SharedMemory";
    case Way::kNet: return "Network";
    case Way::kLocalSelf: return "SharedMemoryToItself";
    case Way::kNetSelf: return "NetworkToItself";
  }
  return "";
}
INSTANTIATE_TEST_SUITE_P(Over, TransportContract,
                         ::testing::Values(Way::kLocal, Way::kNet, Way::kLocalSelf, Way::kNetSelf), way_name);

TEST_P(TransportContract, AnAcceptedHelloBringsTheLinkUpWithTheAnswer) {
  const auto [link, other] = connected();
  ASSERT_EQ(client_->ups.size(), 1u);
  EXPECT_EQ(client_->ups[0].first, link);
  EXPECT_EQ(client_->ups[0].second.rank, 7);
  EXPECT_EQ(client_->ups[0].second.instance, 77u);
  const Hello& hello = server_->hellos[0].second;
  EXPECT_EQ(hello.instance, 100u);
  EXPECT_EQ(hello.rank, 3);
  EXPECT_EQ(hello.ticket.view(), "ticket");
  EXPECT_FALSE(hello.bulk);
  EXPECT_NE(hello.link, 0u);
}

TEST_P(TransportContract, TheLinkKnowsItsTransport) {
  const auto [link, other] = connected();
  for (const auto& [side, id] : {std::pair{client_, link}, std::pair{server_.get(), other}}) {
    const LinkFacts facts = side->transport->facts(id);
    EXPECT_EQ(facts.local, local());
    const std::string lanes(facts.transports.view());
    EXPECT_FALSE(lanes.empty());
    for (const char* shared : {"sysv", "posix", "cma", "xpmem", "self"}) {
      if (!local()) {
        EXPECT_EQ(lanes.find(shared), lanes.npos) << lanes;
      }
    }
    if (local()) {
      EXPECT_EQ(lanes.substr(0, 4), "sysv") << lanes;
    }
  }
}

TEST_P(TransportContract, ARefusedHelloTellsWhyAndIsForgotten) {
  server_->answer_hello = [](LinkId, const Hello&) -> Result<HelloAck> {
    return fail(Errc::kUnauthorized, "this ticket is not known here");
  };
  const LinkId link = client_->connect(options(), hello_of(1));
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty(); }));
  EXPECT_EQ(client_->downs[0].first, link);
  EXPECT_EQ(client_->downs[0].second.code, Errc::kUnauthorized);
  EXPECT_STREQ(client_->downs[0].second.what, "this ticket is not known here");
  EXPECT_TRUE(client_->ups.empty());
  EXPECT_EQ(server_->transport->counters().hellos_refused, 1u);
  server_->answer_hello = nullptr;
  client_->downs.clear();
  connected();  // and the next one is served
}

TEST_P(TransportContract, MessagesArriveInTheOrderTheyWereSent) {
  const auto [link, other] = connected();
  constexpr std::uint64_t kCount = 20'000;
  std::uint64_t next = 0;
  server_->message_hook = [&](LinkId from, const Message& message, const Incoming& incoming) {
    EXPECT_EQ(from, other);
    EXPECT_FALSE(incoming.present());
    EXPECT_EQ(std::get<Ping>(message).value, next++);
  };
  for (std::uint64_t i = 0; i < kCount; ++i) client_->send(link, Ping{i, false});
  ASSERT_TRUE(loop_.run_until([&] { return next == kCount && client_->all_completed(); }));
  expect_ok(*client_);
}

// More of the same from inside a completion must not overtake what is still queued.
TEST_P(TransportContract, SendsFromCompletionsDoNotOvertake) {
  const auto [link, other] = connected();
  constexpr std::uint64_t kCount = 20'000;
  std::uint64_t next = 0;
  std::uint64_t issued = 0;
  server_->message_hook = [&](LinkId, const Message& message, const Incoming&) {
    EXPECT_EQ(std::get<Ping>(message).value, next++);
  };
  const auto top_up = [&](Token) {
    for (int i = 0; i < 2 && issued < kCount; ++i) client_->send(link, Ping{issued++, false});
  };
  client_->sent_hook = top_up;
  for (int i = 0; i < 500; ++i) top_up(0);
  ASSERT_TRUE(loop_.run_until([&] { return next == kCount && client_->all_completed(); }));
}

TEST_P(TransportContract, PayloadsOfAllSizesArriveWholeInBothDirections) {
  const auto [link, other] = connected();
  // The first pair is exchanged before the second endpoint is in use, perhaps; all the others after.
  const std::vector<std::size_t> sizes{1,      7,       63,        64,        65,       1021,
                                       8191,   8192,    8193,      32'749,    65'535,   65'536,
                                       65'537, 104'729, 1'048'576, 1'299'709, 16u << 20};
  struct Expected {
    std::vector<std::byte> data;
    std::vector<std::byte> got;
    Side* receiver;
    Token token = 0;
  };
  std::map<std::uint64_t, Expected> expected;
  std::uint64_t sequence = 1;
  for (Side* from : {client_, server_.get()}) {
    Side* const to = from == client_ ? server_.get() : client_;
    for (const std::size_t size : sizes) {
      for (const bool rendezvous : {false, true}) {
        if (!rendezvous && size > kEagerBytesMax) continue;
        auto& e = expected[sequence];
        e.data = pattern(size, sequence);
        e.got.resize(size);
        e.receiver = to;
        from->send(from == client_ ? link : other, chunk_of(size, sequence), e.data, rendezvous);
        ++sequence;
      }
    }
  }
  for (Side* side : {client_, server_.get()}) {
    side->message_hook = [&, side](LinkId, const Message& message, const Incoming& incoming) {
      Expected& e = expected.at(std::get<Chunk>(message).transfer.sequence);
      if (!self()) {
        EXPECT_EQ(side, e.receiver);
      }
      EXPECT_TRUE(incoming.present());
      ASSERT_EQ(incoming.bytes, e.data.size());
      EXPECT_EQ(e.token, 0u);
      e.token = side->receive(incoming, e.got);
    };
  }
  const auto complete = [&] {
    if (!client_->all_completed() || !server_->all_completed()) return false;
    return std::ranges::all_of(expected, [](const auto& e) { return e.second.token != 0; });
  };
  ASSERT_TRUE(loop_.run_until(complete, 30 * kSecond));
  for (const auto& [number, e] : expected) EXPECT_TRUE(e.data == e.got) << "sequence " << number;
  expect_ok(*client_);
  expect_ok(*server_);
}

TEST_P(TransportContract, OneEndpointIsEnoughForPayloads) {
  const auto [link, other] = connected(false);
  const auto data = pattern(3'000'017, 5);
  std::vector<std::byte> got(data.size());
  client_->send(link, chunk_of(data.size()), data, true);
  ASSERT_TRUE(loop_.run_until([&] { return !server_->inbox.empty(); }));
  server_->receive(server_->inbox[0].incoming, got);
  ASSERT_TRUE(loop_.run_until([&] { return client_->all_completed() && server_->all_completed(); }));
  EXPECT_TRUE(data == got);
}

TEST_P(TransportContract, ARendezvousWaitsForItsReceiver) {
  const auto [link, other] = connected();
  const auto data = pattern(1 << 20, 6);
  const Token token = client_->send(link, chunk_of(data.size()), data, true);
  ASSERT_TRUE(loop_.run_until([&] { return !server_->inbox.empty(); }));
  EXPECT_TRUE(server_->inbox[0].incoming.rendezvous);
  EXPECT_FALSE(loop_.run_until([&] { return client_->sent.contains(token); }, 100 * kMillisecond));
  server_->discard(server_->inbox[0].incoming);
  EXPECT_TRUE(loop_.run_until([&] { return client_->sent.contains(token); }));
}

class TransportOnOneNode : public TransportContract {};
INSTANTIATE_TEST_SUITE_P(Over, TransportOnOneNode, ::testing::Values(Way::kLocal, Way::kLocalSelf), way_name);

TEST_P(TransportOnOneNode, AllThatHadArrivedIsToldBeforeWhatWaitsForThat) {
  const auto [link, other] = connected(false);
  // UCX keeps the first messages back until both sides are through with connecting.
  client_->send(link, Ping{0, true});
  ASSERT_TRUE(loop_.run_until([&] { return server_->messages == 1; }));
  loop_.run_until_idle();
  for (std::uint64_t i = 0; i < 50; ++i) client_->send(link, Ping{i, true});
  std::size_t told = 0;
  server_->received_hook = [&](Token) { told = server_->messages - 1; };
  const Token token = server_->after_arrived(other);
  ASSERT_TRUE(loop_.run_until([&] { return server_->received.contains(token); }));
  EXPECT_EQ(told, 50u);
  expect_ok(*server_);
}

TEST_P(TransportContract, EveryPayloadMayBeDiscarded) {
  const auto [link, other] = connected();
  const auto data = pattern(1 << 20, 7);
  server_->message_hook = [&](LinkId, const Message&, const Incoming& incoming) {
    server_->discard(incoming);
  };
  constexpr std::uint64_t kCount = 600;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const std::size_t size = i % 3 == 0 ? 100 : i % 3 == 1 ? kEagerBytesMax : data.size();
    client_->send(link, chunk_of(size, i + 1), std::span(data).first(size), i % 3 == 2);
  }
  ASSERT_TRUE(loop_.run_until([&] { return client_->all_completed() && server_->messages == kCount; }));
  expect_ok(*client_);
  EXPECT_EQ(server_->transport->counters().payloads_discarded, kCount);
}

TEST_P(TransportContract, SendingOnALinkThatNeverWasFailsLater) {
  const Token token = client_->send(LinkId{5, 5}, Ping{});
  EXPECT_TRUE(client_->sent.empty());
  ASSERT_TRUE(loop_.run_until([&] { return client_->sent.contains(token); }));
  EXPECT_EQ(client_->sent[token].error().code, Errc::kUnavailable);
  client_->close(LinkId{5, 5});
  EXPECT_FALSE(client_->transport->facts(LinkId{5, 5}).local);
}

TEST_P(TransportContract, CloseEndsQueuedSendsAndTellsTheOtherSideOnly) {
  const auto [link, other] = connected();
  const auto data = pattern(1 << 20, 8);
  for (std::uint64_t i = 0; i < 32; ++i) client_->send(link, chunk_of(data.size(), i + 1), data, true);
  ASSERT_TRUE(loop_.run_until([&] { return server_->inbox.size() == 32; }));
  client_->close(link);
  client_->close(link);  // harmless
  ASSERT_TRUE(loop_.run_until([&] { return client_->all_completed() && !server_->downs.empty(); }));
  EXPECT_EQ(client_->sent.size(), 32u);
  for (const auto& [token, status] : client_->sent) EXPECT_FALSE(status);
  if (!self()) {
    EXPECT_TRUE(client_->downs.empty());
  }
  EXPECT_EQ(server_->downs[0].first, other);
  // What was held stays valid, and ends with an error.
  std::vector<std::byte> got(data.size());
  for (std::size_t i = 0; i < 16; ++i) server_->discard(server_->inbox[i].incoming);
  for (std::size_t i = 16; i < 32; ++i) server_->receive(server_->inbox[i].incoming, got);
  ASSERT_TRUE(loop_.run_until([&] { return server_->all_completed(); }));
  for (const auto& [token, status] : server_->received) EXPECT_FALSE(status);
}

TEST_P(TransportContract, QueuedSendsFailWhenTheOtherSideCloses) {
  const auto [link, other] = connected();
  const auto data = pattern(1 << 20, 9);
  for (std::uint64_t i = 0; i < 32; ++i) client_->send(link, chunk_of(data.size(), i + 1), data, true);
  ASSERT_TRUE(loop_.run_until([&] { return server_->inbox.size() == 32; }));
  server_->close(other);
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty() && client_->all_completed(); }));
  EXPECT_EQ(client_->downs[0].first, link);
  for (const auto& [token, status] : client_->sent) EXPECT_FALSE(status);
  for (const Received& r : server_->inbox) server_->discard(r.incoming);
}

TEST_P(TransportContract, GoodbyeArrivesBeforeTheDisconnection) {
  for (int i = 0; i < 5; ++i) {
    const auto [link, other] = connected();
    client_->send(link, Goodbye{true});
    client_->close(link);
    ASSERT_TRUE(loop_.run_until([&] { return !server_->downs.empty(); }));
    ASSERT_EQ(server_->inbox.size(), 1u) << "round " << i;
    EXPECT_TRUE(std::holds_alternative<Goodbye>(server_->inbox[0].message));
    server_->inbox.clear();
    server_->downs.clear();
    client_->downs.clear();
  }
}

TEST_P(TransportContract, CloseDuringConnectIsSilent) {
  std::set<std::uint64_t> closed;
  for (int i = 0; i < 50; ++i) {
    const LinkId link = client_->connect(options(), hello_of(1000));
    for (int step = 0; step < i; ++step) loop_->run_once(Wait::kNo);
    client_->close(link);
    closed.insert(link.pack());
  }
  // The other side may meet some of them, now or later; the next connection comes about all the same.
  const LinkId link = client_->connect(options(), hello_of(2000));
  const auto is_up = [&] {
    return std::ranges::any_of(client_->ups, [&](const auto& up) { return up.first == link; });
  };
  EXPECT_TRUE(loop_.run_until(is_up));
  for (const auto& [id, why] : client_->downs) EXPECT_FALSE(closed.contains(id.pack()));
}

TEST_P(TransportContract, TheEngineMayCloseInsideItsHandlers) {
  server_->answer_hello = [&](LinkId link, const Hello&) -> Result<HelloAck> {
    server_->transport->close(link);
    return HelloAck{};
  };
  const LinkId link = client_->connect(options(), hello_of(1));
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty(); }));
  EXPECT_EQ(client_->downs[0].first, link);
  server_->answer_hello = nullptr;
  client_->downs.clear();

  const auto [second, other] = connected();
  server_->message_hook = [&](LinkId from, const Message&, const Incoming&) { server_->close(from); };
  for (std::uint64_t i = 0; i < 10; ++i) client_->send(second, Ping{i, false});
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty() && client_->all_completed(); }));
  EXPECT_EQ(server_->messages, 1u);
}

TEST_P(TransportContract, AClosedPortFailsQuickly) {
  ConnectOptions o = options();
  const int fd =
      socket(AF_INET, SOCK_STREAM, 0);  // bound and not listening: nobody else gets the port meanwhile
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  o.address = Name("127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
  const LinkId link = client_->connect(o, hello_of(1));
  EXPECT_TRUE(client_->downs.empty());
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty(); }, 2 * kSecond));
  EXPECT_EQ(client_->downs[0].first, link);
  EXPECT_EQ(client_->downs[0].second.code, Errc::kUnavailable) << to_string(client_->downs[0].second);
  ::close(fd);
}

TEST_P(TransportContract, AddressesThatAreNoneFail) {
  for (const char* address : {"", "localhost:1", "127.0.0.1", "127.0.0.1:", ":5", "127.0.0.1:x"}) {
    ConnectOptions o = options();
    o.address = Name(address);
    client_->connect(o, hello_of(1));
    ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty(); }));
    EXPECT_EQ(client_->downs[0].second.code, Errc::kInvalidArgument) << address;
    client_->downs.clear();
  }
  ConnectOptions o = options();
  o.local = !o.local;  // a plane that this process has not opened
  client_->connect(o, hello_of(1));
  ASSERT_TRUE(loop_.run_until([&] { return !client_->downs.empty(); }));
  EXPECT_EQ(client_->downs[0].second.code, Errc::kUnavailable);
}

TEST_P(TransportContract, APortThatIsTakenIsSaidClearly) {
  UcxOptions o = server_options(local());
  (local() ? o.local_listen : o.net_listen) = std::string(options().address.view());
  const auto second = UcxTransport::create(o, *loop_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kIo);
  EXPECT_EQ(second.error().a, static_cast<std::uint64_t>(EADDRINUSE));
  EXPECT_STREQ(second.error().what, "this port is taken by another process");
}

}  // namespace
}  // namespace sidecar::testing
