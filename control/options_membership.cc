#include "control/options_membership.h"

#include "fmt/format.h"

namespace sidecar {
namespace {

using Completed = tl::expected<void, WrongSetting>;

tl::unexpected<WrongSetting> wrong(const std::string& flag, const std::string& text) {
  return tl::unexpected(WrongSetting{flag, text});
}

Completed complete_static(Options& options) {
  if (!options.etcd.empty()) return wrong("etcd", "has no effect without --membership etcd");
  std::string spec = options.peers_spec;
  if (spec.empty() && options.world_size > 1 && !options.is_local) {
    return wrong("peers", "is missing although SIDECAR_IS_LOCAL is false: say where the other sidecars are");
  }
  if (spec.empty() && options.world_size == 0) {
    const int port = options.grpc_port > 0 ? options.grpc_port : kGrpcPortBase + options.rank;
    spec = fmt::format("{}={}", options.rank,
                       HostPort{options.advertise, static_cast<std::uint16_t>(port)}.text());
  } else if (spec.empty()) {
    spec = options.advertise.find(':') == std::string::npos ? options.advertise
                                                            : fmt::format("[{}]", options.advertise);
  }
  auto peers = StaticPeers::parse(spec, options.world_size);
  if (!peers) return wrong(options.peers_spec.empty() ? "world-size" : "", peers.error());
  options.peers = *std::move(peers);
  const auto own = options.peers.find(options.rank);
  if (!own) {
    return wrong("rank",
                 fmt::format("{} is not among the peers ({})", options.rank, options.peers.summary()));
  }
  if (options.grpc_port < 0) options.grpc_port = own->port;
  return {};
}

Completed complete_etcd(Options& options) {
  if (!options.peers_spec.empty())
    return wrong("peers", "says who is there, and so does --membership etcd: give one of them");
  if (options.etcd.empty()) return wrong("etcd", "is missing: where are etcd's servers?");
  std::size_t plain = 0;
  for (std::string& endpoint : options.etcd) {
    constexpr std::string_view kPlain = "http://";
    constexpr std::string_view kTls = "https://";
    if (endpoint.starts_with(kPlain)) {
      endpoint.erase(0, kPlain.size());
      ++plain;
    } else if (endpoint.starts_with(kTls)) {
      endpoint.erase(0, kTls.size());
      if (!options.tls.enabled()) return wrong("etcd", "is https://, which takes --tls-cert and --tls-key");
    }
    const auto address = parse_host_port(endpoint);
    if (!address) return wrong("etcd", address.error());
    if (address->port == 0) return wrong("etcd", fmt::format("'{}' lacks a port; etcd's is 2379", endpoint));
  }
  if (plain != 0 && plain != options.etcd.size())
    return wrong("etcd", "names some servers with http:// and some without; all are spoken to alike");
  options.etcd_tls = options.tls.enabled() && plain == 0;
  if (options.etcd_prefix.empty()) return wrong("etcd-prefix", "is empty");
  if (options.etcd_prefix.back() != '/') options.etcd_prefix += '/';
  constexpr TimeNs kShortest = 2 * kSecond;  // etcd itself gives no shorter ones
  constexpr TimeNs kLongest = 3600 * kSecond;
  if (options.member_ttl_ns < kShortest || options.member_ttl_ns > kLongest)
    return wrong("member-ttl", "is not within 2s to 1h");
  options.member_ttl_ns = (options.member_ttl_ns + kSecond - 1) / kSecond * kSecond;
  if (options.grpc_port < 0) options.grpc_port = kGrpcPortBase + options.rank;
  return {};
}

}  // namespace

Completed complete_membership(Options& options) {
  return options.membership == MembershipKind::kEtcd ? complete_etcd(options) : complete_static(options);
}

}  // namespace sidecar
