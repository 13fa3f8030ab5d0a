#include "control/tls.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_certificate_provider.h>

namespace sidecar {
namespace {

namespace tls_api = grpc::experimental;

constexpr unsigned kLookSeconds = 2;

std::shared_ptr<tls_api::CertificateProviderInterface> watched(const TlsPaths& tls) {
  return std::make_shared<tls_api::FileWatcherCertificateProvider>(tls.key, tls.cert, tls.ca, kLookSeconds);
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsPaths& tls) {
  if (!tls.enabled()) return grpc::InsecureServerCredentials();
  tls_api::TlsServerCredentialsOptions options(watched(tls));
  options.watch_identity_key_cert_pairs();
  if (!tls.ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls_api::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsPaths& tls) {
  if (!tls.enabled()) return grpc::InsecureChannelCredentials();
  tls_api::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(watched(tls));
  options.watch_identity_key_cert_pairs();
  if (!tls.ca.empty()) options.watch_root_certs();
  return tls_api::TlsCredentials(options);
}

}  // namespace sidecar
