// Links: head of line, credits, tickets.
#include "tests/contract_sim/faults_fixture.h"

namespace sidecar::sim {
namespace {

using Rule11HeadOfLine = Faults;
using Rule13Credits = Faults;
using Rule15Tickets = Faults;

// --- head of line
// ----------------------------------------------------------------------------------------------------------------

TEST_F(Rule11HeadOfLine, ABusyBulkEndpointIsNotAMissedHeartbeat) {
  EXPECT_THAT(wait(*producer_, start("warm up", 5'000, each({1}))), IsOk());
  const std::uint64_t links = sidecar(0).transport().links_made();
  world_.network().slow_bulk(sidecar(0), sidecar(1), 20 * kSecond);
  const RequestId sent = start("x", 200'000, each({1}));
  const RequestId quick =
      producer_->send({.id = "y", .bytes = 100, .to = each({1}), .kind = ChunkKind::kObject});
  EXPECT_THAT(wait(*producer_, quick, kSecond), IsOk()) << "small ones do not wait behind it";
  EXPECT_THAT(wait(*producer_, sent, 100 * kSecond), IsOk());
  EXPECT_EQ(sidecar(0).transport().links_made(), links) << "and nobody thought the link dead";
  EXPECT_EQ(sidecar(0).stats().counters.resends, 0u);
}

TEST_F(Rule11HeadOfLine, AStoppedPeerIsNoticedAndReconnected) {
  EXPECT_THAT(wait(*producer_, start("warm up", 5'000, each({1}))), IsOk());
  const std::uint64_t links = sidecar(0).transport().links_made();
  world_.stop(sidecar(1));
  world_.run_for(15 * kSecond);
  EXPECT_EQ(world_.network().links_up(sidecar(0), sidecar(1)), 0) << "the ping time-out closed it";
  world_.go_on(sidecar(1));
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  EXPECT_GT(sidecar(0).transport().links_made(), links);
}

// --- credits
// -----------------------------------------------------------------------------------------------------------------------

TEST_F(Rule13Credits, EagerBytesOnTheirWayNeverExceedTheWindow) {
  add(3, "c", 64 * kMiB);
  add(4, "d", 2 * kMiB);
  SimClient& from = client(3);
  SimClient& at = client(4);
  std::vector<RequestId> sends;
  for (int i = 0; i < 300; ++i) {
    sends.push_back(
        from.send({.id = "x" + std::to_string(i), .bytes = 60'000, .to = each({4}), .eager = true}));
  }
  world_.run_for(2 * kSecond);  // the simulated transport fails the test when there are more
  EXPECT_LE(sidecar(4).transport().eager_held_max(), kEagerWindowBytes);
  EXPECT_GT(sidecar(4).transport().eager_held_max(), kEagerWindowBytes / 2) << "and the window is used";
  for (int i = 0; i < 300; ++i) {
    EXPECT_THAT(recv(at, "x" + std::to_string(i)), IsOk());
    EXPECT_THAT(done(at, "x" + std::to_string(i)), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(from, request), IsOk());
}

TEST_F(Rule13Credits, CreditComesBackSoThatSmallChunksStayEager) {
  add(3, "c");
  SimClient& at = client(3);
  for (int i = 0; i < 200; ++i) {  // three times the window
    const std::string id = "x" + std::to_string(i);
    EXPECT_THAT(wait(*producer_, start(id, 60'000, each({3}))), IsOk());
    EXPECT_THAT(done(at, id), IsOk());
  }
  EXPECT_EQ(sidecar(0).transport().rendezvous_sent(), 0u);
}

TEST_F(Rule13Credits, TheyStartAnewWithEachHello) {
  add(3, "c", 64 * kMiB);
  for (int round = 0; round < 120; ++round) {
    // Sent, and lost with its link: nobody ever says that it was consumed.
    break_at<Chunk>(1);
    EXPECT_THAT(wait(*producer_, start("x" + std::to_string(round), 60'000, each({3}))), IsOk());
  }
  EXPECT_EQ(sidecar(0).transport().rendezvous_sent(), 0u);
}

TEST_F(Rule13Credits, AfterARefusalNobodyPolls) {
  add_tight();
  std::vector<RequestId> sends;
  for (int i = 0; i < 4; ++i) sends.push_back(start("x" + std::to_string(i), 20'000, each({3})));
  world_.run_for(2 * kSecond);
  const std::size_t chunk_kind = Message(Chunk{}).index();
  const std::size_t refuse_kind = Message(Refuse{}).index();
  const std::uint64_t chunks = sidecar(0).transport().sent(chunk_kind);
  const std::uint64_t refusals = sidecar(3).transport().sent(refuse_kind);
  EXPECT_GT(refusals, 0u);
  world_.run_for(120 * kSecond);
  EXPECT_EQ(sidecar(0).transport().sent(chunk_kind), chunks) << "nothing is sent again before there is room";
  EXPECT_EQ(sidecar(3).transport().sent(refuse_kind), refusals);
  SimClient& at = client(3);
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(recv(at, "x" + std::to_string(i)), IsOk());
    EXPECT_THAT(done(at, "x" + std::to_string(i)), IsOk());
  }
  for (const RequestId request : sends) EXPECT_THAT(wait(*producer_, request), IsOk());
}

// --- tickets
// -----------------------------------------------------------------------------------------------------------------------

class Impostor final : public SimProcess, public Events {  // knows the address and nothing else
 public:
  explicit Impostor(SimWorld& world) : SimProcess(world, "impostor", "elsewhere") {}
  void introduce(const Hello& hello, Rank to) {
    ConnectOptions options;
    options.two_endpoints = hello.role == Role::kPeer;
    options.address = net_address(to);
    link = transport().connect(options, hello);
    answered = false;
  }
  Events& events() override { return *this; }
  Result<HelloAck> on_hello(LinkId, const Hello&) override { return fail(Errc::kUnavailable, ""); }
  void on_link_up(LinkId, const HelloAck&) override { answered = up = true; }
  void on_link_down(LinkId, const Error& error) override {
    answered = true;
    up = false;
    why = error;
  }
  void on_message(LinkId, const Message&, const Incoming&) override {}
  void on_bad_message(LinkId, const Message&, const Incoming&, const Error&) override {}
  void on_sent(Token, const Status&) override {}
  void on_received(Token, const Status&) override {}
  void on_resolved(Rank, const Result<PeerRecord>&) override {}
  void on_process_gone(Token) override {}
  LinkId link;
  bool answered = false, up = false;
  Error why{};
};

TEST_F(Rule15Tickets, WithoutAValidTicketNobodyGetsIn) {
  Impostor impostor(world_);
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = 2;
  hello.instance = 4711;
  hello.to_instance = sidecar(0).instance();
  const auto attempt = [&] {
    impostor.introduce(hello, 0);
    EXPECT_TRUE(world_.run_until([&] { return impostor.answered; }, 10 * kSecond));
    EXPECT_FALSE(impostor.up);
    return impostor.why.code;
  };
  EXPECT_EQ(attempt(), Errc::kUnauthorized) << "no ticket";
  hello.ticket = world_.issue_ticket(sidecar(2).instance(), sidecar(0).instance(), true);
  EXPECT_EQ(attempt(), Errc::kUnauthorized) << "somebody else's ticket";
  hello.ticket = world_.issue_ticket(4711, sidecar(1).instance(), true);
  EXPECT_EQ(attempt(), Errc::kUnauthorized) << "a ticket for another sidecar";
  hello.role = Role::kClient;
  hello.ticket = world_.issue_ticket(4711, sidecar(0).instance(), true);
  EXPECT_EQ(attempt(), Errc::kUnauthorized) << "a client that is not registered";
  hello.role = Role::kPeer;
  hello.rank = 0;
  hello.ticket = world_.issue_ticket(4711, sidecar(0).instance(), true);
  EXPECT_EQ(attempt(), Errc::kUnauthorized) << "the sidecar's own rank";
  world_.kill(impostor);
}

TEST_F(Rule15Tickets, ATicketServesOnce) {
  EXPECT_THAT(wait(*producer_, start("x", 5'000, each({1}))), IsOk());
  world_.network().reset(sidecar(0), sidecar(1));
  EXPECT_THAT(wait(*producer_, start("y", 5'000, each({1}))), IsOk())
      << "a new connection asks for a new ticket";
}

TEST_F(Rule15Tickets, AHelloMeantForAnotherProcessIsRefused) {
  Impostor impostor(world_);
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = 2;
  hello.instance = 4711;
  hello.to_instance = 1234;
  hello.ticket = world_.issue_ticket(4711, sidecar(0).instance(), true);
  impostor.introduce(hello, 0);
  ASSERT_TRUE(world_.run_until([&] { return impostor.answered; }, 10 * kSecond));
  EXPECT_EQ(impostor.why.code, Errc::kUnavailable);
  world_.kill(impostor);
}

}  // namespace
}  // namespace sidecar::sim
