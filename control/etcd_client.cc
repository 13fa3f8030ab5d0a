#include "control/etcd_client.h"

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "control/etcd.grpc.pb.h"
#include "control/etcd_watch.h"
#include "control/grpc_channel.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

namespace pb = etcdserverpb;
using std::chrono::seconds;

constexpr int kMessageBytesMax = 16 << 20;
constexpr std::int64_t kPage = 1000;  // records

EtcdRecord record_of(const pb::KeyValue& kv) { return {kv.key(), kv.value(), kv.mod_revision(), kv.lease()}; }

}  // namespace

std::string etcd_range_end(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (prefix.empty()) return std::string(1, '\0');  // to the end of everything
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

class EtcdClient::Impl {
 public:
  Impl(const std::string& endpoint, std::chrono::milliseconds call_limit,
       const std::shared_ptr<grpc::ChannelCredentials>& credentials)
      : call_limit_(call_limit), channel_(grpc_channel(endpoint, credentials, kMessageBytesMax)) {}

  // Runs one call, which others may cancel meanwhile. `call` gets the context and returns the status.
  template <class Call>
  EtcdReply<void> run(const char* what, Call call) {
    grpc::ClientContext context;
    context.AddMetadata("hasleader", "true");
    context.set_deadline(std::chrono::system_clock::now() + call_limit_);
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) return tl::unexpected(std::string("cancelled"));
      running_ = &context;
    }
    const grpc::Status status = call(context);
    const std::lock_guard lock(mutex_);
    running_ = nullptr;
    if (status.ok()) return {};
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
      return tl::unexpected(fmt::format("{}: no answer within {} ms", what, call_limit_.count()));
    return tl::unexpected(fmt::format("{}: {}", what, status.error_message()));
  }

  void start_watch(const std::string& prefix, std::int64_t revision) {
    auto made = std::make_unique<EtcdWatch>(channel_, prefix, revision);
    {
      const std::lock_guard lock(mutex_);
      std::swap(watch_, made);
      if (cancelled_) watch_->cancel();
    }  // the one before ends without the lock
  }

  EtcdWatch* watch() { return watch_.get(); }

  void cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (running_ != nullptr) running_->TryCancel();
    if (watch_ != nullptr) watch_->cancel();
  }

  [[nodiscard]] const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  const std::chrono::milliseconds call_limit_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::mutex mutex_;
  bool cancelled_ = false;
  grpc::ClientContext* running_ = nullptr;
  std::unique_ptr<EtcdWatch> watch_;
};

EtcdClient::EtcdClient(const std::string& endpoint, std::chrono::milliseconds call_limit,
                       const std::shared_ptr<grpc::ChannelCredentials>& credentials)
    : impl_(std::make_unique<Impl>(endpoint, call_limit, credentials)) {}
EtcdClient::~EtcdClient() = default;

void EtcdClient::cancel() { impl_->cancel(); }

EtcdReply<EtcdLease> EtcdClient::grant(seconds ttl) {
  pb::LeaseGrantRequest request;
  request.set_ttl(ttl.count());
  pb::LeaseGrantResponse response;
  const auto done = impl_->run("LeaseGrant", [&](grpc::ClientContext& context) {
    return pb::Lease::NewStub(impl_->channel())->LeaseGrant(&context, request, &response);
  });
  if (!done) return tl::unexpected(done.error());
  return EtcdLease{response.id(), seconds(response.ttl()), seconds(response.ttl())};
}

// The stream is used for one question: so each has its time limit, and nothing has to be kept open.
EtcdReply<EtcdLease> EtcdClient::keep_alive(std::int64_t lease) {
  pb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  pb::LeaseKeepAliveResponse response;
  const auto done = impl_->run("LeaseKeepAlive", [&](grpc::ClientContext& context) {
    const auto stream = pb::Lease::NewStub(impl_->channel())->LeaseKeepAlive(&context);
    const bool answered = stream->Write(request) && stream->WritesDone() && stream->Read(&response);
    if (answered) {  // what else comes, and how the stream ends, is of no interest
      context.TryCancel();
      (void)stream->Finish();
      return grpc::Status::OK;
    }
    const grpc::Status status = stream->Finish();
    return status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "ended without an answer") : status;
  });
  if (!done) return tl::unexpected(done.error());
  return EtcdLease{lease, seconds(response.ttl() > 0 ? response.ttl() : -1), seconds(response.ttl())};
}

EtcdReply<EtcdLease> EtcdClient::time_to_live(std::int64_t lease) {
  pb::LeaseTimeToLiveRequest request;
  request.set_id(lease);
  pb::LeaseTimeToLiveResponse response;
  const auto done = impl_->run("LeaseTimeToLive", [&](grpc::ClientContext& context) {
    return pb::Lease::NewStub(impl_->channel())->LeaseTimeToLive(&context, request, &response);
  });
  if (!done) return tl::unexpected(done.error());
  return EtcdLease{lease, seconds(response.ttl()), seconds(response.grantedttl())};
}

EtcdReply<void> EtcdClient::revoke(std::int64_t lease) {
  pb::LeaseRevokeRequest request;
  request.set_id(lease);
  pb::LeaseRevokeResponse response;
  return impl_->run("LeaseRevoke", [&](grpc::ClientContext& context) {
    return pb::Lease::NewStub(impl_->channel())->LeaseRevoke(&context, request, &response);
  });
}

EtcdReply<EtcdClient::Written> EtcdClient::write(const EtcdRecord& record) {
  pb::TxnRequest request;
  pb::Compare& compare = *request.add_compare();
  compare.set_target(pb::Compare::MOD);
  compare.set_key(record.key);
  compare.set_mod_revision(record.revision);
  pb::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(record.key);
  put.set_value(record.value);
  put.set_lease(record.lease);
  request.add_failure()->mutable_request_range()->set_key(record.key);
  pb::TxnResponse response;
  const auto done = impl_->run("Txn", [&](grpc::ClientContext& context) {
    return pb::KV::NewStub(impl_->channel())->Txn(&context, request, &response);
  });
  if (!done) return tl::unexpected(done.error());
  Written written{response.succeeded(), response.header().revision(), {}};
  if (written.done) return written;
  for (const pb::ResponseOp& each : response.responses()) {
    for (const pb::KeyValue& kv : each.response_range().kvs()) written.instead.push_back(record_of(kv));
  }
  return written;
}

EtcdReply<EtcdList> EtcdClient::list(const std::string& prefix) {
  EtcdList list;
  pb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(etcd_range_end(prefix));
  request.set_limit(kPage);
  while (true) {
    pb::RangeResponse response;
    const auto done = impl_->run("Range", [&](grpc::ClientContext& context) {
      return pb::KV::NewStub(impl_->channel())->Range(&context, request, &response);
    });
    if (!done) return tl::unexpected(done.error());
    if (list.revision == 0) list.revision = response.header().revision();
    for (const pb::KeyValue& kv : response.kvs()) list.records.push_back(record_of(kv));
    if (!response.more() || response.kvs().empty()) return list;
    request.set_revision(list.revision);
    request.set_key(response.kvs().rbegin()->key() + '\0');
  }
}

void EtcdClient::watch(const std::string& prefix, std::int64_t revision) {
  impl_->start_watch(prefix, revision);
}

EtcdNews EtcdClient::next(Clock::time_point until) {
  if (impl_->watch() == nullptr) return {EtcdNews::Kind::kEnded, {}, "no watch"};
  const auto from_now = std::max(until - Clock::now(), Clock::duration::zero());
  return impl_->watch()->next(std::chrono::system_clock::now() +
                              std::chrono::duration_cast<std::chrono::microseconds>(from_now));
}

}  // namespace sidecar
