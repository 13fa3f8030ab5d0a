#include "control/static_members.h"

namespace sidecar {

std::optional<MemberRecord> StaticMembers::find(Rank rank) const {
  const std::optional<HostPort> address = peers_.find(rank);
  if (!address) return std::nullopt;
  return MemberRecord{rank, 0, address->text(), {}};
}

std::vector<MemberRecord> StaticMembers::list() const {
  std::vector<MemberRecord> members;
  for (const Rank rank : peers_.ranks()) {
    if (members.size() == kListedMax) break;
    members.push_back(*find(rank));
  }
  return members;
}

// There are no changes to hear of.
Members::ListenerId StaticMembers::listen(Listener, std::vector<MemberRecord>* present) {
  *present = list();
  return 0;
}

}  // namespace sidecar
