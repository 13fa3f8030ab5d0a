#include "control/directory.h"

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_set>

#include "control/grpc_channel.h"
#include "control/sidecar.grpc.pb.h"
#include "core/check.h"
#include "core/log.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

constexpr std::chrono::seconds kCallLimit{2};
constexpr std::size_t kTextsMax = 1024;
constexpr int kMessageBytesMax = 64 << 10;

// One Connect call. Its alarm brings it to the directory's thread, which starts the call; the second event
// with it is the call's end.
struct Call {
  Rank rank;
  std::string address;
  grpc::Alarm alarm;
  bool started = false;
  std::shared_ptr<grpc::Channel> channel;
  grpc::ClientContext context;
  v1::ConnectResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ConnectResponse>> reader;
};

// Peer bytes: too long is refused, not cut.
bool fits(const std::string& text, std::size_t limit) { return text.size() <= limit; }

struct Outcome {
  PeerRecord record;
  Errc code = Errc::kOk;
  std::string text;
};

Outcome failure(const Call& call, Errc code, std::string_view why) {
  return {{}, code, fmt::format("rank {} at {}: {}", call.rank, call.address, why)};
}

Outcome outcome_of(const Call& call) {
  if (!call.status.ok()) {
    switch (call.status.error_code()) {
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        return failure(call, Errc::kUnavailable,
                       fmt::format("its gRPC server did not answer within {} s", kCallLimit.count()));
      // These will not change by themselves: somebody has to look at versions or settings.
      case grpc::StatusCode::FAILED_PRECONDITION:
      case grpc::StatusCode::INVALID_ARGUMENT:
      case grpc::StatusCode::NOT_FOUND:
      case grpc::StatusCode::UNIMPLEMENTED:
        return failure(call, Errc::kInvalidArgument, "refused: " + call.status.error_message());
      default: return failure(call, Errc::kUnavailable, call.status.error_message());
    }
  }
  const v1::Member& member = call.response.member();
  if (member.rank() != call.rank || member.instance() == 0) {
    return failure(call, Errc::kInvalidArgument, fmt::format("says it is rank {}", member.rank()));
  }
  if (!fits(member.node(), kNameBytesMax) || !fits(member.net_address(), kNameBytesMax) ||
      !fits(member.local_address(), kNameBytesMax) || !fits(member.arena().path(), kNameBytesMax) ||
      !fits(call.response.ticket(), 64) || member.net_address().empty()) {
    return failure(call, Errc::kProtocol, "its record is malformed");
  }
  PeerRecord record;
  record.rank = call.rank;
  record.instance = member.instance();
  record.node.assign(member.node());
  record.net_address.assign(member.net_address());
  record.local_address.assign(member.local_address());
  record.arena.instance = member.arena().instance();
  record.arena.nonce = member.arena().nonce();
  record.arena.bytes = member.arena().bytes();
  record.arena.path.assign(member.arena().path());
  record.ticket.assign(call.response.ticket());
  return {record, Errc::kOk, {}};
}

}  // namespace

class GrpcDirectory::Impl {
 public:
  Impl(const Identity& identity, Mailbox& mailbox, Tickets& tickets, OnResolved on_resolved)
      : identity_(identity),
        mailbox_(mailbox),
        tickets_(tickets),
        on_resolved_(std::move(on_resolved)),
        thread_([this] { run(); }) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      for (Call* call : calls_) {
        call->alarm.Cancel();
        call->context.TryCancel();
      }
      if (calls_.empty()) queue_.Shutdown();
    }
    thread_.join();
  }

  void resolve(Rank rank) {
    if (!asking_.insert(rank).second) return;
    auto* const call = new Call;
    call->rank = rank;
    const auto member = identity_.members->find(rank);
    if (member) call->address = member->grpc_address;
    const std::lock_guard lock(mutex_);
    CHECK(!ending_);
    calls_.insert(call);
    call->alarm.Set(&queue_, gpr_now(GPR_CLOCK_MONOTONIC), call);
  }

  Identity const& identity_;
  Mailbox& mailbox_;
  Tickets& tickets_;

 private:
  void run() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      auto* const call = static_cast<Call*>(tag);
      if (!call->started && start(call)) continue;
      finish(call);
    }
  }

  // False: nothing was started, because all is ending or the rank is not known.
  bool start(Call* call) {
    const std::lock_guard lock(mutex_);  // against the destructor, which must see every started call
    if (ending_) return false;
    if (call->address.empty() || call->rank == identity_.rank) {
      call->status = {grpc::StatusCode::NOT_FOUND, "not one of this sidecar's peers"};
      return false;
    }
    call->started = true;
    call->context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
    call->channel = grpc_channel(call->address, identity_.credentials, kMessageBytesMax);
    v1::ConnectRequest request;
    request.set_from_rank(identity_.rank);
    request.set_from_instance(identity_.instance);
    request.set_ucx_version(identity_.ucx_version);
    request.set_node(identity_.node);
    request.set_to_rank(call->rank);
    request.set_protocol_version_min(kProtocolVersionMin);
    request.set_protocol_version_max(kProtocolVersionMax);
    call->reader = v1::Membership::NewStub(call->channel)->AsyncConnect(&call->context, request, &queue_);
    call->reader->Finish(&call->response, &call->status, call);
    return true;
  }

  void finish(Call* call) {
    auto outcome = std::make_shared<Outcome>(outcome_of(*call));
    bool report = true;
    {
      const std::lock_guard lock(mutex_);
      calls_.erase(call);
      report = !ending_;
      if (ending_ && calls_.empty()) queue_.Shutdown();
    }
    const Rank rank = call->rank;
    delete call;
    if (!report) return;
    // A full mailbox empties itself; the engine relies on an answer.
    while (!mailbox_.post([this, rank, outcome] { deliver(rank, *outcome); })) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      const std::lock_guard lock(mutex_);
      if (ending_) return;
    }
  }

  // On the loop's thread.
  void deliver(Rank rank, const Outcome& outcome) {
    asking_.erase(rank);
    if (outcome.code == Errc::kOk) {
      PeerRecord record = outcome.record;
      if (!identity_.may_share_memory(rank)) record.local_address = record.arena.path = Name();
      on_resolved_(rank, record);
      return;
    }
    LOG_WARN_LIMITED("{}", outcome.text);
    on_resolved_(rank, fail(outcome.code, keep(outcome.text), rank));
  }

  // Errors carry text that is never freed. There are few different ones per rank; past the bound they become
  // vague.
  const char* keep(const std::string& text) {
    if (const auto it = texts_.find(text); it != texts_.end()) return it->c_str();
    if (texts_.size() >= kTextsMax)
      return "the rank's gRPC server cannot be reached or refuses; the log says why";
    return texts_.insert(text).first->c_str();
  }

  OnResolved on_resolved_;
  std::unordered_set<Rank> asking_;  // loop's thread
  std::set<std::string> texts_;      // loop's thread; nodes stay where they are

  std::mutex mutex_;
  bool ending_ = false;
  std::unordered_set<Call*> calls_;
  grpc::CompletionQueue queue_;
  std::thread thread_;
};

GrpcDirectory::GrpcDirectory(const Identity& identity, Mailbox& mailbox, Tickets& tickets,
                             OnResolved on_resolved)
    : impl_(std::make_unique<Impl>(identity, mailbox, tickets, std::move(on_resolved))) {}
GrpcDirectory::~GrpcDirectory() = default;

bool GrpcDirectory::knows(Rank rank) const { return impl_->identity_.members->knows(rank); }
void GrpcDirectory::resolve(Rank rank) { impl_->resolve(rank); }
Status GrpcDirectory::redeem(const Hello& hello) { return impl_->tickets_.redeem(hello, Loop::now_ns()); }

}  // namespace sidecar
