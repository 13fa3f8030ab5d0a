#include "control/server.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>

#include <chrono>
#include <mutex>
#include <vector>

#include "core/log.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

constexpr int kMessageBytesMax = 4 << 20;
constexpr std::size_t kMemoryBytes = 16 << 20;  // gRPC slows down rather than take more
// A call takes a thread while it waits for the loop, normally some microseconds. Beyond this many calls are
// refused.
constexpr int kThreadsMax = 1024;
constexpr std::chrono::milliseconds kShutdownLimit{250};

// gRPC's own complaints (a port that is taken, a peer that is away) are told by us, in words that name the
// setting.
void log_grpc(gpr_log_func_args* args) { LOG_DEBUG("gRPC: {}", args->message); }

void configure_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    gpr_set_log_function(log_grpc);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

struct ControlServer::Impl {
  Impl(const Identity& identity, Mailbox& mailbox, Backend& backend) : context{identity, mailbox, backend} {
    services.push_back(make_registration_service(context));
    services.push_back(make_membership_service(context));
    services.push_back(make_admin_service(context));
  }

  ServiceContext context;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::Server> server;
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

tl::expected<std::unique_ptr<ControlServer>, std::string> ControlServer::start(
    const std::string& host, std::uint16_t port, const Identity& identity, Mailbox& mailbox, Backend& backend,
    const TlsPaths& tls) {
  configure_once();
  auto impl = std::make_unique<Impl>(identity, mailbox, backend);
  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("sidecar");
  quota.Resize(kMemoryBytes).SetMaxThreads(kThreadsMax);
  builder.SetResourceQuota(quota);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  // Otherwise a second sidecar on the same port would start, and each would get some of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int bound_port = 0;
  const std::string address = HostPort{host, port}.text();
  builder.AddListeningPort(address, server_credentials(tls), &bound_port);
  for (const auto& service : impl->services) builder.RegisterService(service.get());
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr || bound_port == 0) {
    return tl::unexpected(
        fmt::format("rank {}: cannot listen for gRPC on {}: the port is taken, or the address is not "
                    "this machine's; choose another with --grpc-port or --listen",
                    identity.rank, address));
  }
  impl->context.grpc_port = static_cast<std::uint16_t>(bound_port);
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

ControlServer::~ControlServer() {
  impl_->context.watchers.close();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownLimit);
  impl_->server->Wait();
}

std::uint16_t ControlServer::port() const { return impl_->context.grpc_port; }

void ControlServer::set_serving(bool serving) {
  grpc::HealthCheckServiceInterface* const health = impl_->server->GetHealthCheckService();
  if (health != nullptr) health->SetServingStatus(serving);
}

}  // namespace sidecar
