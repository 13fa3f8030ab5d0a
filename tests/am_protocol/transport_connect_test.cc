// Many connections to a process that takes its time: UCX goes through every stage of making one while Hello
// waits.
#include "tests/am_protocol/transport_fixture.h"

namespace sidecar::testing {
namespace {

class TransportConnect : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool local() { return GetParam(); }
  [[nodiscard]] ConnectOptions options() const {
    return {local(), true, local() ? server_->transport->local_address() : server_->transport->net_address()};
  }
  void TearDown() override {
    client_.reset();
    server_.reset();
  }
  // The client goes on as fast as it can; the server takes a step when the client has taken `slower`.
  template <class Done>
  bool run_until(int slower, Done&& done) {
    const TimeNs end = Loop::now_ns() + 20 * kSecond;
    while (!done()) {
      if (Loop::now_ns() > end) return false;
      for (int i = 0; i < slower; ++i) client_loop_->run_once(Wait::kNo);
      server_loop_->run_once(Wait::kNo);
    }
    return true;
  }

  TestLoop client_loop_, server_loop_;  // a loop for each, so that each has its own pace
  std::unique_ptr<Side> server_ = std::make_unique<Side>(server_options(local()), *server_loop_);
  std::unique_ptr<Side> client_ = std::make_unique<Side>(client_options(local()), *client_loop_);
};

INSTANTIATE_TEST_SUITE_P(Over, TransportConnect, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "SharedMemory" : "Network");
});

TEST_P(TransportConnect, TwoHundredTimesToASlowProcessNoHelloIsLost) {
  constexpr std::size_t kLinks = 200;
  constexpr std::size_t kAtOnce = 8;
  for (std::size_t made = 0; made < kLinks; made += kAtOnce) {
    std::vector<LinkId> links;
    for (std::size_t i = 0; i < kAtOnce; ++i) {
      links.push_back(client_->connect(options(), hello_of(100 + made + i)));
    }
    const int slower = 1 << (made / kAtOnce % 8);
    ASSERT_TRUE(
        run_until(slower, [&] { return client_->ups.size() + client_->downs.size() == made + kAtOnce; }));
    ASSERT_EQ(client_->transport->counters().send_failures, 0u) << "after " << made;
    ASSERT_TRUE(client_->downs.empty()) << to_string(client_->downs[0].second) << " after " << made;
    for (const LinkId link : links) client_->close(link);
    ASSERT_TRUE(run_until(1, [&] { return server_->downs.size() == server_->hellos.size(); }));
  }
  EXPECT_EQ(client_->ups.size(), kLinks);
  EXPECT_EQ(server_->hellos.size(), kLinks);
}

// Each link's second Hello as well, and what is said as soon as the link is up.
TEST_P(TransportConnect, ManyAtOnceToASlowProcessAllComeUpAndCarryMessages) {
  constexpr std::size_t kLinks = 50;
  for (std::size_t i = 0; i < kLinks; ++i) client_->connect(options(), hello_of(100 + i));
  const Message longer = chunk_of(0);
  client_->up_hook = [&](LinkId link) { client_->send(link, longer); };
  EXPECT_TRUE(run_until(50, [&] { return server_->messages == kLinks && client_->all_completed(); }));
  EXPECT_EQ(client_->ups.size(), kLinks);
  EXPECT_TRUE(client_->downs.empty()) << client_->downs.size() << " failed";
  EXPECT_TRUE(run_until(1, [&] { return server_->transport->counters().links_opened == kLinks; }));
  EXPECT_EQ(client_->transport->counters().send_failures, 0u);
  for (const auto& [token, status] : client_->sent) EXPECT_TRUE(status) << to_string(status.error());
}

}  // namespace
}  // namespace sidecar::testing
