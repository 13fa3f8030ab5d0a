// Sidecars that find each other through a real etcd, and traffic between them that must not notice what
// becomes of it.
#pragma once

#include <gmock/gmock.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "tests/e2e/etcd.h"
#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {

// Sends datum after datum and has each received, until it is told to stop.
class Traffic {
 public:
  Traffic(const Cluster& cluster, Rank from, Rank to)
      : thread_([this, &cluster, from, to] { run(cluster, from, to); }) {}
  ~Traffic() { stop(); }
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;

  // All that was sent arrived as it was; how many.
  int stop() {
    if (thread_.joinable()) {
      stopping_ = true;
      thread_.join();
      EXPECT_EQ(failure_, "");
    }
    return count_;
  }
  [[nodiscard]] int count() const { return count_; }

 private:
  void run(const Cluster& cluster, Rank from, Rank to) {
    Client producer = cluster.client(from);
    Client consumer = cluster.client(to);
    while (!stopping_ && failure_.empty()) {
      const std::string id = "traffic " + std::to_string(from) + " " + std::to_string(count_);
      const auto bytes = contents(id, 0, 20'000);
      if (const auto sent = producer.send(tensor_of(bytes), id, {{to}}); !sent) {
        failure_ = id + ": " + to_string(sent.error());
      } else if (const auto view = consumer.recv(id, 0, seconds(20)); !view) {
        failure_ = id + ": " + to_string(view.error());
      } else if (!matches(view->bytes(), id, 0)) {
        failure_ = id + ": other bytes";
      } else if (const auto done = consumer.mark_done(id); !done) {
        failure_ = id + ": " + to_string(done.error());
      }
      ++count_;
      std::this_thread::sleep_for(milliseconds(2));
    }
  }

  std::atomic<bool> stopping_{false};
  std::atomic<int> count_{0};
  std::string failure_;
  std::thread thread_;
};

class EtcdWorld : public testing::Test {
 protected:
  // Leases of 3 s: what ends with one is seen soon, and long before a silent peer is lost.
  void make(std::size_t servers, std::vector<std::string> nodes) {
    etcd_.emplace(servers);
    cluster_ =
        std::make_unique<Cluster>(ClusterOptions{.nodes = std::move(nodes),
                                                 .arena = "32M",
                                                 .flags = {"--member-ttl", "3s", "--peer-timeout", "100s"},
                                                 .etcd = etcd_->endpoints()});
  }
  void TearDown() override { cluster_.reset(); }

  [[nodiscard]] std::vector<client_internal::MemberLine> members(Rank asked) const {
    const auto lines = client_internal::ask_members(cluster_->address(asked), seconds(5));
    EXPECT_TRUE(lines) << to_string(lines.error());
    return lines ? *lines : std::vector<client_internal::MemberLine>{};
  }
  // 0: that rank has no record, as far as `asked` knows.
  [[nodiscard]] std::uint64_t instance(Rank asked, Rank of) const {
    for (const auto& line : members(asked)) {
      if (line.rank == of) return line.instance;
    }
    return 0;
  }
  // A datum from one to the other, and what became of sending it.
  Expected<void> send_one(Rank from, Rank to) {
    const std::string id = "one " + std::to_string(++ids_);
    const auto bytes = contents(id, 0, 100'000);
    Client producer = cluster_->client(from);
    auto sent = producer.send(tensor_of(bytes), id, {{to}});
    if (!sent) return sent;
    Client consumer = cluster_->client(to);
    const auto view = consumer.recv(id, 0, seconds(20));
    EXPECT_TRUE(view && matches(view->bytes(), id, 0));
    EXPECT_TRUE(consumer.mark_done(id));
    return sent;
  }
  void expect_nobody_lost() {
    for (Rank rank = 0; rank < cluster_->size(); ++rank)
      EXPECT_EQ(cluster_->counter(rank, "peers_lost"), 0u) << "by rank " << rank << "\n"
                                                           << cluster_->log(rank);
  }

  std::optional<Etcd> etcd_;
  std::unique_ptr<Cluster> cluster_;
  int ids_ = 0;
};

}  // namespace sidecar::e2e
