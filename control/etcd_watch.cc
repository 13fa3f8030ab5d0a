#include "control/etcd_watch.h"

namespace sidecar {
namespace {

void* tag_of(std::intptr_t step) { return reinterpret_cast<void*>(step); }

}  // namespace

EtcdWatch::EtcdWatch(const std::shared_ptr<grpc::Channel>& channel, const std::string& prefix,
                     std::int64_t revision)
    : stub_(etcdserverpb::Watch::NewStub(channel)) {
  context_.AddMetadata("hasleader", "true");
  etcdserverpb::WatchCreateRequest& create = *request_.mutable_create_request();
  create.set_key(prefix);
  create.set_range_end(etcd_range_end(prefix));
  create.set_start_revision(revision);
  stream_ = stub_->PrepareAsyncWatch(&context_, &queue_);
  begin(Step::kStart);
}

EtcdWatch::~EtcdWatch() {
  context_.TryCancel();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

// One step at a time: start the call, say what to watch, then read answer after answer.
void EtcdWatch::begin(Step step) {
  void* const tag = tag_of(static_cast<std::intptr_t>(step));
  pending_ = true;
  switch (step) {
    case Step::kStart: return stream_->StartCall(tag);
    case Step::kWrite: return stream_->Write(request_, tag);
    case Step::kRead: return stream_->Read(&response_, tag);
    case Step::kFinish: return stream_->Finish(&status_, tag);
  }
}

EtcdNews EtcdWatch::next(std::chrono::system_clock::time_point until) {
  while (!ended_) {
    if (!pending_) begin(Step::kRead);
    void* tag = nullptr;
    bool ok = false;
    if (queue_.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) return {};
    pending_ = false;
    const auto step = static_cast<Step>(reinterpret_cast<std::intptr_t>(tag));
    if (step == Step::kFinish) {
      ended_ = true;
    } else if (!ok) {
      begin(Step::kFinish);
    } else if (step == Step::kStart) {
      begin(Step::kWrite);
    } else if (step == Step::kRead) {
      const EtcdNews news = tell();
      if (news.kind != EtcdNews::Kind::kNothing) return news;
    }
  }
  const std::string why = status_.error_message();
  return {EtcdNews::Kind::kEnded, {}, why.empty() ? "the watch was ended" : why};
}

EtcdNews EtcdWatch::tell() {
  EtcdNews news;
  if (response_.canceled()) {
    if (response_.compact_revision() > 0) return {EtcdNews::Kind::kCompacted, {}, "compacted"};
    return {EtcdNews::Kind::kEnded, {}, "the watch was canceled: " + response_.cancel_reason()};
  }
  if (response_.created()) news.kind = EtcdNews::Kind::kCreated;
  for (const etcdserverpb::Event& event : response_.events()) {
    news.kind = EtcdNews::Kind::kEvents;
    const etcdserverpb::KeyValue& kv = event.kv();
    news.events.push_back(
        {event.type() == etcdserverpb::Event::DELETE, {kv.key(), kv.value(), kv.mod_revision(), kv.lease()}});
  }
  return news;
}

}  // namespace sidecar
