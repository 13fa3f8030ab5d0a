// Speaks etcd's gRPC API, version 3, with one of its servers. Every call blocks, for at most the limit given,
// and its error says what the server or the connection said. One thread, apart from cancel(). Whatever server
// answers has a leader: one that is cut off from the others says so instead of telling what is old.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace grpc {
class ChannelCredentials;
}

namespace sidecar {

template <class T>
using EtcdReply = tl::expected<T, std::string>;

struct EtcdRecord {
  std::string key;
  std::string value;
  std::int64_t revision = 0;  // of its last change
  std::int64_t lease = 0;     // 0: none, it stays for ever
};

struct EtcdList {
  std::int64_t revision = 0;  // when it was so
  std::vector<EtcdRecord> records;
};

struct EtcdLease {
  std::int64_t id = 0;
  std::chrono::seconds left{0};  // below 0: there is no such lease any more
  std::chrono::seconds granted{0};
};

struct EtcdEvent {
  bool deleted = false;
  EtcdRecord record;  // when deleted: the key alone
};

// What a watch has to tell.
struct EtcdNews {
  enum class Kind : std::uint8_t {
    kNothing,  // time is up
    kCreated,  // the server has taken the watch
    kEvents,
    kCompacted,  // some of what happened is not to be had any more: list, and watch from there
    kEnded,      // for another reason, which `why` says
  };
  Kind kind = Kind::kNothing;
  std::vector<EtcdEvent> events;
  std::string why;
};

class EtcdClient {
 public:
  using Clock = std::chrono::steady_clock;

  // No credentials: without TLS.
  EtcdClient(const std::string& endpoint, std::chrono::milliseconds call_limit,
             const std::shared_ptr<grpc::ChannelCredentials>& credentials = nullptr);
  ~EtcdClient();  // ends the watch
  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

  EtcdReply<EtcdLease> grant(std::chrono::seconds ttl);
  // What is left of it now.
  EtcdReply<EtcdLease> keep_alive(std::int64_t lease);
  EtcdReply<EtcdLease> time_to_live(std::int64_t lease);
  EtcdReply<void> revoke(std::int64_t lease);

  // Writes the record under its lease if the key's last change is `record.revision`, 0: if there is no such
  // key. An empty list: it is written; otherwise what is there instead (or nothing any more, with no record).
  struct Written {
    bool done = false;
    std::int64_t revision = 0;  // since when it is there
    std::vector<EtcdRecord> instead;
  };
  EtcdReply<Written> write(const EtcdRecord& record);

  // Everything whose key starts with `prefix`, in pages, all of one revision.
  EtcdReply<EtcdList> list(const std::string& prefix);

  // Watches what starts with `prefix`, from the changes of `revision` on. The one before, if any, ends.
  void watch(const std::string& prefix, std::int64_t revision);
  // Waits for the watch to tell something.
  EtcdNews next(Clock::time_point until);

  // Any thread: what waits now ends with an error, and so does everything later.
  void cancel();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The first key after all that start with `prefix`, as etcd wants the end of a range.
std::string etcd_range_end(std::string prefix);

}  // namespace sidecar
