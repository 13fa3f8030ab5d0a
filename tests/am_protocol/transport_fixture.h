// Two sides of a connection for the transport's contract tests: an Events that records everything and checks
// what must hold at any time (no callback from inside a call, every token exactly once, nothing after a link
// is down).
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "am_protocol/transport.h"
#include "tests/support/test_loop.h"

namespace sidecar::testing {

struct Received {
  LinkId link;
  Message message;
  Incoming incoming;
};

struct Bad {
  LinkId link;
  Message rest;
  Incoming incoming;
  Error why;
};

class Side final : public Events {
 public:
  Side(const UcxOptions& options, Loop& loop) {
    auto opened = UcxTransport::create(options, loop, *this);
    if (!opened) ADD_FAILURE() << to_string(opened.error());
    transport = std::move(*opened);
  }

  // --- calls, each marked so that a callback from inside shows ---
  LinkId connect(const ConnectOptions& options, const Hello& hello) {
    const Inside inside(*this);
    return transport->connect(options, hello);
  }
  Token send(LinkId link, const Message& message, ConstBytes payload = {}, bool rendezvous = false) {
    const Inside inside(*this);
    const Token token = next_token_++;
    sending_.insert(token);
    transport->send(link, message, payload, rendezvous, token);
    return token;
  }
  Token receive(const Incoming& incoming, Bytes into) {
    const Inside inside(*this);
    const Token token = next_token_++;
    receiving_.insert(token);
    transport->receive(incoming, into, token);
    return token;
  }
  Token after_arrived(LinkId link) {
    const Inside inside(*this);
    const Token token = next_token_++;
    receiving_.insert(token);
    transport->after_arrived(link, token);
    return token;
  }
  void discard(const Incoming& incoming) {
    const Inside inside(*this);
    transport->discard(incoming);
  }
  void close(LinkId link) {
    const Inside inside(*this);
    transport->close(link);
    down_[link.pack()];
  }
  // For handlers set below, which run inside a callback that is allowed.
  [[nodiscard]] bool all_completed() const { return sending_.empty() && receiving_.empty(); }

  // --- Events ---
  Result<HelloAck> on_hello(LinkId link, const Hello& hello) override {
    EXPECT_FALSE(inside_);
    hellos.push_back({link, hello});
    if (answer_hello) {
      auto answer = answer_hello(link, hello);
      if (answer) links.insert(link.pack());
      return answer;
    }
    links.insert(link.pack());
    HelloAck answer;
    answer.rank = 7;
    answer.instance = 77;
    return answer;
  }
  void on_link_up(LinkId link, const HelloAck& answer) override {
    EXPECT_FALSE(inside_);
    EXPECT_TRUE(links.insert(link.pack()).second);
    ups.push_back({link, answer});
    if (up_hook) up_hook(link);
  }
  void on_link_down(LinkId link, const Error& why) override {
    EXPECT_FALSE(inside_);
    EXPECT_FALSE(down_.contains(link.pack())) << "twice down, or down after close()";
    down_[link.pack()] = why;
    downs.push_back({link, why});
  }
  void on_message(LinkId link, const Message& message, const Incoming& incoming) override {
    EXPECT_FALSE(inside_);
    EXPECT_FALSE(down_.contains(link.pack())) << "a message after the end";
    EXPECT_TRUE(links.contains(link.pack())) << "a message before the link was up";
    ++messages;
    if (message_hook) return message_hook(link, message, incoming);
    inbox.push_back({link, message, incoming});
  }
  void on_bad_message(LinkId link, const Message& rest, const Incoming& incoming, const Error& why) override {
    EXPECT_FALSE(inside_);
    EXPECT_FALSE(down_.contains(link.pack())) << "a message after the end";
    EXPECT_TRUE(links.contains(link.pack())) << "a message before the link was up";
    bad.push_back({link, rest, incoming, why});
    if (incoming.present()) discard(incoming);
  }
  void on_sent(Token token, const Status& status) override {
    EXPECT_FALSE(inside_);
    EXPECT_EQ(sending_.erase(token), 1u) << "completed twice";
    sent[token] = status;
    if (sent_hook) sent_hook(token);
  }
  void on_received(Token token, const Status& status) override {
    EXPECT_FALSE(inside_);
    EXPECT_EQ(receiving_.erase(token), 1u) << "completed twice";
    received[token] = status;
    if (received_hook) received_hook(token);
  }
  void on_resolved(Rank, const Result<PeerRecord>&) override {}
  void on_process_gone(Token) override {}

  std::unique_ptr<UcxTransport> transport;
  std::function<Result<HelloAck>(LinkId, const Hello&)> answer_hello;
  std::function<void(LinkId)> up_hook;
  std::function<void(LinkId, const Message&, const Incoming&)> message_hook;
  std::function<void(Token)> sent_hook;
  std::function<void(Token)> received_hook;
  std::vector<std::pair<LinkId, Hello>> hellos;
  std::vector<std::pair<LinkId, HelloAck>> ups;
  std::vector<std::pair<LinkId, Error>> downs;
  std::deque<Received> inbox;
  std::vector<Bad> bad;
  std::map<Token, Status> sent;
  std::map<Token, Status> received;
  std::set<std::uint64_t> links;
  std::uint64_t messages = 0;

 private:
  struct Inside {
    explicit Inside(Side& side) : side_(side), before_(std::exchange(side.inside_, true)) {}
    ~Inside() { side_.inside_ = before_; }
    Side& side_;
    bool before_;
  };
  bool inside_ = false;
  Token next_token_ = 1;
  std::set<Token> sending_;
  std::set<Token> receiving_;
  std::map<std::uint64_t, Error> down_;
};

inline UcxOptions server_options(bool local) {
  UcxOptions options;
  options.local = local;
  options.net = !local;
  (local ? options.local_listen : options.net_listen) = "127.0.0.1:0";
  return options;
}

inline UcxOptions client_options(bool local) {
  UcxOptions options;
  options.local = local;
  options.net = !local;
  return options;
}

inline Hello hello_of(InstanceId instance) {
  Hello hello;
  hello.role = Role::kPeer;
  hello.rank = 3;
  hello.instance = instance;
  hello.to_instance = 77;
  hello.pid = getpid();
  hello.node = Name("node");
  hello.ticket = Ticket("ticket");
  return hello;
}

// A chunk whose payload is `bytes` long.
inline Message chunk_of(std::uint64_t bytes, std::uint64_t sequence = 1) {
  Message message{std::in_place_type<Chunk>};
  auto& chunk = std::get<Chunk>(message);
  chunk.transfer = {sequence, 1};
  chunk.meta.id = DataId("datum");
  chunk.meta.num_chunks = 1;
  chunk.meta.kind = ChunkKind::kObject;
  chunk.meta.bytes = bytes;
  return message;
}

inline std::vector<std::byte> pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> data(bytes);
  std::uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (std::byte& byte : data) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    byte = static_cast<std::byte>(x >> 24);
  }
  return data;
}

}  // namespace sidecar::testing
