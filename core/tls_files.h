// The files of a TLS identity, looked at before they are used: gRPC would only say at each connection that
// something is wrong, and not what. Nothing here tells what is in a key.
#pragma once

#include <optional>
#include <string>

namespace sidecar {

struct TlsProblem {
  const char* which = "";  // "ca", "cert" or "key"
  std::string text;        // names the file
};

// PEM files; an empty path: none. `cert` and `key` belong together: the certificate, with those that lead to
// the authority after it, and its key, which no password protects. `ca`: one certificate or more.
std::optional<TlsProblem> tls_problem(const std::string& ca, const std::string& cert, const std::string& key);

}  // namespace sidecar
