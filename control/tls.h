// How gRPC connections are made and taken: with TLS or without. The files are read again some seconds after
// they have changed, for connections that begin then.
#pragma once

#include <memory>
#include <string>

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace sidecar {

// PEM files, as tls_problem() wants them.
struct TlsPaths {
  std::string ca;  // who signs the others' certificates; empty: no client is asked for one
  std::string cert;
  std::string key;

  [[nodiscard]] bool enabled() const { return !cert.empty(); }
};

std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsPaths& tls);
// One object for all channels: it has a thread that watches the files. Servers are checked against `ca`, or
// what the system trusts, and must have the name or address that they are called by.
std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsPaths& tls);

}  // namespace sidecar
