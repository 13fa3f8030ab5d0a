#include "core/tls_files.h"

#include <gmock/gmock.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/certificates.h"

namespace sidecar {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class TlsFilesTest : public testing::Test {
 protected:
  // "key: /tmp/x cannot be read: ...", or "" when all is well.
  static std::string problem(const std::string& ca, const std::string& cert, const std::string& key) {
    const auto found = tls_problem(ca, cert, key);
    return found ? std::string(found->which) + ": " + found->text : "";
  }
  std::string problem_with_key(const std::string& key) { return problem("", files_.server.cert, key); }

  Certificates files_;
};

TEST_F(TlsFilesTest, WhatBelongsTogetherIsFine) {
  EXPECT_EQ(problem("", "", ""), "");
  EXPECT_EQ(problem(files_.ca, "", ""), "");
  EXPECT_EQ(problem("", files_.server.cert, files_.server.key), "");
  EXPECT_EQ(problem(files_.ca, files_.server.cert, files_.server.key), "");
}

TEST_F(TlsFilesTest, ACertificateAndItsKeyComeTogether) {
  EXPECT_THAT(problem("", files_.server.cert, ""), HasSubstr("key: is missing"));
  EXPECT_THAT(problem("", "", files_.server.key), HasSubstr("cert: is missing"));
}

TEST_F(TlsFilesTest, AFileThatIsMissingOrNoFileIsNamed) {
  const std::string nowhere = files_.path("nowhere");
  EXPECT_EQ(problem(nowhere, "", ""), "ca: " + nowhere + " cannot be read: No such file or directory");
  EXPECT_THAT(problem("", nowhere, files_.server.key), HasSubstr("cert: " + nowhere + " cannot be read"));
  EXPECT_THAT(problem_with_key(nowhere), HasSubstr("key: " + nowhere + " cannot be read"));
  EXPECT_THAT(problem_with_key("/tmp"), HasSubstr("key: /tmp cannot be read: Is a directory"));
  const std::string pipe = files_.path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(problem_with_key(pipe), HasSubstr("holds no private key"));
  EXPECT_THAT(problem_with_key("/dev/zero"), HasSubstr("/dev/zero is larger than 1 MiB"));
}

TEST_F(TlsFilesTest, AKeyThatMayNotBeReadIsNamed) {
  ASSERT_EQ(::chmod(files_.server.key.c_str(), 0), 0);
  if (::geteuid() == 0) {  // whom modes do not stop
    EXPECT_EXIT(
        {
          if (::chmod(files_.path("").c_str(), 0755) != 0 || ::seteuid(65534) != 0) ::_exit(2);
          const auto found = tls_problem("", files_.server.cert, files_.server.key);
          ::_exit(found && found->text.find("server.key cannot be read: Permission denied") !=
                               std::string::npos
                      ? 0
                      : 1);
        },
        testing::ExitedWithCode(0), "");
    return;
  }
  EXPECT_THAT(problem_with_key(files_.server.key), HasSubstr("server.key cannot be read: Permission denied"));
}

TEST_F(TlsFilesTest, AKeyOfAnotherCertificateIsRefused) {
  EXPECT_EQ(problem_with_key(files_.client.key),
            "key: " + files_.client.key + " is not the key of the certificate in " + files_.server.cert);
}

TEST_F(TlsFilesTest, WhatIsNoPemIsRefusedWithoutTellingWhatItHolds) {
  const std::string path = files_.path("secret");
  write_file(path, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
  EXPECT_THAT(problem_with_key(path), AllOf(HasSubstr("no private key"), Not(HasSubstr("c2VjcmV0"))));
  EXPECT_THAT(problem(path, "", ""), HasSubstr("ca: " + path + " holds no certificate"));
  EXPECT_THAT(problem("", path, files_.server.key), HasSubstr("cert: " + path + " holds no certificate"));
  EXPECT_THAT(problem("", files_.server.key, files_.server.key), HasSubstr("holds no certificate"));
}

TEST_F(TlsFilesTest, AKeyWithAPasswordIsRefusedWithoutAsking) {
  const std::string path = files_.path("locked.key");
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  BIO* const file = BIO_new_file(path.c_str(), "w");
  char password[] = "password";
  ASSERT_EQ(PEM_write_bio_PrivateKey(file, key, EVP_aes_128_cbc(), nullptr, 0, nullptr, password), 1);
  BIO_free_all(file);
  EVP_PKEY_free(key);
  EXPECT_THAT(problem_with_key(path), HasSubstr("no private key in PEM form without a password"));
}

TEST_F(TlsFilesTest, ACertificateThatHasExpiredIsRefused) {
  const CertificateFiles old = files_.files("old");
  files_.ours.issue(old, "IP:127.0.0.1", -60);
  EXPECT_EQ(problem("", old.cert, old.key), "cert: " + old.cert + " has expired");
}

}  // namespace
}  // namespace sidecar
