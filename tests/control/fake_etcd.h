// An etcd in this process, as far as we speak with one: keys with revisions, leases that end, watches, and
// whatever can go wrong with these on request.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control/etcd.grpc.pb.h"

namespace sidecar {

class FakeEtcd {
 public:
  FakeEtcd();
  ~FakeEtcd();
  FakeEtcd(const FakeEtcd&) = delete;
  FakeEtcd& operator=(const FakeEtcd&) = delete;

  [[nodiscard]] std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }

  // The server goes away, and comes back at the same address with what it had.
  void stop();
  void start();

  // As etcdctl would.
  void put(const std::string& key, const std::string& value, std::int64_t lease = 0);
  void erase(const std::string& key);
  std::string get(const std::string& key);  // empty: there is none
  std::int64_t lease_of(const std::string& key);
  void revoke(std::int64_t lease);

  // Somebody writes it just after the next list was made.
  void put_after_list(const std::string& key, const std::string& value);

  // --- faults
  // The next so many transactions fail.
  void refuse_transactions(int count);
  // Every call but Watch takes so long.
  void be_slow(std::chrono::milliseconds delay);
  // Watches say nothing, not even that they were created.
  void be_mute(bool mute);
  // Every watch ends: because its revision is compacted, or with that reason.
  void compact_watches();
  void cancel_watches(const std::string& reason);

  // --- counted
  int watches();
  int lists();
  int grants();

 private:
  class Kv;
  class Watches;
  class Leases;
  struct Change {
    std::int64_t revision = 0;
    etcdserverpb::Event event;
  };
  struct LeaseFacts {
    std::int64_t ttl = 0;
    std::chrono::steady_clock::time_point ends;
  };
  // All with mutex_ held.
  void put_locked(const std::string& key, const std::string& value, std::int64_t lease);
  void erase_locked(const std::string& key);
  void end_lease(std::int64_t lease);
  void end_due_leases();
  void answer_range(const etcdserverpb::RangeRequest& request, etcdserverpb::RangeResponse* response);
  void fill(etcdserverpb::ResponseHeader* header) const { header->set_revision(revision_); }
  void take_time();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t revision_ = 1;
  std::int64_t last_lease_ = 1000;
  std::map<std::string, etcdserverpb::KeyValue> keys_;
  std::map<std::int64_t, LeaseFacts> leases_;
  std::vector<Change> history_;
  std::map<std::string, std::string> after_list_;
  int refuse_ = 0;
  std::chrono::milliseconds delay_{0};
  bool mute_ = false;
  bool stopping_ = false;
  std::uint64_t cancellations_ = 0;  // of all watches at once
  std::string cancel_reason_;        // empty: compaction
  int watches_ = 0, lists_ = 0, grants_ = 0;

  int port_ = 0;
  std::unique_ptr<Kv> kv_;
  std::unique_ptr<Watches> watch_;
  std::unique_ptr<Leases> lease_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace sidecar
