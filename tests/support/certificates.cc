#include "tests/support/certificates.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/check.h"

namespace sidecar {
namespace {

std::string text_of(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free_all(memory);
  return text;
}

std::string pem_of(X509* certificate) {
  BIO* const memory = BIO_new(BIO_s_mem());
  CHECK(PEM_write_bio_X509(memory, certificate) == 1);
  return text_of(memory);
}

std::string pem_of(EVP_PKEY* key) {
  BIO* const memory = BIO_new(BIO_s_mem());
  CHECK(PEM_write_bio_PrivateKey(memory, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(memory);
}

void add_name(X509_NAME* name, const std::string& text) {
  CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1, 0) == 1);
}

}  // namespace

Authority::Authority(const std::string& name)
    : name_(name), key_(new_key()), certificate_(nullptr, &X509_free) {
  certificate_ = sign(key_.get(), name, NID_basic_constraints, "critical,CA:TRUE", 3600);
}

Authority::Key Authority::new_key() { return {EVP_EC_gen("P-256"), &EVP_PKEY_free}; }

Authority::Certificate Authority::sign(EVP_PKEY* key, const std::string& name, int extension,
                                       const std::string& value, long valid_seconds) const {
  Certificate certificate(X509_new(), &X509_free);
  X509* const made = certificate.get();
  CHECK(X509_set_version(made, X509_VERSION_3) == 1);
  unsigned char serial[8];
  CHECK(RAND_bytes(serial, sizeof serial) == 1);
  serial[0] &= 0x7f;
  BIGNUM* const number = BN_bin2bn(serial, sizeof serial, nullptr);
  CHECK(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(made)) != nullptr);
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(made), -7200);
  X509_gmtime_adj(X509_getm_notAfter(made), valid_seconds);
  add_name(X509_get_subject_name(made), name);
  add_name(X509_get_issuer_name(made), name_);
  CHECK(X509_set_pubkey(made, key) == 1);
  X509_EXTENSION* const more = X509V3_EXT_conf_nid(nullptr, nullptr, extension, value.c_str());
  CHECK(more != nullptr && X509_add_ext(made, more, -1) == 1);
  X509_EXTENSION_free(more);
  CHECK(X509_sign(made, key_.get(), EVP_sha256()) > 0);
  return certificate;
}

void Authority::write(const std::string& path) const { write_file(path, pem_of(certificate_.get())); }

void Authority::issue(const CertificateFiles& to, const std::string& names, long valid_seconds) {
  const Key key = new_key();
  const Certificate certificate = sign(key.get(), "a sidecar", NID_subject_alt_name, names, valid_seconds);
  write_file(to.key, pem_of(key.get()));
  write_file(to.cert, pem_of(certificate.get()));
}

void write_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  std::ofstream(fresh) << text;
  std::filesystem::rename(fresh, path);
}

std::string Certificates::new_folder() {
  std::string pattern = "/tmp/certificates-XXXXXX";
  CHECK(::mkdtemp(pattern.data()) != nullptr);
  return pattern;
}

Certificates::Certificates() {
  ours.write(ca);
  strangers.write(strange_ca);
  ours.issue(server);
  ours.issue(client);
  strangers.issue(stranger);
}

Certificates::~Certificates() { std::filesystem::remove_all(folder_); }

}  // namespace sidecar
