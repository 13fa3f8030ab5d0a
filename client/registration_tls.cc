// How this client's calls to the control plane are made: with TLS or without.
#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include "client/registration.h"
#include "core/tls_files.h"

namespace sidecar::client_internal {

// gRPC looks at the files every two seconds; what has changed counts for connections that begin then.
Expected<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const TlsFiles& tls) {
  if (const auto problem = tls_problem(tls.ca, tls.cert, tls.key))
    return Failure{Errc::kInvalidArgument, kNoRank,
                   std::string("tls.") + problem->which + ": " + problem->text};
  if (tls.ca.empty() && tls.cert.empty()) return std::shared_ptr<grpc::ChannelCredentials>();
  namespace tls_api = grpc::experimental;
  constexpr unsigned kLookSeconds = 2;
  tls_api::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<tls_api::FileWatcherCertificateProvider>(tls.key, tls.cert, tls.ca, kLookSeconds));
  if (!tls.cert.empty()) options.watch_identity_key_cert_pairs();
  if (!tls.ca.empty()) options.watch_root_certs();
  return tls_api::TlsCredentials(options);
}

}  // namespace sidecar::client_internal
