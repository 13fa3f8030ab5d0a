// What sidecard is told: flags > environment > defaults, checked as far as one process can check without
// trying.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "control/peers.h"
#include "control/tls.h"
#include "core/arena.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/types.h"

namespace sidecar {

enum class MembershipKind : std::uint8_t { kStatic, kEtcd };

struct Options {
  Rank rank = kNoRank;
  std::int64_t world_size = 0;  // 0: not said
  std::uint64_t arena_bytes = std::uint64_t{1} << 30;
  // Ranks that may be served by mapping memory; empty: all that prove to be on this node.
  std::vector<Rank> local_peer_ranks;
  bool is_local = true;         // all ranks of the world are on this host, unless --peers says where they are
  std::int32_t device_id = -1;  // the GPU this sidecar serves, -1: none in particular
  std::int32_t grpc_port = -1;  // -1 until defaulted; 0: any free one
  std::int32_t data_port = -1;
  std::string listen = "127.0.0.1";
  std::string advertise;  // host that others are told
  bool insecure = false;
  TlsPaths tls;           // of all gRPC, unless etcd_tls says otherwise
  std::string shm_group;  // that may map the arena, as it was named
  std::optional<gid_t> shm_gid;
  std::string node;
  std::string peers_spec;
  MembershipKind membership = MembershipKind::kStatic;
  StaticPeers peers;                      // kStatic
  std::vector<std::string> etcd;          // kEtcd: host:port of its servers
  bool etcd_tls = false;                  // and whether they are spoken to with TLS
  std::string etcd_prefix = "/sidecar/";  // of our keys; ends with a slash
  TimeNs member_ttl_ns = 10 * kSecond;    // of our record's lease, in whole seconds
  std::string shm_dir = "/dev/shm";
  ArenaKind arena = ArenaKind::kAuto;
  PollPolicy poll = PollPolicy::kEvent;
  std::uint32_t spin_us = 20;
  TimeNs peer_timeout_ns = 30 * kSecond;
  TimeNs drain_timeout_ns = 10 * kSecond;
  TimeNs lease_ns = 10 * kSecond;          // of a client's registration
  TimeNs orphan_grace_ns = 600 * kSecond;  // how long chunks are kept while no client is registered
  std::uint64_t client_bytes = 0;          // that one client may have under way; 0: all of the send region
  std::uint64_t eager_max = kEagerBytesMax;
  std::uint32_t receive_percent = 50;  // of the arena, for what arrives; the rest is for what is sent
  LogLevel log_level = LogLevel::kInfo;
  bool log_level_given = false;  // it then overrides SIDECAR_LOG
};

// Nothing to run: help was asked for (code 0) or a setting is wrong.
struct Exit {
  int code = 0;
  std::string text;  // for stdout when code is 0, else for stderr
};

// Reads the environment as well. Does not touch the file system apart from --peers @file, --shm-dir and
// the TLS files.
tl::expected<Options, Exit> parse_options(int argc, const char* const* argv);

// One "name value" line per setting in effect.
std::string describe(const Options& options);

// 127.0.0.0/8, ::1 and "localhost".
bool is_loopback(std::string_view host);

}  // namespace sidecar
