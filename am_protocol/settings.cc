#include "am_protocol/settings.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/limits.h"

namespace sidecar {
namespace {

struct Setting {
  const char* name;  // without UCX_
  std::string value;
};

const char* prefix_of(PlaneKind kind) { return kind == PlaneKind::kLocal ? "SIDECAR_LOCAL" : "SIDECAR_NET"; }

// Read by UCX's transports, which look at the plain environment only.
std::vector<Setting> transport_settings(PlaneKind kind, bool cma) {
  std::vector<Setting> settings{
      // 64K is the most that every other UCX's receive buffer is known to hold. It triples the speed of
      // scattered
      // payloads and lets every control message go in one piece, which keeps their order.
      {"TCP_TX_SEG_SIZE", "64K"},
      {"TCP_RX_SEG_SIZE", "256K"},  // several 64 KiB chunks with their headers come in one recv()
      {"TCP_SNDBUF", "512K"},  // else one send hands over, and holds the loop for, as much as the peer takes
      {"TCP_CONN_NB", "y"},    // a blocking connect() would stop the loop
      {"TCP_CM_REUSEADDR", "y"},  // a restarted sidecar gets its port back at once
  };
  if (kind == PlaneKind::kLocal) {
    settings.push_back(
        {"MM_ERROR_HANDLING", "y"});  // else UCX avoids shared memory where failures must be noticed
    if (cma) settings.push_back({"CMA_MEMORY_INVALIDATE", "y"});
  }
  return settings;
}

// Read from the context's own configuration.
std::vector<Setting> context_settings(PlaneKind kind, bool cma, const std::string& devices) {
  std::vector<Setting> settings{{"KEEPALIVE_INTERVAL", "1s"}, {"MAX_RNDV_RAILS", "1"}};
  if (kind == PlaneKind::kLocal) {
    settings.push_back({"TLS", cma ? "sysv,posix,cma,tcp" : "sysv,posix,tcp"});
    settings.push_back({"NET_DEVICES", "lo"});
  } else {
    settings.push_back({"TLS", "^sm,self"});
    if (!devices.empty()) settings.push_back({"NET_DEVICES", devices});
  }
  return settings;
}

// The user's choice wins. UCX_TLS and UCX_NET_DEVICES are choices about the network: the local plane minds
// only its own.
bool user_set(PlaneKind kind, std::string_view name) {
  const std::string plain = "UCX_" + std::string(name);
  const std::string own = std::string(prefix_of(kind)) + "_" + plain;
  if (std::getenv(own.c_str()) != nullptr) return true;
  const bool about_network = name == "TLS" || name == "NET_DEVICES";
  if (kind == PlaneKind::kLocal && about_network) return false;
  return std::getenv(plain.c_str()) != nullptr;
}

class ScopedEnvironment {
 public:
  ScopedEnvironment(const std::vector<Setting>& settings, bool keep) {
    for (const Setting& setting : settings) {
      std::string name = "UCX_" + std::string(setting.name);
      if (std::getenv(name.c_str()) != nullptr) continue;
      setenv(name.c_str(), setting.value.c_str(), 0);
      if (!keep) ours_.push_back(std::move(name));
    }
  }
  ~ScopedEnvironment() {
    for (const std::string& name : ours_) unsetenv(name.c_str());
  }
  ScopedEnvironment(const ScopedEnvironment&) = delete;
  ScopedEnvironment& operator=(const ScopedEnvironment&) = delete;

 private:
  std::vector<std::string> ours_;
};

// "UCX_TLS=tcp UCX_..." for the given names, out of UCX's own print-out: what is in force, not what was asked
// for.
std::string in_force(const ucp_config_t* config, const std::vector<Setting>& settings) {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* const stream = open_memstream(&text, &bytes);
  if (stream == nullptr) return {};
  ucp_config_print(config, stream, nullptr, UCS_CONFIG_PRINT_CONFIG);
  std::fclose(stream);
  std::string result;
  for (const Setting& setting : settings) {
    const std::string key = "UCX_" + std::string(setting.name) + "=";
    const std::string_view all(text, bytes);
    std::size_t at = all.find(key);  // lines begin with the plane's prefix where one is in use
    if (at == all.npos) continue;
    if (!result.empty()) result += ' ';
    result += all.substr(at, all.find('\n', at) - at);
  }
  std::free(text);
  return result;
}

struct ConfigRelease {
  void operator()(ucp_config_t* config) const { ucp_config_release(config); }
};

Result<UcxContext> open_context(PlaneKind kind, bool cma, const std::string& devices,
                                std::string* settings_in_force) {
  ucp_config_t* raw = nullptr;
  ucs_status_t status = ucp_config_read(prefix_of(kind), nullptr, &raw);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not accept its settings"));
  const std::unique_ptr<ucp_config_t, ConfigRelease> config(raw);
  const std::vector<Setting> settings = context_settings(kind, cma, devices);
  for (const Setting& setting : settings) {
    if (user_set(kind, setting.name)) continue;
    status = ucp_config_modify(config.get(), setting.name, setting.value.c_str());
    if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX does not know one of our settings"));
  }
  *settings_in_force = in_force(config.get(), settings);

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = plane_name(kind);
  ucp_context_h context = nullptr;
  status = ucp_init(&params, config.get(), &context);
  if (status != UCS_OK)
    return tl::unexpected(ucx_error(status, "UCX finds no transport it may use (UCX_TLS?)"));
  return UcxContext(context);
}

Result<UcxWorker> open_worker(ucp_context_h context) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucp_worker_h raw = nullptr;
  ucs_status_t status = ucp_worker_create(context, &params, &raw);
  if (status != UCS_OK) return tl::unexpected(ucx_error(status, "UCX cannot create a worker"));
  UcxWorker worker(raw);
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  status = ucp_worker_query(worker.get(), &attributes);
  if (status != UCS_OK || attributes.max_am_header < kHeaderBytesMax) {
    // UCX 1.13 does not check the length when it sends; it would end the process.
    return fail(Errc::kIo, "UCX's transports take too short headers (bytes, needed)", kNoRank,
                attributes.max_am_header, kHeaderBytesMax);
  }
  return worker;
}

}  // namespace

const char* plane_name(PlaneKind kind) { return kind == PlaneKind::kLocal ? "local" : "net"; }

Result<OpenedPlane> open_plane(PlaneKind kind, bool cma, const std::string& devices, bool keep_environment) {
  const ScopedEnvironment environment(transport_settings(kind, cma), keep_environment);
  OpenedPlane plane;
  auto context = open_context(kind, cma, devices, &plane.settings);
  if (!context) return tl::unexpected(context.error());
  plane.context = std::move(*context);
  auto worker = open_worker(plane.context.get());
  if (!worker) return tl::unexpected(worker.error());
  plane.worker = std::move(*worker);
  const ucs_status_t status = ucp_worker_get_efd(plane.worker.get(), &plane.fd);
  if (status != UCS_OK)
    return tl::unexpected(ucx_error(status, "UCX's transports cannot wake a sleeping process"));
  return plane;
}

}  // namespace sidecar
