// Registration: makes client processes known.

#include <algorithm>

#include "control/service_support.h"
#include "control/sidecar.grpc.pb.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

constexpr int kLetGoMax = 256;

grpc::Status invalid(std::string text) { return {grpc::StatusCode::INVALID_ARGUMENT, std::move(text)}; }

class RegistrationService final : public v1::Registration::Service {
 public:
  explicit RegistrationService(ServiceContext& context) : context_(context), identity_(context.identity) {}

  grpc::Status Register(grpc::ServerContext*, const v1::RegisterRequest* request,
                        v1::RegisterResponse* response) override {
    ClientRegistration client;
    if (grpc::Status status = check(*request, &client); !status.ok()) return status;
    const Rank leader = client.group.front();
    response->set_leader(leader);
    if (leader != identity_.rank) {
      const auto member = identity_.members->find(leader);
      if (!member) {  // one that may grow: check() lets it pass
        return {grpc::StatusCode::UNAVAILABLE,
                fmt::format("group: its leader, rank {}, is not there yet; there are {}", leader,
                            identity_.members->summary())};
      }
      response->set_leader_grpc_address(member->grpc_address);
      return grpc::Status::OK;
    }
    auto ticket = ask<Result<Ticket>>(
        context_.mailbox,
        [&backend = context_.backend, client = std::move(client), shown = Ticket(request->ticket())] {
          return backend.register_client(client, shown);
        });
    if (!ticket) return ticket.error();
    if (!*ticket) return to_grpc(ticket->error());
    fill(std::string((*ticket)->view()), *request, response);
    return grpc::Status::OK;
  }

  grpc::Status Renew(grpc::ServerContext*, const v1::RenewRequest* request,
                     v1::RenewResponse* response) override {
    if (request->ticket().size() > kTicketBytesMax) return invalid("ticket is too long");
    if (request->let_go_size() > kLetGoMax) return invalid("let_go: more than 256");
    const auto done = ask<Status>(
        context_.mailbox,
        [&backend = context_.backend, client = request->client_instance(), ticket = Ticket(request->ticket()),
         let_go = std::vector<InstanceId>(request->let_go().begin(), request->let_go().end())] {
          return backend.renew_client(client, ticket, let_go);
        });
    if (!done) return done.error();
    if (!*done) return to_grpc(done->error());
    response->set_lease_ms(lease_ms());
    return grpc::Status::OK;
  }

  grpc::Status Unregister(grpc::ServerContext*, const v1::UnregisterRequest* request,
                          v1::UnregisterResponse*) override {
    if (request->ticket().size() > kTicketBytesMax) return invalid("ticket is too long");
    const auto done = ask<Status>(
        context_.mailbox,
        [&backend = context_.backend, client = request->client_instance(),
         ticket = Ticket(request->ticket())] { return backend.unregister_client(client, ticket); });
    if (!done) return done.error();
    return *done ? grpc::Status::OK : to_grpc(done->error());
  }

 private:
  [[nodiscard]] std::uint64_t lease_ms() const { return identity_.lease / kMillisecond; }

  // What can be said without knowing the other clients. *client: what was asked for, in full.
  grpc::Status check(const v1::RegisterRequest& request, ClientRegistration* client) const {
    if (request.client_instance() == 0)
      return invalid("client_instance is 0: it must be random per process start");
    if (!identity_.members->knows(request.rank())) {
      return invalid(
          fmt::format("rank {} does not exist: there are {}", request.rank(), identity_.members->summary()));
    }
    if (request.node().size() > kNameBytesMax) return invalid("node is longer than 255 bytes");
    if (request.ticket().size() > kTicketBytesMax) return invalid("ticket is too long");
    if (static_cast<std::size_t>(request.group_size()) > kDestinationsMax) {
      return invalid(
          fmt::format("group has {} ranks, at most {} are allowed", request.group_size(), kDestinationsMax));
    }
    std::vector<Rank> group(request.group().begin(), request.group().end());
    if (group.empty()) group.push_back(request.rank());
    std::sort(group.begin(), group.end());
    if (std::adjacent_find(group.begin(), group.end()) != group.end())
      return invalid("group names a rank twice");
    if (!std::binary_search(group.begin(), group.end(), request.rank())) {
      return invalid(fmt::format("group does not contain rank {}, which registers", request.rank()));
    }
    for (const Rank rank : group) {
      // Of a group only the leader takes part; the others' sidecars may come later.
      if (!identity_.members->knows(rank) && !identity_.members->may_grow())
        return invalid(fmt::format("group: rank {} does not exist", rank));
    }
    const Rank leader = group.front();
    if (!std::binary_search(group.begin(), group.end(), identity_.rank)) {
      return invalid(fmt::format("this is rank {}, not rank {} nor its group's leader, rank {}",
                                 identity_.rank, request.rank(), leader));
    }
    *client = {request.client_instance(), request.send_unit_bytes(),
               request.recv_unit_bytes(), request.rank(),
               std::move(group),          request.pid(),
               request.renews()};
    return check_versions(identity_, fmt::format("the client for rank {}", request.rank()),
                          request.protocol_version_min(), request.protocol_version_max(),
                          request.ucx_version());
  }

  void fill(std::string ticket, const v1::RegisterRequest& request, v1::RegisterResponse* response) const {
    response->set_ticket(std::move(ticket));
    response->set_sidecar_instance(identity_.instance);
    response->set_node(identity_.node);
    fill_arena(identity_.arena, response->mutable_arena());
    response->set_net_address(identity_.net_address);
    response->set_local_address(identity_.local_address);
    response->set_ucx_version(identity_.ucx_version);
    response->set_protocol_version(
        std::min<std::uint32_t>(request.protocol_version_max(), kProtocolVersionMax));
    for (const CudaUuid& gpu : identity_.gpus) {
      response->add_gpus(reinterpret_cast<const char*>(gpu.data()), gpu.size());
    }
    if (request.renews()) response->set_lease_ms(lease_ms());
    v1::Limits* limits = response->mutable_limits();
    limits->set_send_quota_bytes(identity_.send_quota_bytes);
    limits->set_receive_quota_bytes(identity_.receive_quota_bytes);
    limits->set_inline_bytes(kInlineBytesMax);
    limits->set_eager_bytes(static_cast<std::uint32_t>(identity_.eager_max));
    limits->set_data_id_bytes(kDataIdBytesMax);
    limits->set_destinations(kDestinationsMax);
  }

  ServiceContext& context_;
  const Identity& identity_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_registration_service(ServiceContext& context) {
  return std::make_unique<RegistrationService>(context);
}

}  // namespace sidecar
