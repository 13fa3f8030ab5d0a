// Members of one world, which find each other through an etcd in this process.
#pragma once

#include <gmock/gmock.h>

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/etcd_claim.h"
#include "control/etcd_members.h"
#include "fmt/format.h"
#include "tests/control/fake_etcd.h"
#include "tests/control/heard_changes.h"

namespace sidecar {

class EtcdMembersTest : public testing::Test {
 protected:
  using Joined = tl::expected<void, std::string>;

  static MemberRecord record(Rank rank, InstanceId instance) {
    return {rank, instance, fmt::format("127.0.0.1:{}", 10000 + rank), "node-a"};
  }
  static std::string key(Rank rank) { return fmt::format("/test/members/{}", rank); }

  std::unique_ptr<EtcdMembers> make(Rank rank, std::vector<std::string> endpoints = {}) {
    EtcdOptions options;
    options.rank = rank;
    options.endpoints = endpoints.empty() ? std::vector<std::string>{etcd_.endpoint()} : std::move(endpoints);
    options.prefix = "/test/";
    options.ttl = std::chrono::seconds(2);
    options.on_usurped = [this](const std::string& text) {
      const std::lock_guard lock(mutex_);
      usurped_.push_back(text);
    };
    return std::make_unique<EtcdMembers>(std::move(options));
  }
  static std::future<Joined> start_joining(EtcdMembers& members, Rank rank, InstanceId instance) {
    auto promise = std::make_shared<std::promise<Joined>>();
    members.join(record(rank, instance), [promise](const Joined& joined) { promise->set_value(joined); });
    return promise->get_future();
  }
  static Joined wait(std::future<Joined>& joined, std::chrono::seconds limit = std::chrono::seconds(15)) {
    if (joined.wait_for(limit) != std::future_status::ready) return tl::unexpected(std::string("no answer"));
    return joined.get();
  }
  // One that has joined.
  std::unique_ptr<EtcdMembers> join(Rank rank, InstanceId instance) {
    auto members = make(rank);
    auto joined = start_joining(*members, rank, instance);
    const Joined result = wait(joined);
    EXPECT_TRUE(result) << result.error();
    return members;
  }
  // What somebody who is not one of ours writes.
  void put(Rank rank, InstanceId instance) { etcd_.put(key(rank), encode_member(record(rank, instance))); }
  std::size_t usurpations() {
    const std::lock_guard lock(mutex_);
    return usurped_.size();
  }

  FakeEtcd etcd_;
  std::mutex mutex_;
  std::vector<std::string> usurped_;
};

}  // namespace sidecar
