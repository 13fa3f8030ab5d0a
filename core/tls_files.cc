#include "core/tls_files.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <tl/expected.hpp>

#include "core/fd.h"

namespace sidecar {
namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;

template <class T, void (*Free)(T*)>
struct Freed {
  void operator()(T* object) const { Free(object); }
};
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using Source = std::unique_ptr<BIO, Freed<BIO, BIO_free_all>>;

tl::expected<std::string, std::string> read_whole(const std::string& path) {
  // O_NONBLOCK: a pipe in that place must not stop us.
  const Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return tl::unexpected(path + " cannot be read: " + std::strerror(errno));
  std::string text;
  std::array<char, 4096> part{};
  while (text.size() <= kFileBytesMax) {
    const ssize_t got = ::read(fd.get(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(path + " cannot be read: " + std::strerror(errno));
    if (got == 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return tl::unexpected(path + " is larger than 1 MiB");
}

Source source_of(const std::string& text) {
  return Source(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// OpenSSL would ask at the terminal.
int no_password(char*, int, int, void*) { return -1; }

Certificate first_certificate(const std::string& text) {
  Certificate certificate(PEM_read_bio_X509(source_of(text).get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return certificate;
}

Key key_of(const std::string& text) {
  Key key(PEM_read_bio_PrivateKey(source_of(text).get(), nullptr, no_password, nullptr));
  ERR_clear_error();
  return key;
}

bool has_expired(const Certificate& certificate) {
  return X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0;
}

bool belong_together(const Certificate& certificate, const Key& key) {
  const bool match = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return match;
}

}  // namespace

std::optional<TlsProblem> tls_problem(const std::string& ca, const std::string& cert,
                                      const std::string& key) {
  if (cert.empty() && !key.empty()) return TlsProblem{"cert", "is missing: " + key + " is the key of which?"};
  if (key.empty() && !cert.empty()) return TlsProblem{"key", "is missing: what is the key of " + cert + "?"};
  if (!ca.empty()) {
    const auto text = read_whole(ca);
    if (!text) return TlsProblem{"ca", text.error()};
    if (first_certificate(*text) == nullptr)
      return TlsProblem{"ca", ca + " holds no certificate in PEM form"};
  }
  if (cert.empty()) return std::nullopt;
  const auto cert_text = read_whole(cert);
  if (!cert_text) return TlsProblem{"cert", cert_text.error()};
  const Certificate certificate = first_certificate(*cert_text);
  if (certificate == nullptr) return TlsProblem{"cert", cert + " holds no certificate in PEM form"};
  if (has_expired(certificate)) return TlsProblem{"cert", cert + " has expired"};
  const auto key_text = read_whole(key);
  if (!key_text) return TlsProblem{"key", key_text.error()};
  const Key private_key = key_of(*key_text);
  if (private_key == nullptr)
    return TlsProblem{"key", key + " holds no private key in PEM form without a password"};
  if (!belong_together(certificate, private_key))
    return TlsProblem{"key", key + " is not the key of the certificate in " + cert};
  return std::nullopt;
}

}  // namespace sidecar
