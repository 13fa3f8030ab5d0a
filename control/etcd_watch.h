// One watch on an etcd server: a stream of its own, with a queue of its own to wait at. For etcd_client.cc.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "control/etcd.grpc.pb.h"
#include "control/etcd_client.h"

namespace sidecar {

class EtcdWatch {
 public:
  EtcdWatch(const std::shared_ptr<grpc::Channel>& channel, const std::string& prefix, std::int64_t revision);
  ~EtcdWatch();
  EtcdWatch(const EtcdWatch&) = delete;
  EtcdWatch& operator=(const EtcdWatch&) = delete;

  EtcdNews next(std::chrono::system_clock::time_point until);
  void cancel() { context_.TryCancel(); }  // any thread

 private:
  enum class Step : std::intptr_t { kStart = 1, kWrite, kRead, kFinish };
  void begin(Step step);
  EtcdNews tell();

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      stream_;
  etcdserverpb::WatchRequest request_;
  etcdserverpb::WatchResponse response_;
  grpc::Status status_;
  bool pending_ = false;  // a step has begun and not ended
  bool ended_ = false;
};

}  // namespace sidecar
