// Executors of two ranks each: ranks 0 and 1 on node a are the producers, 3 and 4 on node b consume, as does
// rank 2 alone on node a.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <thread>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {

class Groups : public ::testing::Test {
 protected:
  Groups()
      : cluster_({.nodes = {"a", "a", "a", "b", "b"}, .arena = "256M", .flags = {"--peer-timeout", "3s"}}),
        producers_{member(0, {0, 1}), member(1, {0, 1})} {}

  Client member(Rank rank, Group group) const {
    return cluster_.client(rank, {.group = std::move(group), .concurrent_copy = true});
  }
  SendHandle send(std::size_t index, const std::string& id, const std::vector<std::byte>& bytes,
                  const std::vector<Group>& to, seconds deadline = seconds(30)) {
    return producers_.at(index).send_async(Tensor{bytes.data(), Dtype::kU8, {bytes.size()}}, id, to, 0, 1,
                                           {.deadline = deadline});
  }
  void send_together(const std::string& id, std::size_t size, const std::vector<Group>& to) {
    const auto bytes = contents(id, 0, size);
    SendHandle first = send(0, id, bytes, to), second = send(1, id, bytes, to);
    for (SendHandle* handle : {&first, &second}) {
      const auto sent = handle->delivered.get();
      EXPECT_TRUE(sent) << id << ": " << to_string(sent.error());
    }
  }
  void expect_there(Client& consumer, const std::string& id, std::size_t size) {
    const auto view = consumer.recv(id, 0, seconds(30));
    ASSERT_TRUE(view) << id << ": " << to_string(view.error());
    EXPECT_EQ(view->size_bytes(), size);
    EXPECT_TRUE(matches(view->bytes(), id, 0)) << id;
  }
  // True when it came true in time.
  static bool eventually(const std::function<bool()>& what, seconds limit = seconds(10)) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!what()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
  }

  Cluster cluster_;
  std::array<Client, 2> producers_;
};

}  // namespace sidecar::e2e
