// What the transport costs when it runs: no memory from the heap, and no work when there is nothing to do.
#include <cstdlib>
#include <new>

#include "tests/am_protocol/transport_fixture.h"

namespace {
std::uint64_t allocations = 0;
}

// Counted in this program only. Everything of ours comes by here; UCX has its own.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
// Not inlined: the compiler would otherwise see free() on what came from new, and warn.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace sidecar::testing {
namespace {

// Both ends in one object that allocates nothing itself: it answers each chunk with an Ack.
class Echo final : public Events {
 public:
  Result<HelloAck> on_hello(LinkId link, const Hello&) override {
    server = link;
    return HelloAck{};
  }
  void on_link_up(LinkId link, const HelloAck&) override { client = link; }
  void on_link_down(LinkId, const Error&) override { ++downs; }
  void on_message(LinkId, const Message& message, const Incoming& incoming) override {
    if (std::holds_alternative<Ack>(message)) {
      ++acks;
      return;
    }
    if (incoming.present()) server_transport->receive(incoming, std::span(into).first(incoming.bytes), 7);
    std::get<Ack>(ack).sequence = std::get<Chunk>(message).transfer.sequence;
    server_transport->send(server, ack, {}, false, 8);
  }
  void on_bad_message(LinkId, const Message&, const Incoming&, const Error& why) override {
    ADD_FAILURE() << to_string(why);
  }
  void on_sent(Token, const Status& status) override {
    EXPECT_TRUE(status);
    ++sent;
  }
  void on_received(Token, const Status& status) override {
    EXPECT_TRUE(status);
    ++received;
  }
  void on_resolved(Rank, const Result<PeerRecord>&) override {}
  void on_process_gone(Token) override {}

  UcxTransport* server_transport = nullptr;
  LinkId server, client;
  Message ack{Ack{}};
  std::vector<std::byte> into = std::vector<std::byte>(1 << 20);
  std::uint64_t acks = 0, sent = 0, received = 0, downs = 0;
};

class TransportSteady : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool local() { return GetParam(); }
  void SetUp() override {
    server_ = *UcxTransport::create(server_options(local()), *loop_, echo_);
    client_ = *UcxTransport::create(client_options(local()), *loop_, echo_);
    echo_.server_transport = server_.get();
    client_->connect({local(), true, local() ? server_->local_address() : server_->net_address()},
                     hello_of(1));
    ASSERT_TRUE(loop_.run_until([&] { return echo_.client.valid(); }));
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
  }
  // A window of messages of each kind, until all are answered and completed.
  void exchange(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t acks = echo_.acks;
      const std::uint64_t sent = echo_.sent;
      for (std::uint64_t i = 0; i < 20; ++i) {
        client_->send(echo_.client, none_, {}, false, 1);
        client_->send(echo_.client, small_, std::span(data_).first(100), false, 1);
        client_->send(echo_.client, eager_, std::span(data_).first(kEagerBytesMax), false, 1);
        client_->send(echo_.client, large_, data_, true, 1);
      }
      ASSERT_TRUE(loop_.run_until([&] { return echo_.acks == acks + 80 && echo_.sent == sent + 160; }));
    }
  }

  TestLoop loop_;
  Echo echo_;
  std::unique_ptr<UcxTransport> server_, client_;
  std::vector<std::byte> data_ = pattern(1 << 20, 1);
  Message none_ = chunk_of(0), small_ = chunk_of(100), eager_ = chunk_of(kEagerBytesMax),
          large_ = chunk_of(1 << 20);
};

INSTANTIATE_TEST_SUITE_P(Over, TransportSteady, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "SharedMemory" : "Network");
});

TEST_P(TransportSteady, NothingIsAllocatedOnceItIsWarm) {
  exchange(20);
  const std::uint64_t before = allocations;
  EXPECT_GT(before, 0u);  // it does count
  exchange(50);
  EXPECT_EQ(allocations - before, 0u);
  EXPECT_EQ(echo_.downs, 0u);
}

TEST_P(TransportSteady, AnIdleSecondCostsFewSteps) {
  exchange(2);
  loop_.run_until([] { return false; }, 100 * kMillisecond);
  const std::uint64_t before = loop_->stats().steps;
  loop_.run_until([] { return false; }, kSecond);
  EXPECT_LE(loop_->stats().steps - before, 20u);  // UCX looks after its connections once a second
}

}  // namespace
}  // namespace sidecar::testing
