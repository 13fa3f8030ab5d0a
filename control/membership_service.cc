// Membership: where the ranks are, and the right to connect to this one.

#include "control/service_support.h"
#include "control/sidecar.grpc.pb.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

class MembershipService final : public v1::Membership::Service {
 public:
  explicit MembershipService(ServiceContext& context) : context_(context), identity_(context.identity) {}

  grpc::Status Resolve(grpc::ServerContext*, const v1::ResolveRequest* request, v1::Member* member) override {
    if (!identity_.peers.knows(request->rank())) {
      return {grpc::StatusCode::NOT_FOUND, fmt::format("rank {} does not exist: there are {}",
                                                       request->rank(), identity_.peers.summary())};
    }
    fill(request->rank(), member);
    return grpc::Status::OK;
  }

  grpc::Status Connect(grpc::ServerContext*, const v1::ConnectRequest* request,
                       v1::ConnectResponse* response) override {
    const Rank from = request->from_rank();
    if (request->to_rank() != identity_.rank) {
      return {grpc::StatusCode::NOT_FOUND,
              fmt::format("this is rank {}, not rank {}: check rank {}'s --peers", identity_.rank,
                          request->to_rank(), from)};
    }
    if (from == identity_.rank || !identity_.peers.knows(from)) {
      return {grpc::StatusCode::INVALID_ARGUMENT,
              fmt::format("from_rank {} is not another rank of rank {}'s peers ({})", from, identity_.rank,
                          identity_.peers.summary())};
    }
    if (request->from_instance() == 0) return {grpc::StatusCode::INVALID_ARGUMENT, "from_instance is 0"};
    if (grpc::Status status =
            check_versions(identity_, fmt::format("rank {}", from), request->protocol_version_min(),
                           request->protocol_version_max(), request->ucx_version());
        !status.ok()) {
      return status;
    }
    const auto ticket = ask<Result<Ticket>>(
        context_.mailbox, [&backend = context_.backend, from, instance = request->from_instance()] {
          return backend.admit_peer(from, instance);
        });
    if (!ticket) return ticket.error();
    if (!*ticket) return to_grpc(ticket->error());
    fill(identity_.rank, response->mutable_member());
    if (!identity_.may_share_memory(from)) {
      response->mutable_member()->clear_local_address();
      response->mutable_member()->mutable_arena()->clear_path();
    }
    response->set_ticket(std::string((*ticket)->view()));
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*, v1::ListResponse* response) override {
    for (const Rank rank : identity_.peers.ranks()) {
      if (response->members_size() == kListedMax) break;
      fill(rank, response->add_members());
    }
    return grpc::Status::OK;
  }

 private:
  static constexpr int kListedMax = 10'000;

  void fill(Rank rank, v1::Member* member) const {
    member->set_rank(rank);
    if (rank != identity_.rank) {
      member->set_grpc_address(identity_.peers.find(rank)->text());
      return;
    }
    member->set_grpc_address(HostPort{identity_.advertise, context_.grpc_port}.text());
    member->set_self(true);
    member->set_instance(identity_.instance);
    member->set_node(identity_.node);
    member->set_net_address(identity_.net_address);
    member->set_local_address(identity_.local_address);
    fill_arena(identity_.arena, member->mutable_arena());
    member->set_ucx_version(identity_.ucx_version);
  }

  ServiceContext& context_;
  const Identity& identity_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_membership_service(ServiceContext& context) {
  return std::make_unique<MembershipService>(context);
}

}  // namespace sidecar
