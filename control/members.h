// Who is in the cluster, as whoever keeps the membership says: from the configuration (StaticMembers) or from
// etcd (EtcdMembers). Ours is one of the records.
//
// Threads: any, gRPC's handlers among them. Nothing here waits, except for leave().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "core/types.h"

namespace sidecar {

struct MemberRecord {
  Rank rank = kNoRank;
  InstanceId instance = 0;   // 0: whoever keeps the membership does not know
  std::string grpc_address;  // host:port
  std::string node;          // empty: not known
  friend bool operator==(const MemberRecord&, const MemberRecord&) = default;
};

struct MemberChange {
  enum class Kind : std::uint8_t {
    kJoined,    // its rank had no record
    kReplaced,  // another instance has the rank now; or the same one at another address
    kGone,      // its record was withdrawn, or its lease ended
  };
  Kind kind = Kind::kJoined;
  MemberRecord member;    // kGone: as it was
  InstanceId before = 0;  // kReplaced: the instance that had the rank
};

class Members {
 public:
  // Called on the provider's thread, one change after the other, in their order. Short; it may ask, and must
  // neither listen nor stop listening.
  using Listener = std::function<void(const MemberChange&)>;
  using ListenerId = std::uint64_t;
  // The error says who has the rank, or what else is wrong, and what to do. On the provider's thread, or
  // within join().
  using OnJoined = std::function<void(const tl::expected<void, std::string>&)>;

  static constexpr std::size_t kListedMax = 10'000;

  virtual ~Members() = default;

  // Whether a rank has a record. Our own has one always.
  [[nodiscard]] virtual bool knows(Rank rank) const = 0;
  // Nothing for unknown ranks.
  [[nodiscard]] virtual std::optional<MemberRecord> find(Rank rank) const = 0;
  // By rank, ascending; the first kListedMax.
  [[nodiscard]] virtual std::vector<MemberRecord> list() const = 0;
  // "ranks 0, 1, 7", shortened when long: for messages.
  [[nodiscard]] virtual std::string summary() const = 0;
  // Whether a rank that is not known may be a moment later.
  [[nodiscard]] virtual bool may_grow() const = 0;

  // The listener hears of every change after *present, which is what list() says now.
  virtual ListenerId listen(Listener listener, std::vector<MemberRecord>* present) = 0;
  // When it returns, the listener does not run and never will again.
  virtual void stop_listening(ListenerId listener) = 0;

  // Makes our own record known to the others and keeps it known. Once.
  virtual void join(const MemberRecord& own, OnJoined on_joined) = 0;
  // Withdraws it. Waits for at most a second; after that its lease, if it has one, ends by itself.
  virtual void leave() = 0;
};

}  // namespace sidecar
