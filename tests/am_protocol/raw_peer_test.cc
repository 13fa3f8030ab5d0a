// Whatever a peer sends, the transport lives on, counts it, closes the offender's connection and serves the
// others.
#include "tests/am_protocol/raw_peer.h"

#include "tests/am_protocol/transport_fixture.h"

namespace sidecar::testing {
namespace {

class RawPeerTest : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool local() { return GetParam(); }
  void SetUp() override {
    UcxOptions options = server_options(local());
    options.hello_timeout = 3 * kSecond;  // much, so that a slow machine does not make strangers of friends
    server_ = std::make_unique<Side>(options, *loop_);
    server_->message_hook = [this](LinkId, const Message&, const Incoming& incoming) {
      if (incoming.present()) server_->discard(incoming);
    };
    good_ = std::make_unique<Side>(client_options(local()), *loop_);
    good_link_ = good_->connect({local(), true, address()}, hello_of(1));
    EXPECT_TRUE(loop_.run_until([&] { return !good_->ups.empty(); }));
  }
  // The well-behaved peer, connected all the time, is still served.
  void TearDown() override {
    const std::uint64_t before = server_->messages;
    const auto data = pattern(100'000, 1);
    for (std::uint64_t i = 1; i <= 10; ++i) good_->send(good_link_, chunk_of(data.size(), i), data, true);
    EXPECT_TRUE(loop_.run_until([&] { return server_->messages == before + 10 && good_->all_completed(); }));
    EXPECT_TRUE(good_->downs.empty());
    good_.reset();
    server_.reset();
  }

  Name address() { return local() ? server_->transport->local_address() : server_->transport->net_address(); }
  std::unique_ptr<RawPeer> raw() {
    return std::make_unique<RawPeer>(address().view(), local() ? "sysv,tcp" : "tcp");
  }
  std::unique_ptr<RawPeer> accepted() {
    auto peer = raw();
    peer->send(hello_of(next_instance_++));
    EXPECT_TRUE(run(*peer, [&] { return !peer->messages.empty(); }));
    EXPECT_TRUE(std::holds_alternative<HelloAck>(peer->messages.at(0)));
    return peer;
  }
  template <class Done>
  bool run(RawPeer& peer, Done&& done, TimeNs timeout = 20 * kSecond) {
    const TimeNs end = Loop::now_ns() + timeout;
    while (!done()) {
      if (Loop::now_ns() > end) return false;
      peer.progress();
      loop_.run_until_idle();
    }
    return true;
  }
  bool is_closed(RawPeer& peer, TimeNs timeout = 20 * kSecond) {
    return run(peer, [&] { return peer.closed && peer.pending() == 0; }, timeout);
  }
  const TransportCounters& counters() { return server_->transport->counters(); }

  TestLoop loop_;
  std::unique_ptr<Side> server_;
  std::unique_ptr<Side> good_;
  LinkId good_link_;
  InstanceId next_instance_ = 500;
};

INSTANTIATE_TEST_SUITE_P(Over, RawPeerTest, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "SharedMemory" : "Network");
});

TEST_P(RawPeerTest, JunkAsTheFirstMessageIsTheLast) {
  for (std::size_t bytes : {0, 1, 7, 8, 64, 1000, 4096, 5000}) {
    auto peer = raw();
    peer->send(kAmId, pattern(bytes, bytes));
    EXPECT_TRUE(is_closed(*peer)) << bytes;
  }
  EXPECT_EQ(counters().protocol_errors, 8u);
  EXPECT_EQ(server_->hellos.size(), 1u);
}

TEST_P(RawPeerTest, AnythingBeforeHelloClosesTheConnection) {
  const auto data = pattern(200'000, 2);
  const std::array<Message, 5> first{Ping{}, Goodbye{}, HelloAck{}, Credit{}, Refuse{1}};
  for (const Message& message : first) {
    auto peer = raw();
    peer->send(message);
    EXPECT_TRUE(is_closed(*peer));
  }
  auto eager = raw();
  eager->send(chunk_of(1000), std::span(data).first(1000));
  EXPECT_TRUE(is_closed(*eager));
  auto rendezvous = raw();
  rendezvous->send(chunk_of(data.size()), data, RawPeer::kRendezvous);
  EXPECT_TRUE(is_closed(*rendezvous));
  auto with_payload = raw();
  with_payload->send(hello_of(2), std::span(data).first(10));
  EXPECT_TRUE(is_closed(*with_payload));
  EXPECT_EQ(server_->hellos.size(), 1u);
  EXPECT_EQ(server_->messages, 0u);
  EXPECT_EQ(counters().protocol_errors, 8u);
}

TEST_P(RawPeerTest, TheEighthBadMessageOfALinkClosesIt) {
  auto peer = accepted();
  for (std::uint64_t i = 0; i < 7; ++i) peer->send(kAmId, pattern(100, i));
  peer->send(Ping{5, false});
  ASSERT_TRUE(run(*peer, [&] { return server_->messages == 1; }));
  EXPECT_EQ(counters().protocol_errors, 7u);
  EXPECT_TRUE(server_->downs.empty());
  peer->send(kAmId, pattern(100, 8));
  EXPECT_TRUE(is_closed(*peer));
  ASSERT_EQ(server_->downs.size(), 1u);
  EXPECT_EQ(server_->downs[0].second.code, Errc::kProtocol);
}

TEST_P(RawPeerTest, TruncatedHeadersAreOffences) {
  auto peer = accepted();
  const auto whole = peer->encoded(chunk_of(0));
  std::uint64_t sent = 0;
  for (std::size_t bytes = 0; bytes < whole.size(); bytes += 9) {
    if (sent % 7 == 6) peer = accepted();
    peer->send(kAmId, std::span(whole).first(bytes));
    ++sent;
    ASSERT_TRUE(run(*peer, [&] { return counters().protocol_errors == sent; })) << bytes;
  }
  EXPECT_EQ(server_->messages, 0u);
}

TEST_P(RawPeerTest, WhatIsTooLongIsAnOffence) {
  auto peer = accepted();
  const auto junk = pattern(300'000, 3);
  peer->send(kAmId, std::span(junk).first(4097));
  peer->send(kAmId, std::span(junk).first(5000), std::span(junk).first(10));
  peer->send(kAmId, std::span(junk).first(5000), std::span(junk).first(100'000), RawPeer::kRendezvous);
  peer->send(chunk_of(kEagerBytesMax + 1), std::span(junk).first(kEagerBytesMax + 1));
  peer->send(chunk_of(300'000), junk);
  ASSERT_TRUE(run(*peer, [&] { return counters().protocol_errors == 5 && peer->pending() == 0; }));
  EXPECT_EQ(server_->messages, 0u);
  EXPECT_FALSE(peer->closed);
}

TEST_P(RawPeerTest, LiesAboutLengthsAreOffences) {
  const auto data = pattern(200'000, 4);
  auto peer = accepted();
  peer->send(chunk_of(1000), std::span(data).first(999));
  peer->send(chunk_of(1000), std::span(data).first(1001));
  peer->send(chunk_of(1000));
  peer->send(Ping{}, std::span(data).first(1));
  peer->send(chunk_of(100'000), data, RawPeer::kRendezvous);
  peer->send(chunk_of(~std::uint64_t{0}), data, RawPeer::kRendezvous);
  ASSERT_TRUE(run(*peer, [&] { return counters().protocol_errors == 6 && peer->pending() == 0; }));
  EXPECT_EQ(server_->messages, 0u);
}

TEST_P(RawPeerTest, WhatCanBeReadOfABadMessageIsHandedOnWithItsPayload) {
  const auto data = pattern(100'000, 6);
  auto peer = accepted();
  peer->send(Recv{77, DataId("x"), 0, 0, false}, std::span(data).first(10));
  peer->send(chunk_of(1'000, 5), std::span(data).first(999));
  peer->send(chunk_of(99'999, 6), data, RawPeer::kRendezvous);
  peer->send(kAmId, pattern(100, 7), std::span(data).first(20));
  ASSERT_TRUE(run(*peer, [&] { return server_->bad.size() == 4 && peer->pending() == 0; }));
  EXPECT_EQ(counters().protocol_errors, 4u);
  EXPECT_EQ(counters().payloads_discarded, 4u);
  const auto& bad = server_->bad;
  EXPECT_EQ(request_of(bad[0].rest), RequestId{77});
  EXPECT_EQ(transfer_of(bad[1].rest)->sequence, 5u);
  EXPECT_EQ(transfer_of(bad[2].rest)->sequence, 6u);
  EXPECT_TRUE(std::holds_alternative<Ping>(bad[3].rest)) << "nothing can be read";
  const std::array<std::uint64_t, 4> bytes{10, 999, 100'000, 20};
  for (std::size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(bad[i].link, server_->hellos.back().first);
    EXPECT_EQ(bad[i].incoming.bytes, bytes[i]);
    EXPECT_EQ(bad[i].incoming.rendezvous, i == 2);
    EXPECT_EQ(bad[i].why.code, Errc::kProtocol);
    EXPECT_EQ(std::string_view(bad[i].why.what).starts_with("payload:"), i < 3) << bad[i].why.what;
  }
}

TEST_P(RawPeerTest, ABadMessageCanBeAnsweredUnlessItIsTheLastOne) {
  auto peer = accepted();
  const auto data = pattern(100'000, 8);
  for (RequestId request = 1; request <= 8; ++request) {
    const bool rendezvous = request % 2 == 0;
    peer->send(Recv{request, DataId("x"), 0, 0, false}, std::span(data).first(rendezvous ? data.size() : 1),
               rendezvous ? RawPeer::kRendezvous : RawPeer::kEager);
    ASSERT_TRUE(run(*peer, [&] { return counters().protocol_errors == request; }));
    if (request == 8) break;
    ASSERT_EQ(server_->bad.size(), request);
    Message reply{Reply{}};
    std::get<Reply>(reply).request = *request_of(server_->bad.back().rest);
    std::get<Reply>(reply).code = Errc::kProtocol;
    server_->send(server_->bad.back().link, reply);
    ASSERT_TRUE(run(*peer, [&] { return peer->messages.size() == 1 + request; }));
    EXPECT_EQ(std::get<Reply>(peer->messages.back()).request, request);
  }
  EXPECT_TRUE(is_closed(*peer));
  EXPECT_EQ(server_->bad.size(), 7u);
}

TEST_P(RawPeerTest, MessagesOutOfPlaceAreOffences) {
  auto peer = accepted();
  peer->send(hello_of(9));
  peer->send(HelloAck{});
  Hello bulk = hello_of(9);
  bulk.bulk = true;
  peer->send(bulk);
  ASSERT_TRUE(run(*peer, [&] { return counters().protocol_errors == 3; }));
  EXPECT_EQ(server_->hellos.size(), 2u);
}

TEST_P(RawPeerTest, UnknownIdsAreCountedAndCloseTheConnection) {
  std::uint64_t expected = 0;
  for (const unsigned id : {0u, 2u, 3u, 100u, 255u, 256u, 4095u, 32768u, 60000u, 65535u}) {
    auto peer = raw();
    peer->send(id, pattern(20, id));
    EXPECT_TRUE(is_closed(*peer)) << id;
    EXPECT_EQ(counters().unknown_ids, ++expected);
  }
  auto peer = accepted();
  const auto data = pattern(100'000, 5);
  for (unsigned i = 0; i < 8; ++i) {
    peer->send(7777 + i * 7001, {}, std::span(data).first(i % 2 == 0 ? 100 : data.size()),
               i % 2 == 0 ? RawPeer::kEager : RawPeer::kRendezvous);
  }
  EXPECT_TRUE(is_closed(*peer));
  EXPECT_EQ(counters().unknown_ids, expected + 8);
}

TEST_P(RawPeerTest, EveryIdIsSurvivedWithoutASender) {
  auto peer = accepted();
  std::uint64_t sent = 0;
  for (unsigned id = 0; id < 65536; id += 97, ++sent)
    peer->send(id, pattern(id % 50, id), {}, UCP_AM_SEND_FLAG_EAGER);
  ASSERT_TRUE(run(*peer, [&] { return counters().unknown_senders == sent; }));
  peer->send(Ping{});
  EXPECT_TRUE(run(*peer, [&] { return server_->messages == 1; }));
}

TEST_P(RawPeerTest, AHelloWithoutATicketIsToldWhyAndThenClosed) {
  server_->answer_hello = [](LinkId, const Hello& hello) -> Result<HelloAck> {
    if (hello.ticket.empty()) return fail(Errc::kUnauthorized, "no ticket");
    return HelloAck{};
  };
  auto peer = raw();
  Hello hello = hello_of(9);
  hello.ticket = Ticket();
  peer->send(hello);
  ASSERT_TRUE(run(*peer, [&] { return !peer->messages.empty(); }));
  const auto& answer = std::get<HelloAck>(peer->messages[0]);
  EXPECT_EQ(answer.code, Errc::kUnauthorized);
  EXPECT_EQ(answer.text.view(), "no ticket");
  EXPECT_FALSE(peer->closed);
  peer->send(Ping{});
  EXPECT_TRUE(is_closed(*peer));  // it does not go by itself
  EXPECT_EQ(server_->messages, 0u);
  EXPECT_EQ(counters().hellos_refused, 1u);
}

TEST_P(RawPeerTest, ASilentConnectionIsClosed) {
  auto peer = raw();
  EXPECT_TRUE(is_closed(*peer));
  EXPECT_EQ(counters().hello_timeouts, 1u);
}

TEST_P(RawPeerTest, TooManyStrangersAreRejected) {
  UcxOptions options = server_options(local());
  options.hello_timeout = 60 * kSecond;
  options.strangers_max = 3;
  Side server(options, *loop_);
  const Name there = local() ? server.transport->local_address() : server.transport->net_address();
  std::vector<std::unique_ptr<RawPeer>> crowd;
  for (int i = 0; i < 6; ++i) {
    crowd.push_back(std::make_unique<RawPeer>(there.view(), local() ? "sysv,tcp" : "tcp"));
  }
  const auto rejected = [&] {
    for (auto& peer : crowd) peer->progress();
    return std::ranges::count_if(crowd, [](const auto& peer) { return peer->closed; });
  };
  EXPECT_TRUE(run(*crowd[0], [&] { return rejected() == 3; }));
  EXPECT_EQ(server.transport->counters().connections_rejected, 3u);
  for (auto& peer : crowd) peer->send(hello_of(next_instance_++));  // the others are served
  EXPECT_TRUE(run(*crowd[0], [&] { return rejected() == 3 && server.hellos.size() == 3; }));
}

TEST_P(RawPeerTest, ASecondEndpointNeedsItsLinksNumberInstanceAndTicket) {
  Hello hello = hello_of(700);
  hello.link = 4711;
  auto control = raw();
  control->send(hello);
  ASSERT_TRUE(run(*control, [&] { return !control->messages.empty(); }));
  hello.bulk = true;
  for (int wrong = 0; wrong < 3; ++wrong) {
    Hello other = hello;
    if (wrong == 0) other.link = 4712;
    if (wrong == 1) other.instance = 701;
    if (wrong == 2) other.ticket = Ticket("stolen");
    auto peer = raw();
    peer->send(other);
    EXPECT_TRUE(is_closed(*peer)) << wrong;
    EXPECT_TRUE(peer->messages.empty());
  }
  auto bulk = raw();
  bulk->send(hello);
  ASSERT_TRUE(run(*bulk, [&] { return !bulk->messages.empty(); }));
  auto twice = raw();
  twice->send(hello);
  EXPECT_TRUE(is_closed(*twice));
  EXPECT_FALSE(bulk->closed);
  auto stolen = raw();  // a second control endpoint for the same link
  hello.bulk = false;
  stolen->send(hello);
  ASSERT_TRUE(run(*stolen, [&] { return !stolen->messages.empty(); }));
  EXPECT_EQ(std::get<HelloAck>(stolen->messages[0]).code, Errc::kProtocol);
}

TEST_P(RawPeerTest, ASecondEndpointThatComesFirstWaitsForItsLink) {
  Hello hello = hello_of(800);
  hello.link = 4713;
  hello.bulk = true;
  auto bulk = raw();
  bulk->send(hello);
  EXPECT_FALSE(run(*bulk, [&] { return !bulk->messages.empty(); }, 100 * kMillisecond));
  auto control = raw();
  hello.bulk = false;
  control->send(hello);
  EXPECT_TRUE(run(*control, [&] { return !control->messages.empty(); }));
  EXPECT_TRUE(run(*bulk, [&] { return !bulk->messages.empty(); }));
  const LinkId link = server_->hellos.back().first;
  const auto data = pattern(30'000, 6);
  server_->send(link, chunk_of(data.size()), data);
  EXPECT_TRUE(run(*bulk, [&] { return bulk->messages.size() == 2; }));
}

TEST_P(RawPeerTest, AFloodOfJunkFromManyConnections) {
  for (int round = 0; round < 30; ++round) {
    auto peer = round % 2 == 0 ? accepted() : raw();
    const auto junk = pattern(4000, static_cast<std::uint64_t>(round));
    for (std::size_t i = 0; i < 300; ++i) {
      peer->send(static_cast<unsigned>((i * 257) % 65536), std::span(junk).first(i * 13 % 4000),
                 std::span(junk).first(i % 3 * 1000));
    }
    EXPECT_TRUE(is_closed(*peer)) << round;
  }
  EXPECT_EQ(server_->messages, 0u);
}

// As after a stop: UCX reads what is not meant any more, and calls that a success.
TEST_P(RawPeerTest, WhatIsReadFromWhoHasWipedItsMarkDoesNotCount) {
  std::uint64_t mark = 0x5eed;
  Hello hello = hello_of(next_instance_++);
  hello.open = {reinterpret_cast<std::uintptr_t>(&mark), mark};
  auto peer = raw();
  peer->send(hello);
  ASSERT_TRUE(run(*peer, [&] { return !peer->messages.empty(); }));
  const OpenMark others = std::get<HelloAck>(peer->messages.at(0)).open;
  ASSERT_EQ(others.at != 0, local());  // only there does anybody read another's memory
  const auto* const other = reinterpret_cast<const volatile std::uint64_t*>(others.at);

  const auto discard = std::exchange(server_->message_hook, {});
  const auto data = pattern(1 << 20, 8);
  std::vector<std::byte> got(data.size());
  for (const bool open : {true, false}) {
    server_->inbox.clear();
    peer->send(chunk_of(data.size()), data, RawPeer::kRendezvous);
    ASSERT_TRUE(run(*peer, [&] { return !server_->inbox.empty(); }));
    if (local()) {
      EXPECT_EQ(*other, others.value);
    }
    if (!open) mark = 0;
    const Token token = server_->receive(server_->inbox[0].incoming, got);
    ASSERT_TRUE(run(*peer, [&] { return server_->received.contains(token); }));
    EXPECT_EQ(server_->received[token].has_value(), open || !local());
  }
  server_->message_hook = discard;
  if (!local()) return;
  EXPECT_TRUE(is_closed(*peer));
  EXPECT_NE(*other, others.value);
}

}  // namespace
}  // namespace sidecar::testing
