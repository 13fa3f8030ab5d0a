// Which registered clients have a lease, and until when. Owned and used by the loop's thread only.
#pragma once

#include <unordered_map>
#include <vector>

#include "core/messages.h"

namespace sidecar {

class Leases {
 public:
  // Every lease is as long as that.
  explicit Leases(TimeNs length) : length_(length) {}

  // A lease from now on, in place of the one it had.
  void grant(InstanceId client, TimeNs now);
  // False: it has none.
  bool renew(InstanceId client, TimeNs now);
  void end(InstanceId client) { until_.erase(client); }

  // Those that have ended by now; they have none any more. To be called in every step of the loop: when it
  // was us who stood still, nobody could renew, and all get a full lease again.
  std::vector<InstanceId> take_ended(TimeNs now);
  // When take_ended() must be called at the latest.
  [[nodiscard]] TimeNs next_deadline() const;

  [[nodiscard]] TimeNs length() const { return length_; }
  [[nodiscard]] std::size_t size() const { return until_.size(); }

 private:
  const TimeNs length_;
  std::unordered_map<InstanceId, TimeNs> until_;
  TimeNs earliest_ = kNever;  // none ends before
  TimeNs looked_ = 0;         // at the last take_ended()
};

}  // namespace sidecar
