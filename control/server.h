// The gRPC server: services, health and reflection, on few threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "control/services.h"
#include "control/tls.h"

namespace sidecar {

class ControlServer {
 public:
  // Listens on host:port (0: any free one) and serves at once. The error says what to do.
  static tl::expected<std::unique_ptr<ControlServer>, std::string> start(const std::string& host,
                                                                         std::uint16_t port,
                                                                         const Identity& identity,
                                                                         Mailbox& mailbox, Backend& backend,
                                                                         const TlsPaths& tls = {});
  // Cuts off calls that are not over within 250 ms. The mailbox should be closed by then, so that none does.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  // What grpc.health.v1 says: SERVING or NOT_SERVING. Any thread.
  void set_serving(bool serving);

 private:
  struct Impl;
  explicit ControlServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sidecar
