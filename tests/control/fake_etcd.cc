#include "tests/control/fake_etcd.h"

#include <thread>
#include <utility>

#include "core/check.h"

namespace sidecar {

namespace pb = etcdserverpb;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class FakeEtcd::Kv final : public pb::KV::Service {
 public:
  explicit Kv(FakeEtcd& etcd) : etcd_(etcd) {}

  grpc::Status Range(grpc::ServerContext*, const pb::RangeRequest* request,
                     pb::RangeResponse* response) override {
    etcd_.take_time();
    const std::lock_guard lock(etcd_.mutex_);
    ++etcd_.lists_;
    etcd_.answer_range(*request, response);
    for (const auto& [key, value] : std::exchange(etcd_.after_list_, {})) etcd_.put_locked(key, value, 0);
    return grpc::Status::OK;
  }

  grpc::Status Txn(grpc::ServerContext*, const pb::TxnRequest* request, pb::TxnResponse* response) override {
    etcd_.take_time();
    const std::lock_guard lock(etcd_.mutex_);
    if (etcd_.refuse_ > 0) {
      --etcd_.refuse_;
      return {grpc::StatusCode::UNAVAILABLE, "etcdserver: no leader"};
    }
    etcd_.end_due_leases();
    bool holds = true;
    for (const pb::Compare& compare : request->compare()) {
      CHECK(compare.target() == pb::Compare::MOD && compare.result() == pb::Compare::EQUAL);
      const auto it = etcd_.keys_.find(compare.key());
      holds &= compare.mod_revision() == (it == etcd_.keys_.end() ? 0 : it->second.mod_revision());
    }
    response->set_succeeded(holds);
    for (const pb::RequestOp& each : holds ? request->success() : request->failure()) {
      pb::ResponseOp* const answer = response->add_responses();
      if (each.has_request_range()) {
        etcd_.answer_range(each.request_range(), answer->mutable_response_range());
      } else {
        const pb::PutRequest& put = each.request_put();
        if (put.lease() != 0 && !etcd_.leases_.contains(put.lease()))
          return {grpc::StatusCode::NOT_FOUND, "etcdserver: requested lease not found"};
        etcd_.put_locked(put.key(), put.value(), put.lease());
      }
    }
    etcd_.fill(response->mutable_header());
    return grpc::Status::OK;
  }

 private:
  FakeEtcd& etcd_;
};

class FakeEtcd::Leases final : public pb::Lease::Service {
 public:
  explicit Leases(FakeEtcd& etcd) : etcd_(etcd) {}

  grpc::Status LeaseGrant(grpc::ServerContext*, const pb::LeaseGrantRequest* request,
                          pb::LeaseGrantResponse* response) override {
    etcd_.take_time();
    const std::lock_guard lock(etcd_.mutex_);
    ++etcd_.grants_;
    response->set_id(++etcd_.last_lease_);
    response->set_ttl(request->ttl());
    etcd_.leases_[response->id()] = {request->ttl(),
                                     steady_clock::now() + std::chrono::seconds(request->ttl())};
    return grpc::Status::OK;
  }

  grpc::Status LeaseRevoke(grpc::ServerContext*, const pb::LeaseRevokeRequest* request,
                           pb::LeaseRevokeResponse*) override {
    etcd_.take_time();
    etcd_.revoke(request->id());
    return grpc::Status::OK;
  }

  grpc::Status LeaseKeepAlive(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<pb::LeaseKeepAliveResponse, pb::LeaseKeepAliveRequest>* stream) override {
    pb::LeaseKeepAliveRequest request;
    while (stream->Read(&request)) {
      etcd_.take_time();
      pb::LeaseKeepAliveResponse response;
      response.set_id(request.id());
      {
        const std::lock_guard lock(etcd_.mutex_);
        etcd_.end_due_leases();
        const auto it = etcd_.leases_.find(request.id());
        if (it != etcd_.leases_.end()) {
          it->second.ends = steady_clock::now() + std::chrono::seconds(it->second.ttl);
          response.set_ttl(it->second.ttl);
        }
      }
      if (!stream->Write(response)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status LeaseTimeToLive(grpc::ServerContext*, const pb::LeaseTimeToLiveRequest* request,
                               pb::LeaseTimeToLiveResponse* response) override {
    etcd_.take_time();
    const std::lock_guard lock(etcd_.mutex_);
    etcd_.end_due_leases();
    const auto it = etcd_.leases_.find(request->id());
    response->set_id(request->id());
    response->set_ttl(-1);
    if (it == etcd_.leases_.end()) return grpc::Status::OK;
    const auto left = it->second.ends - steady_clock::now();
    response->set_ttl(std::chrono::duration_cast<std::chrono::seconds>(left).count());
    response->set_grantedttl(it->second.ttl);
    return grpc::Status::OK;
  }

 private:
  FakeEtcd& etcd_;
};

class FakeEtcd::Watches final : public pb::Watch::Service {
 public:
  explicit Watches(FakeEtcd& etcd) : etcd_(etcd) {}

  grpc::Status Watch(grpc::ServerContext* context,
                     grpc::ServerReaderWriter<pb::WatchResponse, pb::WatchRequest>* stream) override {
    pb::WatchRequest request;
    if (!stream->Read(&request)) return grpc::Status::OK;
    const pb::WatchCreateRequest create = request.create_request();
    std::int64_t next = create.start_revision();
    bool created = false;
    std::unique_lock lock(etcd_.mutex_);
    ++etcd_.watches_;
    const std::uint64_t cancellations = etcd_.cancellations_;
    while (!context->IsCancelled() && !etcd_.stopping_) {
      etcd_.end_due_leases();
      pb::WatchResponse response;
      if (etcd_.cancellations_ != cancellations) {
        response.set_canceled(true);
        response.set_cancel_reason(etcd_.cancel_reason_);
        if (etcd_.cancel_reason_.empty()) response.set_compact_revision(etcd_.revision_);
      } else if (!etcd_.mute_) {
        response.set_created(!std::exchange(created, true));
        if (!response.created()) {
          for (const Change& change : etcd_.history_) {
            const std::string& key = change.event.kv().key();
            if (change.revision >= next && key >= create.key() && key < create.range_end())
              *response.add_events() = change.event;
          }
          next = etcd_.revision_ + 1;
        }
      }
      if (response.canceled() || response.created() || response.events_size() > 0) {
        etcd_.fill(response.mutable_header());
        lock.unlock();
        if (!stream->Write(response) || response.canceled()) return grpc::Status::OK;
        lock.lock();
        continue;
      }
      etcd_.changed_.wait_for(lock, milliseconds(10));
    }
    return {grpc::StatusCode::UNAVAILABLE, "etcdserver: server stopped"};
  }

 private:
  FakeEtcd& etcd_;
};

FakeEtcd::FakeEtcd()
    : kv_(std::make_unique<Kv>(*this)),
      watch_(std::make_unique<Watches>(*this)),
      lease_(std::make_unique<Leases>(*this)) {
  start();
}

FakeEtcd::~FakeEtcd() { stop(); }

void FakeEtcd::start() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = false;
    // etcd, too, gives leases their full time again when it has come back.
    for (auto& [id, lease] : leases_) lease.ends = steady_clock::now() + std::chrono::seconds(lease.ttl);
  }
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(kv_.get());
  builder.RegisterService(watch_.get());
  builder.RegisterService(lease_.get());
  server_ = builder.BuildAndStart();
  CHECK(server_ != nullptr && port != 0);
  port_ = port;
}

void FakeEtcd::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

void FakeEtcd::put(const std::string& key, const std::string& value, std::int64_t lease) {
  const std::lock_guard lock(mutex_);
  put_locked(key, value, lease);
}

void FakeEtcd::put_after_list(const std::string& key, const std::string& value) {
  const std::lock_guard lock(mutex_);
  after_list_[key] = value;
}

void FakeEtcd::erase(const std::string& key) {
  const std::lock_guard lock(mutex_);
  erase_locked(key);
}

std::string FakeEtcd::get(const std::string& key) {
  const std::lock_guard lock(mutex_);
  end_due_leases();
  const auto it = keys_.find(key);
  return it == keys_.end() ? std::string() : it->second.value();
}

std::int64_t FakeEtcd::lease_of(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto it = keys_.find(key);
  return it == keys_.end() ? 0 : it->second.lease();
}

void FakeEtcd::revoke(std::int64_t lease) {
  const std::lock_guard lock(mutex_);
  end_lease(lease);
}

void FakeEtcd::refuse_transactions(int count) {
  const std::lock_guard lock(mutex_);
  refuse_ = count;
}

void FakeEtcd::be_slow(milliseconds delay) {
  const std::lock_guard lock(mutex_);
  delay_ = delay;
}

void FakeEtcd::be_mute(bool mute) {
  const std::lock_guard lock(mutex_);
  mute_ = mute;
}

void FakeEtcd::compact_watches() { cancel_watches(""); }

void FakeEtcd::cancel_watches(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  ++cancellations_;
  cancel_reason_ = reason;
  changed_.notify_all();
}

int FakeEtcd::watches() {
  const std::lock_guard lock(mutex_);
  return watches_;
}

int FakeEtcd::lists() {
  const std::lock_guard lock(mutex_);
  return lists_;
}

int FakeEtcd::grants() {
  const std::lock_guard lock(mutex_);
  return grants_;
}

void FakeEtcd::put_locked(const std::string& key, const std::string& value, std::int64_t lease) {
  pb::KeyValue& kv = keys_[key];
  ++revision_;
  if (kv.create_revision() == 0) kv.set_create_revision(revision_);
  kv.set_mod_revision(revision_);
  kv.set_key(key);
  kv.set_value(value);
  kv.set_lease(lease);
  Change change{revision_, {}};
  *change.event.mutable_kv() = kv;
  history_.push_back(change);
  changed_.notify_all();
}

void FakeEtcd::erase_locked(const std::string& key) {
  if (keys_.erase(key) == 0) return;
  Change change{++revision_, {}};
  change.event.set_type(pb::Event::DELETE);
  change.event.mutable_kv()->set_key(key);
  change.event.mutable_kv()->set_mod_revision(revision_);
  history_.push_back(change);
  changed_.notify_all();
}

void FakeEtcd::end_lease(std::int64_t lease) {
  leases_.erase(lease);
  std::vector<std::string> keys;
  for (const auto& [key, kv] : keys_) {
    if (kv.lease() == lease) keys.push_back(key);
  }
  for (const std::string& key : keys) erase_locked(key);
}

void FakeEtcd::end_due_leases() {
  if (stopping_) return;
  std::vector<std::int64_t> due;
  for (const auto& [id, lease] : leases_) {
    if (steady_clock::now() > lease.ends) due.push_back(id);
  }
  for (const std::int64_t id : due) end_lease(id);
}

void FakeEtcd::answer_range(const pb::RangeRequest& request, pb::RangeResponse* response) {
  end_due_leases();
  fill(response->mutable_header());
  for (auto it = keys_.lower_bound(request.key()); it != keys_.end(); ++it) {
    if (request.range_end().empty() ? it->first != request.key() : it->first >= request.range_end()) break;
    if (request.limit() > 0 && response->kvs_size() == request.limit()) {
      response->set_more(true);
      break;
    }
    *response->add_kvs() = it->second;
  }
}

void FakeEtcd::take_time() {
  milliseconds delay{0};
  {
    const std::lock_guard lock(mutex_);
    delay = delay_;
  }
  const auto until = steady_clock::now() + delay;
  while (steady_clock::now() < until) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
}

}  // namespace sidecar
