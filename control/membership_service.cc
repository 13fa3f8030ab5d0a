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
    const auto known = identity_.members->find(request->rank());
    if (!known) {
      return {grpc::StatusCode::NOT_FOUND, fmt::format("rank {} does not exist: there are {}",
                                                       request->rank(), identity_.members->summary())};
    }
    fill(*known, member);
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
    if (request->from_instance() == 0) return {grpc::StatusCode::INVALID_ARGUMENT, "from_instance is 0"};
    if (grpc::Status status = check_member(from, request->from_instance()); !status.ok()) return status;
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
    fill_self(response->mutable_member());
    if (!identity_.may_share_memory(from)) {
      response->mutable_member()->clear_local_address();
      response->mutable_member()->mutable_arena()->clear_path();
    }
    response->set_ticket(std::string((*ticket)->view()));
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*, v1::ListResponse* response) override {
    for (const MemberRecord& record : identity_.members->list()) fill(record, response->add_members());
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext* call, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::WatchResponse>* out) override {
    std::vector<MemberRecord> present;
    const auto watcher = context_.watchers.add(&present);
    if (watcher == nullptr) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED,
              fmt::format("{} watch rank {}'s membership already, or it is ending: ask List, or another rank",
                          MemberWatchers::kWatchersMax, identity_.rank)};
    }
    if (!write_present(present, out)) return grpc::Status::CANCELLED;
    std::vector<MemberChange> changes;
    while (!call->IsCancelled()) {
      switch (watcher->wait(kLooksUp, &changes)) {
        case MemberWatchers::Watcher::Outcome::kNothing: break;
        case MemberWatchers::Watcher::Outcome::kChanges:
          if (!write_changes(changes, out)) return grpc::Status::CANCELLED;
          break;
        case MemberWatchers::Watcher::Outcome::kTooSlow:
          return {grpc::StatusCode::RESOURCE_EXHAUSTED,
                  fmt::format("more than {} changes were not read in time: watch again",
                              MemberWatchers::kQueuedMax)};
        case MemberWatchers::Watcher::Outcome::kClosed: return loop_unavailable(false);
      }
    }
    return grpc::Status::CANCELLED;
  }

 private:
  // How long a watch goes on, at most, for somebody who has gone away.
  static constexpr std::chrono::milliseconds kLooksUp{200};
  static constexpr int kRecordsInAMessage = 500;

  // Whether that instance may be the rank, as far as the membership knows.
  grpc::Status check_member(Rank from, InstanceId instance) const {
    const auto known = from == identity_.rank ? std::nullopt : identity_.members->find(from);
    if (!known) {
      // Who has only just joined may have heard of us before we hear of it.
      const bool later = identity_.members->may_grow() && from >= 0 && from != identity_.rank;
      return {later ? grpc::StatusCode::UNAVAILABLE : grpc::StatusCode::INVALID_ARGUMENT,
              fmt::format("from_rank {} is not another rank of rank {}'s peers ({})", from, identity_.rank,
                          identity_.members->summary())};
    }
    if (known->instance != 0 && known->instance != instance) {
      return {grpc::StatusCode::UNAVAILABLE,
              fmt::format("rank {} is instance {:016x}, as far as rank {} knows, and not {:016x}", from,
                          known->instance, identity_.rank, instance)};
    }
    return grpc::Status::OK;
  }

  bool write_present(const std::vector<MemberRecord>& present,
                     grpc::ServerWriter<v1::WatchResponse>* out) const {
    v1::WatchResponse response;
    for (const MemberRecord& record : present) {
      if (response.present_size() == kRecordsInAMessage) {
        if (!out->Write(response)) return false;
        response.Clear();
      }
      fill(record, response.add_present());
    }
    response.set_listed(true);
    return out->Write(response);
  }

  bool write_changes(const std::vector<MemberChange>& changes,
                     grpc::ServerWriter<v1::WatchResponse>* out) const {
    v1::WatchResponse response;
    for (const MemberChange& change : changes) {
      v1::MemberEvent* const event = response.add_changes();
      event->set_kind(kind_of(change.kind));
      event->set_instance_before(change.before);
      fill(change.member, event->mutable_member());
    }
    return out->Write(response);
  }

  static v1::MemberEvent::Kind kind_of(MemberChange::Kind kind) {
    switch (kind) {
      case MemberChange::Kind::kJoined: return v1::MemberEvent::JOINED;
      case MemberChange::Kind::kReplaced: return v1::MemberEvent::REPLACED;
      case MemberChange::Kind::kGone: return v1::MemberEvent::GONE;
    }
    return v1::MemberEvent::KIND_UNSPECIFIED;
  }

  void fill(const MemberRecord& record, v1::Member* member) const {
    if (record.rank == identity_.rank) return fill_self(member);
    member->set_rank(record.rank);
    member->set_grpc_address(record.grpc_address);
    member->set_instance(record.instance);
    member->set_node(record.node);
  }

  void fill_self(v1::Member* member) const {
    member->set_rank(identity_.rank);
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
