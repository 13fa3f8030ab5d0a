// Certificates for tests of TLS, in a folder that goes with them.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace sidecar {

struct CertificateFiles {
  std::string cert;
  std::string key;
};

// Signs certificates. All have ECDSA keys, which are made at once.
class Authority {
 public:
  explicit Authority(const std::string& name);

  // Writes its own certificate.
  void write(const std::string& path) const;
  // A new key and a certificate for 127.0.0.1 and localhost, or for other `names` as OpenSSL writes them.
  // Each file is replaced at once, the key first.
  void issue(const CertificateFiles& to, const std::string& names = "IP:127.0.0.1,DNS:localhost",
             long valid_seconds = 3600);

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
  static Key new_key();
  Certificate sign(EVP_PKEY* key, const std::string& name, int extension, const std::string& value,
                   long valid_seconds) const;

  std::string name_;
  Key key_;
  Certificate certificate_;
};

void write_file(const std::string& path, const std::string& text);

// A folder with files of two authorities that do not know each other.
class Certificates {
 public:
  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  // folder/name.pem and folder/name.key
  [[nodiscard]] CertificateFiles files(const std::string& name) const {
    return {path(name + ".pem"), path(name + ".key")};
  }

 private:
  static std::string new_folder();
  const std::string folder_ = new_folder();

 public:
  Authority ours{"ours"};
  Authority strangers{"strangers"};
  const std::string ca = path("ca.pem");                  // ours
  const std::string strange_ca = path("strange_ca.pem");  // the strangers'
  const CertificateFiles server = files("server");        // by ours
  const CertificateFiles client = files("client");        // by ours
  const CertificateFiles stranger = files("stranger");    // by the strangers
};

}  // namespace sidecar
