#include "am_protocol/devices.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

namespace sidecar {
namespace {

namespace fs = std::filesystem;

bool is_at(const sockaddr* address, const std::string& text) {
  if (address == nullptr) return false;
  if (address->sa_family == AF_INET) {
    in_addr wanted{};
    if (inet_pton(AF_INET, text.c_str(), &wanted) != 1) return false;
    return reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr == wanted.s_addr;
  }
  if (address->sa_family != AF_INET6) return false;
  in6_addr wanted{};
  if (inet_pton(AF_INET6, text.c_str(), &wanted) != 1) return false;
  return std::memcmp(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, &wanted, sizeof wanted) == 0;
}

std::string interface_of(const std::string& address) {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return "";
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(raw, freeifaddrs);
  for (const ifaddrs* each = all.get(); each != nullptr; each = each->ifa_next) {
    if (!is_at(each->ifa_addr, address)) continue;
    return (each->ifa_flags & IFF_LOOPBACK) != 0 ? "" : each->ifa_name;
  }
  return "";
}

// As UCX names them: ",mlx5_0:1,mlx5_1:1". One that is not active would make UCX complain.
std::string rdma_ports() {
  std::string names;
  std::error_code none;
  for (const auto& device : fs::directory_iterator("/sys/class/infiniband", none)) {
    for (const auto& port : fs::directory_iterator(device.path() / "ports", none)) {
      std::ifstream state(port.path() / "state");
      std::string text;
      std::getline(state, text);  // "4: ACTIVE"
      if (text.find("ACTIVE") == text.npos) continue;
      names += "," + device.path().filename().string() + ":" + port.path().filename().string();
    }
  }
  return names;
}

}  // namespace

std::string devices_for(const std::string& address) {
  const std::string interface = interface_of(address);
  return interface.empty() ? "" : interface + rdma_ports();
}

}  // namespace sidecar
