// A channel from a sidecar to another gRPC server. For sources that know gRPC anyway.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

namespace sidecar {

// No credentials: without TLS. Connects anew at once, whatever happened to earlier ones: who uses it decides
// when to try again.
inline std::shared_ptr<grpc::Channel> grpc_channel(
    const std::string& address, const std::shared_ptr<grpc::ChannelCredentials>& credentials,
    int message_bytes_max) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(message_bytes_max);
  return grpc::CreateCustomChannel(
      address, credentials != nullptr ? credentials : grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace sidecar
