#include "control/options.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <map>
#include <thread>

#include "control/options_membership.h"
#include "control/options_security.h"
#include "control/units.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace sidecar {
namespace {

const std::map<std::string, ArenaKind> kArenas{{"auto", ArenaKind::kAuto},
                                               {"shared", ArenaKind::kShared},
                                               {"cuda", ArenaKind::kCuda},
                                               {"host", ArenaKind::kHost}};
const std::map<std::string, MembershipKind> kMemberships{{"static", MembershipKind::kStatic},
                                                         {"etcd", MembershipKind::kEtcd}};
const std::map<std::string, PollPolicy> kPolls{
    {"event", PollPolicy::kEvent}, {"adaptive", PollPolicy::kAdaptive}, {"busy", PollPolicy::kBusy}};
const std::map<std::string, LogLevel> kLogLevels{{"trace", LogLevel::kTrace}, {"debug", LogLevel::kDebug},
                                                 {"info", LogLevel::kInfo},   {"warn", LogLevel::kWarn},
                                                 {"error", LogLevel::kError}, {"off", LogLevel::kOff}};

template <class Map, class Value>
std::string name_of(const Map& map, const Value& value) {
  for (const auto& [name, candidate] : map) {
    if (candidate == value) return name;
  }
  return "?";
}

template <class Map>
std::string names_of(const Map& map) {
  std::string names;
  for (const auto& [name, value] : map) names += (names.empty() ? "" : "|") + name;
  return names;
}

std::string environment_name(std::string flag) {
  for (char& c : flag) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return "SIDECAR_" + flag;
}

// The settings that are text for CLI11 and become values afterwards, so that an error can say what was meant.
struct Texts {
  std::string arena_bytes = "1G";
  std::string eager_max = "64K";
  std::string peer_timeout = "30s";
  std::string drain_timeout = "10s";
  std::string membership = "static";
  std::string member_ttl = "10s";
  std::string lease = "10s";
  std::string orphan_grace = "10m";
  std::string client_bytes = "0";
  std::string arena = "auto";
  std::string poll;
  std::string log_level;
};

template <class T>
void add(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  app.add_option("--" + name, value, help)
      ->envname(environment_name(name))
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void declare(CLI::App& app, Options& options, Texts& texts) {
  add(app, "rank", options.rank, "Which sidecar this is, from 0 (required)");
  add(app, "world-size", options.world_size, "How many ranks there are: for a --peers pattern");
  add(app, "peers", options.peers_spec,
      "Where the sidecars' gRPC servers are: 0=host:port,1=host:port | @file | a pattern such as "
      "sidecar-%d.sidecars:10000 or host (ports 10000 + rank). Default: all on this host");
  add(app, "membership", texts.membership,
      names_of(kMemberships) + ": what says who is there: --peers, or an etcd. Default static");
  app.add_option(
         "--etcd", options.etcd,
         "Its servers, host:port,host:port: for --membership etcd. http:// before each: without TLS whatever "
         "--tls-cert says")
      ->delimiter(',')
      ->envname("SIDECAR_ETCD");
  add(app, "etcd-prefix", options.etcd_prefix,
      "What the keys start with: one for each world. Default /sidecar/");
  add(app, "member-ttl", texts.member_ttl,
      "How long etcd keeps the record of a sidecar that is not heard of. Default 10s");
  add(app, "node", options.node, "Name of this node: other names never share memory. Default: the host name");
  add(app, "shm-size", texts.arena_bytes, "Bytes of the arena, with K, M, G or T. Default 1G");
  add(app, "shm-dir", options.shm_dir, "Where a shared arena's file lives. Default /dev/shm");
  add(app, "arena", texts.arena,
      names_of(kArenas) +
          ": shared memory (pinned if there is a GPU), private memory from CUDA, or plain memory. Default "
          "auto");
  add(app, "receive-percent", options.receive_percent, "Part of the arena for what arrives. Default 50");
  add(app, "grpc-port", options.grpc_port, "gRPC port, 0 for any. Default: as --peers says, or 10000 + rank");
  add(app, "data-port", options.data_port, "Active-message port, 0 for any. Default 12000 + rank");
  add(app, "listen", options.listen, "Address to listen on. Default 127.0.0.1");
  add(app, "advertise", options.advertise,
      "Host that the others are told. Default: as --listen, or the host name");
  app.add_flag("--insecure", options.insecure,
               "Allow a --listen address that other machines can reach, without TLS")
      ->envname("SIDECAR_INSECURE");
  add(app, "tls-cert", options.tls.cert,
      "This sidecar's certificate, a PEM file: all gRPC then uses TLS, also to etcd (see there)");
  add(app, "tls-key", options.tls.key, "Its private key, a PEM file without a password");
  add(app, "tls-ca", options.tls.ca,
      "Who signs certificates, a PEM file: clients must then show one too, and servers are checked against "
      "it. Default: clients need none, and servers one that the system trusts");
  add(app, "shm-group", options.shm_group,
      "A group, by name or number, whose members may map the arena. Default: this user alone");
  add(app, "poll", texts.poll,
      names_of(kPolls) +
          ": sleep at once, spin a little first, never sleep. Default adaptive with more than two cores");
  add(app, "spin-us", options.spin_us,
      "How long adaptive polling spins after traffic, microseconds. Default 20");
  add(app, "eager-max", texts.eager_max, "Payloads above this travel by rendezvous. Default and maximum 64K");
  add(app, "peer-timeout", texts.peer_timeout, "A peer that is silent for so long is lost. Default 30s");
  add(app, "drain-timeout", texts.drain_timeout, "How long SIGTERM waits for what is under way. Default 10s");
  add(app, "lease", texts.lease,
      "A client that does not renew its registration for so long is gone. Default 10s");
  add(app, "orphan-grace", texts.orphan_grace,
      "How long chunks are kept while no client is registered here, then freed. Default 10m");
  add(app, "client-bytes", texts.client_bytes,
      "How much one client may be sending or have allocated at a time, like 256M. Default 0: what the arena "
      "holds");
  add(app, "log-level", texts.log_level, names_of(kLogLevels) + ". Default info, or what SIDECAR_LOG says");
  app.add_option(
         "--local-peer-ranks", options.local_peer_ranks,
         "Only these ranks may share memory with this one. Default: all that prove to be on this node")
      ->delimiter(',')
      ->envname("SIDECAR_LOCAL_PEER_RANKS");
  add(app, "is-local", options.is_local, "Without --peers: whether all ranks are on this host. Default true");
  add(app, "device-id", options.device_id,
      "The GPU this sidecar serves: the arena's memory is taken near it. Executors may use any. Default -1: "
      "none in particular");
}

tl::unexpected<Exit> wrong(const std::string& text) {
  return tl::unexpected(
      Exit{2, fmt::format("sidecard: {}\nRun 'sidecard --help' for all settings.\n", text)});
}

tl::unexpected<Exit> wrong(const std::string& flag, const std::string& text) {
  return wrong(fmt::format("--{} (or {}): {}", flag, environment_name(flag), text));
}

template <class Map, class Value>
bool choose(const Map& map, const std::string& name, Value& value) {
  const auto it = map.find(name);
  if (it == map.end()) return false;
  value = it->second;
  return true;
}

tl::expected<void, Exit> convert(const Texts& texts, Options& options) {
  const auto size = [](const char* flag, const std::string& text,
                       std::uint64_t& value) -> tl::expected<void, Exit> {
    const auto parsed = parse_size(text);
    if (!parsed) return wrong(flag, parsed.error());
    value = *parsed;
    return {};
  };
  const auto duration = [](const char* flag, const std::string& text,
                           TimeNs& value) -> tl::expected<void, Exit> {
    const auto parsed = parse_duration(text);
    if (!parsed) return wrong(flag, parsed.error());
    value = *parsed;
    return {};
  };
  if (auto r = size("shm-size", texts.arena_bytes, options.arena_bytes); !r) return r;
  if (auto r = size("client-bytes", texts.client_bytes, options.client_bytes); !r) return r;
  if (auto r = size("eager-max", texts.eager_max, options.eager_max); !r) return r;
  if (auto r = duration("peer-timeout", texts.peer_timeout, options.peer_timeout_ns); !r) return r;
  if (auto r = duration("drain-timeout", texts.drain_timeout, options.drain_timeout_ns); !r) return r;
  if (auto r = duration("member-ttl", texts.member_ttl, options.member_ttl_ns); !r) return r;
  if (!choose(kMemberships, texts.membership, options.membership)) {
    return wrong("membership", fmt::format("'{}' is none of {}", texts.membership, names_of(kMemberships)));
  }
  if (auto r = duration("lease", texts.lease, options.lease_ns); !r) return r;
  if (auto r = duration("orphan-grace", texts.orphan_grace, options.orphan_grace_ns); !r) return r;
  if (!choose(kArenas, texts.arena, options.arena)) {
    return wrong("arena", fmt::format("'{}' is none of {}", texts.arena, names_of(kArenas)));
  }
  options.poll = std::thread::hardware_concurrency() > 2 ? PollPolicy::kAdaptive : PollPolicy::kEvent;
  if (!texts.poll.empty() && !choose(kPolls, texts.poll, options.poll)) {
    return wrong("poll", fmt::format("'{}' is none of {}", texts.poll, names_of(kPolls)));
  }
  options.log_level_given = !texts.log_level.empty();
  if (options.log_level_given && !choose(kLogLevels, texts.log_level, options.log_level)) {
    return wrong("log-level", fmt::format("'{}' is none of {}", texts.log_level, names_of(kLogLevels)));
  }
  return {};
}

tl::expected<void, Exit> check_ranges(const Options& options) {
  if (options.rank < 0 || options.rank > kRankMax) {
    return wrong("rank", fmt::format("{} is not within 0 to {}", options.rank, kRankMax));
  }
  if (options.world_size < 0) return wrong("world-size", "is negative");
  if (options.world_size > 0 && options.rank >= options.world_size) {
    return wrong("rank", fmt::format("{} does not fit in a world of {}: ranks are 0 to {}", options.rank,
                                     options.world_size, options.world_size - 1));
  }
  for (const auto& [flag, port] :
       {std::pair{"grpc-port", options.grpc_port}, {"data-port", options.data_port}}) {
    if (port < -1 || port > 65535) return wrong(flag, fmt::format("{} is not a port", port));
  }
  if (options.arena_bytes < (1u << 20)) {
    return wrong("shm-size", fmt::format("{} is too little: at least 1 MiB", size_text(options.arena_bytes)));
  }
  if (options.arena_bytes > (std::uint64_t{1} << 46)) {
    return wrong("shm-size", fmt::format("{} is too much: at most 64 TiB", size_text(options.arena_bytes)));
  }
  if (options.eager_max == 0 || options.eager_max > kEagerBytesMax) {
    return wrong("eager-max", fmt::format("must be within 1 and {}", size_text(kEagerBytesMax)));
  }
  if (options.receive_percent < 1 || options.receive_percent > 99) {
    return wrong("receive-percent", fmt::format("{} is not within 1 to 99", options.receive_percent));
  }
  if (options.device_id < -1) {
    return wrong("device-id", fmt::format("{} is neither a GPU's number nor -1 (none)", options.device_id));
  }
  if (options.spin_us > 1'000'000) return wrong("spin-us", "is more than a second");
  if (options.peer_timeout_ns < kSecond || options.peer_timeout_ns == kNever) {
    return wrong("peer-timeout", "must be a time of at least 1s: a peer that says nothing for ever is lost");
  }
  if (options.drain_timeout_ns == kNever) return wrong("drain-timeout", "must be a time");
  if (options.lease_ns < kSecond || options.lease_ns == kNever) {
    return wrong("lease", "must be a time of at least 1s: a client that is gone must be noticed some day");
  }
  if (options.orphan_grace_ns < kSecond || options.orphan_grace_ns == kNever) {
    return wrong(
        "orphan-grace",
        "must be a time of at least 1s: shorter, and a client that comes late finds nothing; for ever, "
        "and what nobody comes for fills the arena");
  }
  for (const Rank rank : options.local_peer_ranks) {
    if (rank < 0) return wrong("local-peer-ranks", fmt::format("{} is not a rank", rank));
  }
  return {};
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != 0 ? name.data() : "localhost";
}

bool is_wildcard(std::string_view host) { return host == "0.0.0.0" || host == "::"; }

// What depends on other settings, and membership.
tl::expected<void, Exit> complete(Options& options) {
  if (options.node.empty()) options.node = host_name();
  if (options.node.size() > kNameBytesMax) return wrong("node", "is longer than 255 bytes");
  if (auto security = complete_security(options); !security)
    return wrong(security.error().flag, security.error().text);
  if (options.advertise.empty()) {
    options.advertise = is_wildcard(options.listen) ? host_name() : options.listen;
  }
  const bool default_ports_end = options.rank > 65535 - kDataPortBase;
  if (default_ports_end && (options.data_port < 0 || (options.peers_spec.empty() && options.grpc_port < 0))) {
    return wrong(
        "rank",
        fmt::format("{} is too large for the default ports: give --grpc-port and --data-port", options.rank));
  }
  if (options.data_port < 0) options.data_port = kDataPortBase + options.rank;

  if (auto membership = complete_membership(options); !membership) {
    const WrongSetting& error = membership.error();
    return error.flag.empty() ? wrong(error.text) : wrong(error.flag, error.text);
  }

  if (options.grpc_port == options.data_port && options.grpc_port != 0) {
    return wrong("data-port", fmt::format("{} is the gRPC port already", options.data_port));
  }

  struct stat info{};
  const bool has_file = options.arena == ArenaKind::kAuto || options.arena == ArenaKind::kShared;
  if (has_file && (stat(options.shm_dir.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))) {
    return wrong("shm-dir", fmt::format("{} is not a directory: name another one, or use --arena host",
                                        options.shm_dir));
  }
  return {};
}

}  // namespace

tl::expected<Options, Exit> parse_options(int argc, const char* const* argv) {
  Options options;
  Texts texts;
  CLI::App app{
      "sidecard - forwards tensors between the executors of many nodes.\n"
      "Every setting can also come from the environment (in parentheses); flags win."};
  app.name("sidecard");
  app.set_version_flag("--version", "sidecard " SIDECAR_VERSION);
  app.get_formatter()->column_width(34);
  try {
    declare(app, options, texts);
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return tl::unexpected(Exit{0, app.help()});
  } catch (const CLI::CallForVersion&) {
    return tl::unexpected(Exit{0, "sidecard " SIDECAR_VERSION "\n"});
  } catch (const CLI::ConversionError& error) {
    return wrong(fmt::format("{}; such a setting may also come from its SIDECAR_ variable", error.what()));
  } catch (const CLI::Error& error) {
    return wrong(error.what());
  }
  if (app.count("--rank") == 0) {
    return wrong("rank", "is missing; it says which sidecar this is, counted from 0");
  }
  if (auto converted = convert(texts, options); !converted) return tl::unexpected(converted.error());
  if (auto checked = check_ranges(options); !checked) return tl::unexpected(checked.error());
  if (auto completed = complete(options); !completed) return tl::unexpected(completed.error());
  return options;
}

std::string describe(const Options& options) {
  std::string text;
  const auto line = [&text](const char* name, const auto& value) {
    text += fmt::format("  {:<18} {}\n", name, value);
  };
  line("rank", options.rank);
  line("node", options.node);
  line("membership", name_of(kMemberships, options.membership));
  if (options.membership == MembershipKind::kEtcd) {
    line("etcd", fmt::format("{}", fmt::join(options.etcd, ",")));
    line("etcd-prefix", options.etcd_prefix);
    line("member-ttl", duration_text(options.member_ttl_ns));
  } else {
    line("peers", options.peers.summary());
  }
  line("local-peer-ranks", options.local_peer_ranks.empty()
                               ? std::string("all that prove to be on this node")
                               : fmt::format("{}", fmt::join(options.local_peer_ranks, ",")));
  line("listen", options.listen + (is_loopback(options.listen) ? ""
                                   : options.tls.enabled()     ? " (data are not encrypted)"
                                                               : " (insecure: no TLS)"));
  line("tls", tls_text(options.tls));
  line("advertise", options.advertise);
  line("grpc-port", options.grpc_port == 0 ? std::string("any") : std::to_string(options.grpc_port));
  line("data-port", options.data_port == 0 ? std::string("any") : std::to_string(options.data_port));
  line("arena", name_of(kArenas, options.arena));
  line("shm-size", size_text(options.arena_bytes));
  line("shm-dir", options.shm_dir);
  line("shm-group", options.shm_gid ? fmt::format("{} (number {})", options.shm_group, *options.shm_gid)
                                    : std::string("none: this user alone"));
  line("receive-percent", options.receive_percent);
  line("device-id",
       options.device_id < 0 ? std::string("none in particular") : std::to_string(options.device_id));
  line("poll", name_of(kPolls, options.poll));
  line("spin-us", options.spin_us);
  line("eager-max", size_text(options.eager_max));
  line("peer-timeout", duration_text(options.peer_timeout_ns));
  line("drain-timeout", duration_text(options.drain_timeout_ns));
  line("lease", duration_text(options.lease_ns));
  line("orphan-grace", duration_text(options.orphan_grace_ns));
  line("client-bytes", options.client_bytes == 0 ? std::string("any") : size_text(options.client_bytes));
  return text;
}

bool is_loopback(std::string_view host) {
  const std::string name(host);
  in_addr v4{};
  if (inet_pton(AF_INET, name.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return name == "::1" || name == "localhost";
}

}  // namespace sidecar
