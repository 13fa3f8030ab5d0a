// Who is in the cluster, as a sidecar tells it.
#include "client/registration.h"
#include "client/registration_grpc.h"
#include "control/sidecar.grpc.pb.h"

namespace sidecar::client_internal {
namespace {

constexpr std::chrono::seconds kConnectLimit{5};

MemberLine line_of(const v1::Member& member) {
  return {member.rank(), member.instance(), member.node(), member.grpc_address(), member.self()};
}

const char* text_of(v1::MemberEvent::Kind kind) {
  switch (kind) {
    case v1::MemberEvent::JOINED: return "joined";
    case v1::MemberEvent::REPLACED: return "replaced";
    case v1::MemberEvent::GONE: return "gone";
    default: return "changed";  // by a newer sidecar, in a way that we do not know
  }
}

}  // namespace

Expected<std::vector<MemberLine>> ask_members(const Contact& sidecar, std::chrono::nanoseconds deadline) {
  grpc::ClientContext context;
  set_deadline(context, deadline);
  v1::ListResponse response;
  const grpc::Status status = v1::Membership::NewStub(channel_to(sidecar))->List(&context, {}, &response);
  if (!status.ok()) return failure_of(status, sidecar, kNoRank);
  std::vector<MemberLine> lines;
  for (const v1::Member& member : response.members()) lines.push_back(line_of(member));
  return lines;
}

Failure watch_members(const Contact& sidecar, const OnMember& on_member) {
  const auto channel = channel_to(sidecar);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kConnectLimit)) {
    return failure_of({grpc::StatusCode::UNAVAILABLE, "no connection within 5 s"}, sidecar, kNoRank);
  }
  grpc::ClientContext context;
  const auto reader = v1::Membership::NewStub(channel)->Watch(&context, {});
  v1::WatchResponse response;
  while (reader->Read(&response)) {
    for (const v1::Member& member : response.present()) on_member("present", line_of(member));
    for (const v1::MemberEvent& event : response.changes()) {
      on_member(text_of(event.kind()), line_of(event.member()));
    }
  }
  const grpc::Status status = reader->Finish();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE)
    return {Errc::kUnavailable, kNoRank,
            "the sidecar at " + sidecar.address + " has ended: " + status.error_message()};
  return failure_of(status, sidecar, kNoRank);
}

}  // namespace sidecar::client_internal
