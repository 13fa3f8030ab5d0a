// The transport when processes die, stop, or are torn down in the middle of everything.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "am_protocol/address.h"
#include "core/fd.h"
#include "tests/am_protocol/peer_process.h"
#include "tests/am_protocol/transport_fixture.h"

// Workers that had to be left alone (UcxTransportImpl::shut_down): UCX's own memory in them is unreachable.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libucs.so\n"; }

namespace sidecar::testing {
namespace {

constexpr std::size_t kMiB = 1u << 20;

class TransportFailure : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool local() { return GetParam(); }
  [[nodiscard]] static std::string plane() { return local() ? "local" : "net"; }
  static ConnectOptions to(std::string_view address) { return {local(), true, Name(address)}; }
  static Name address_of(const Side& side) {
    return local() ? side.transport->local_address() : side.transport->net_address();
  }
  // Sends `count` payloads by rendezvous to a new peer process over a new link.
  LinkId send_to(Side& side, std::string_view address, std::uint64_t count) {
    const LinkId link = side.connect(to(address), hello_of(1));
    EXPECT_TRUE(loop_.run_until([&] { return !side.ups.empty(); }));
    for (std::uint64_t i = 0; i < count; ++i) side.send(link, chunk_of(data_.size(), i + 1), data_, true);
    return link;
  }
  TestLoop loop_;
  std::vector<std::byte> data_ = pattern(16 * kMiB, 3);
};

INSTANTIATE_TEST_SUITE_P(Over, TransportFailure, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "SharedMemory" : "Network");
});

TEST_P(TransportFailure, AReceiverKilledInTheMiddleEndsEverySendWithinASecond) {
  PeerProcess peer({plane(), "listen", "receive"});
  Side side(client_options(local()), *loop_);
  const LinkId link = send_to(side, peer.line(), 64);
  ASSERT_TRUE(loop_.run_until([&] { return side.sent.size() >= 4; }));
  peer.kill();
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty() && side.all_completed(); }, kSecond));
  EXPECT_EQ(side.downs.size(), 1u);
  EXPECT_EQ(side.downs[0].first, link);
  EXPECT_EQ(side.sent.size(), 64u);
  EXPECT_FALSE(side.sent.rbegin()->second);
}

TEST_P(TransportFailure, AReceiverKilledWhileItHoldsEndsEverySendWithinASecond) {
  PeerProcess peer({plane(), "listen", "hold"});
  Side side(client_options(local()), *loop_);
  send_to(side, peer.line(), 64);
  loop_.run_until([] { return false; }, 50 * kMillisecond);
  EXPECT_TRUE(side.sent.empty());
  peer.kill();
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty() && side.all_completed(); }, kSecond));
  EXPECT_EQ(side.sent.size(), 64u);
  for (const auto& [token, status] : side.sent) EXPECT_FALSE(status);
}

TEST_P(TransportFailure, ASenderKilledInTheMiddleEndsEveryReceiveWithinASecond) {
  Side side(server_options(local()), *loop_);
  PeerProcess peer(
      {plane(), "connect", std::string(address_of(side).view()), "64", std::to_string(16 * kMiB)});
  std::vector<std::byte> into(data_.size());
  side.message_hook = [&](LinkId, const Message&, const Incoming& incoming) { side.receive(incoming, into); };
  ASSERT_TRUE(loop_.run_until([&] { return side.received.size() >= 4; }));
  peer.kill();
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty() && side.all_completed(); }, kSecond));
  EXPECT_EQ(side.downs.size(), 1u);
  EXPECT_EQ(side.received.size(), side.messages);
}

TEST_P(TransportFailure, AThousandHeldPayloadsOutliveTheirSender) {
  Side side(server_options(local()), *loop_);
  PeerProcess peer({plane(), "connect", std::string(address_of(side).view()), "1000", std::to_string(kMiB)});
  ASSERT_TRUE(loop_.run_until([&] { return side.inbox.size() == 1000; }));
  peer.kill();
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty(); }, kSecond));
  std::vector<std::byte> into(kMiB);
  for (std::size_t i = 0; i < 1000; ++i) {
    if (i % 2 == 0) {
      side.receive(side.inbox[i].incoming, into);
    } else {
      side.discard(side.inbox[i].incoming);
    }
  }
  ASSERT_TRUE(loop_.run_until([&] { return side.all_completed(); }, kSecond));
  EXPECT_EQ(side.received.size(), 500u);
  for (const auto& [token, status] : side.received) EXPECT_FALSE(status);
}

TEST_P(TransportFailure, AListenerThatNeverAnswersHelloTimesOut) {
  UcxOptions options = client_options(local());
  options.hello_timeout = 300 * kMillisecond;
  Side side(options, *loop_);
  // A socket that nobody accepts on: the kernel connects, and that is all that ever happens.
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(::listen(fd, 16), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const LinkId link = side.connect(to("127.0.0.1:" + std::to_string(ntohs(address.sin_port))), hello_of(1));
  EXPECT_FALSE(loop_.run_until([&] { return !side.downs.empty(); }, 250 * kMillisecond));
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty(); }, kSecond));
  EXPECT_EQ(side.downs[0].first, link);
  EXPECT_EQ(side.downs[0].second.code, Errc::kTimeout);
  ::close(fd);
}

TEST_P(TransportFailure, AStoppedPeerTimesOutToo) {
  PeerProcess peer({plane(), "listen", "hold"});
  const std::string address = peer.line();
  peer.signal(SIGSTOP);
  UcxOptions options = client_options(local());
  options.hello_timeout = 300 * kMillisecond;
  Side side(options, *loop_);
  side.connect(to(address), hello_of(1));
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty(); }, kSecond));
  EXPECT_EQ(side.downs[0].second.code, Errc::kTimeout);
}

TEST_P(TransportFailure, DestructionWithEverythingUnderWay) {
  std::vector<std::byte> into(
      data_.size());  // outlives the transports, as memory that was given to them must
  for (int round = 0; round < 6; ++round) {
    auto server = std::make_unique<Side>(server_options(local()), *loop_);
    auto client = std::make_unique<Side>(client_options(local()), *loop_);
    const std::string address(address_of(*server).view());
    const LinkId link = send_to(*client, address, 40);
    const LinkId back = server->hellos[0].first;
    for (std::uint64_t i = 0; i < 40; ++i) server->send(back, chunk_of(data_.size(), i + 1), data_, true);
    for (std::uint64_t i = 0; i < 200; ++i)
      client->send(link, chunk_of(60'000, 100 + i), std::span(data_).first(60'000));
    ASSERT_TRUE(loop_.run_until([&] { return server->inbox.size() >= 20; }));
    for (std::size_t i = 0; i < 10; ++i) {
      const Incoming& incoming = server->inbox[i].incoming;
      server->receive(incoming, std::span(into).first(incoming.bytes));
    }
    for (int i = 0; i < 5; ++i) client->connect(to(address), hello_of(2));
    for (int i = 0; i < round; ++i) loop_->run_once(Wait::kNo);
    round % 2 == 0 ? server.reset() : client.reset();
    loop_.run_until([] { return false; }, 10 * kMillisecond);
  }
}

// What has connected and not said what it wants yet would use the listener after its end.
TEST_P(TransportFailure, WhoConnectsAndSaysNothingIsHungUpOnWhenATransportEnds) {
  auto server = std::make_unique<Side>(server_options(local()), *loop_);
  const auto address = parse_address(address_of(*server).view(), HostNames::kRefuse);
  ASSERT_TRUE(address);
  std::vector<Fd> silent;
  for (int i = 0; i < 20; ++i) {
    const Fd& fd = silent.emplace_back(socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(fd.get(), address->get(), address->length), 0);
    ASSERT_EQ(write(fd.get(), "half a word", i % 12), i % 12);
  }
  server.reset();
  for (const Fd& fd : silent) {
    pollfd waits{fd.get(), POLLIN, 0};
    ASSERT_EQ(poll(&waits, 1, 1000), 1);
    char byte = 0;
    EXPECT_LE(read(fd.get(), &byte, 1), 0);
  }
}

// UCX reads out of other processes 4 MiB at a time, and ends a process that destroys its worker in between.
TEST_P(TransportFailure, DestructionInTheMiddleOfReceiving) {
  std::vector<std::byte> into(data_.size());
  for (int round = 0; round < 12; ++round) {
    auto server = std::make_unique<Side>(server_options(local()), *loop_);
    Side client(client_options(local()), *loop_);
    send_to(client, std::string(address_of(*server).view()), 4);
    ASSERT_TRUE(loop_.run_until([&] { return server->inbox.size() == 4; }));
    for (const Received& received : server->inbox) {
      server->receive(received.incoming, std::span(into).first(received.incoming.bytes));
    }
    for (int i = 0; i < round; ++i) loop_->run_once(Wait::kNo);
    server.reset();
    ASSERT_TRUE(loop_.run_until([&] { return client.all_completed(); }, kSecond));
  }
}

// Over shared memory the queue of a process that does not run fills up, and UCX waits for room in it for
// ever.
TEST_P(TransportFailure, AProcessThatStopsUnderAFloodAndDiesEndsEverySend) {
  PeerProcess peer({plane(), "listen", "hold"});
  Side side(client_options(local()), *loop_);
  const LinkId link = send_to(side, peer.line(), 20);
  loop_.run_until([] { return false; }, 50 * kMillisecond);
  peer.signal(SIGSTOP);
  for (std::uint64_t i = 0; i < 20; ++i) side.send(link, chunk_of(data_.size(), 100 + i), data_, true);
  for (std::uint64_t i = 0; i < 5000; ++i) side.send(link, Ping{i, false});
  for (std::uint64_t i = 0; i < 100; ++i)
    side.send(link, chunk_of(60'000, 200 + i), std::span(data_).first(60'000));
  loop_.run_until([] { return false; }, 50 * kMillisecond);
  peer.kill();
  ASSERT_TRUE(loop_.run_until([&] { return !side.downs.empty() && side.all_completed(); }, kSecond));
  EXPECT_EQ(side.sent.size(), 5140u);
}

TEST_P(TransportFailure, CloseOnAStoppedProcessEndsEverySend) {
  PeerProcess peer({plane(), "listen", "hold"});
  Side side(client_options(local()), *loop_);
  const LinkId link = send_to(side, peer.line(), 20);
  loop_.run_until([] { return false; }, 50 * kMillisecond);
  peer.signal(SIGSTOP);
  for (std::uint64_t i = 0; i < 5000; ++i) side.send(link, Ping{i, false});
  side.close(link);
  ASSERT_TRUE(loop_.run_until([&] { return side.all_completed(); }, kSecond));
  peer.signal(SIGCONT);  // what UCX still had queued may leave now
  loop_.run_until([] { return false; }, 100 * kMillisecond);
  EXPECT_TRUE(side.downs.empty());
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

TEST_P(TransportFailure, ConnectingAndClosingLeaksNoDescriptors) {
  Side server(server_options(local()), *loop_);
  Side client(client_options(local()), *loop_);
  const std::string address(address_of(server).view());
  std::size_t before = 0;
  for (std::size_t round = 0; round < 200; ++round) {
    const LinkId link = client.connect(to(address), hello_of(1 + round));
    ASSERT_TRUE(loop_.run_until([&] { return client.ups.size() == round + 1; })) << round;
    ASSERT_TRUE(client.downs.empty()) << round << to_string(client.downs[0].second);
    (round % 2 == 0 ? client : server).close(round % 2 == 0 ? link : server.hellos.back().first);
    auto& other = round % 2 == 0 ? server : client;
    ASSERT_TRUE(loop_.run_until([&] { return !other.downs.empty(); })) << round;
    other.downs.clear();
    if (round == 19) before = open_descriptors();
  }
  EXPECT_TRUE(loop_.run_until([&] { return open_descriptors() <= before; }, 2 * kSecond))
      << before << " became " << open_descriptors();
}

TEST_P(TransportFailure, TwoThreadsWithALoopEach) {
  std::atomic<bool> stop = false;
  std::string address;
  std::atomic<bool> ready = false;
  std::thread server_thread([&] {
    TestLoop loop;
    Side server(server_options(local()), *loop);
    std::vector<std::byte> into(kMiB);
    server.message_hook = [&](LinkId from, const Message& message, const Incoming& incoming) {
      if (incoming.present()) server.receive(incoming, std::span(into).first(incoming.bytes));
      server.send(from, Ping{std::get<Chunk>(message).transfer.sequence, true});
    };
    address = address_of(server).view();
    ready = true;
    while (!stop) loop.run_until([&] { return stop.load(); }, 20 * kMillisecond);
  });
  while (!ready) std::this_thread::yield();
  {
    Side client(client_options(local()), *loop_);
    const LinkId link = client.connect(to(address), hello_of(1));
    ASSERT_TRUE(loop_.run_until([&] { return !client.ups.empty(); }));
    for (std::uint64_t i = 1; i <= 300; ++i)
      client.send(link, chunk_of(kMiB, i), std::span(data_).first(kMiB), true);
    EXPECT_TRUE(
        loop_.run_until([&] { return client.messages == 300 && client.all_completed(); }, 20 * kSecond));
  }
  stop = true;
  server_thread.join();
}

}  // namespace
}  // namespace sidecar::testing
