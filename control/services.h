// The gRPC services. Their handlers run on gRPC's threads, check what they were sent, post to the mailbox and
// wait for the answer with a time limit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "control/backend.h"
#include "control/member_watchers.h"
#include "core/mailbox.h"

namespace grpc {
class Service;
}

namespace sidecar {

// Lives longer than the services.
struct ServiceContext {
  const Identity& identity;
  Mailbox& mailbox;
  Backend& backend;
  MemberWatchers watchers{*identity.members};
  std::atomic<std::uint16_t> grpc_port{0};  // known a moment after the server has begun to serve
};

std::unique_ptr<grpc::Service> make_registration_service(ServiceContext& context);
std::unique_ptr<grpc::Service> make_membership_service(ServiceContext& context);
std::unique_ptr<grpc::Service> make_admin_service(ServiceContext& context);

}  // namespace sidecar
