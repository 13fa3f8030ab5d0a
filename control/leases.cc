#include "control/leases.h"

#include <algorithm>

namespace sidecar {

void Leases::grant(InstanceId client, TimeNs now) {
  if (until_.empty()) looked_ = now;  // nobody called while there was nothing to look at
  until_[client] = now + length_;
  earliest_ = std::min(earliest_, now + length_);
}

bool Leases::renew(InstanceId client, TimeNs now) {
  const auto found = until_.find(client);
  if (found == until_.end()) return false;
  found->second = now + length_;
  return true;
}

std::vector<InstanceId> Leases::take_ended(TimeNs now) {
  const bool stood_still = now - looked_ > length_ / 2;
  looked_ = now;
  std::vector<InstanceId> ended;
  if (until_.empty()) {
    earliest_ = kNever;
    return ended;
  }
  if (stood_still) {
    for (auto& [client, until] : until_) until = now + length_;
    earliest_ = now + length_;
  }
  if (now < earliest_) return ended;
  earliest_ = kNever;
  for (auto it = until_.begin(); it != until_.end();) {
    if (it->second > now) {
      earliest_ = std::min(earliest_, it->second);
      ++it;
    } else {
      ended.push_back(it->first);
      it = until_.erase(it);
    }
  }
  return ended;
}

// Often enough to tell a loop that slept from a process that stood still.
TimeNs Leases::next_deadline() const {
  return until_.empty() ? kNever : std::min(earliest_, looked_ + length_ / 4);
}

}  // namespace sidecar
