// What the files that ask the control plane share: how they connect, for how long, and how errors are told.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "client/registration.h"
#include "sidecar/failure.h"

namespace sidecar::client_internal {

std::shared_ptr<grpc::Channel> channel_to(const Contact& sidecar);
void set_deadline(grpc::ClientContext& context, std::chrono::nanoseconds deadline);
// `sidecar`: that was asked; `rank`: whom the failure is about.
Failure failure_of(const grpc::Status& status, const Contact& sidecar, Rank rank);

}  // namespace sidecar::client_internal
