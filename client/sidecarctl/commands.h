// The commands of sidecarctl. Each returns the process's exit code: 0 done, 1 it failed (and said so on
// stderr).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/registration.h"
#include "sidecar/client.h"

namespace sidecar::ctl {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;

inline constexpr std::chrono::seconds kAnswerDeadline{5};  // of the control plane, for a person at a terminal

// What all commands share.
struct Settings {
  std::optional<Rank> rank;
  std::string address;  // of the sidecar's gRPC server; empty: by rank
  TlsFiles tls;         // what is empty comes from the environment
  double timeout_seconds = 600;
  bool json = false;
};

struct SendArguments {
  std::string file;  // "-": standard input
  std::string id;
  std::vector<std::string> to;  // "2,3": one group each
  std::string chunk_bytes = "64M";
  bool stream = false;
};

struct RecvArguments {
  std::string id;
  std::string output;  // empty or "-": standard output
  bool done = false;
};

struct DoneArguments {
  std::string id;
  std::string chunk = "all";
};

struct RegisterArguments {
  std::int64_t pid = 0;     // 0: the parent's
  std::string ucx_version;  // empty: the one that sidecarctl uses
};

int run_send(const Settings& settings, const SendArguments& arguments);
int run_recv(const Settings& settings, const RecvArguments& arguments);
int run_done(const Settings& settings, const DoneArguments& arguments);
int run_drain(const Settings& settings);
int run_status(const Settings& settings);
int run_peers(const Settings& settings);
int run_chunks(const Settings& settings);
int run_register(const Settings& settings, const RegisterArguments& arguments);
// `watches`: until the sidecar ends, which is a failure.
int run_members(const Settings& settings, bool watches);

// --- shared (main.cc)
// --------------------------------------------------------------------------------------------------

// "sidecarctl send: x: PeerLost: ..." on stderr; returns kFailed.
int failed(const std::string& what, const Failure& failure);

// Where the sidecar's gRPC server is, and how to speak to it. Fails when the environment or a TLS file cannot
// be read.
Expected<client_internal::Contact> contact_of(const Settings& settings);
// The environment's settings of a client, with what the flags say.
Expected<ClientOptions> options_of(const Settings& settings);
Expected<Client> connect(const Settings& settings);
std::chrono::nanoseconds deadline_of(const Settings& settings);

// Ids are any bytes: what is not printable ASCII is shown as \xNN.
std::string shown(const std::string& id);
// "64M", "1.5 GB"
std::string bytes_text(double bytes);
// "4096", "64K", "2M", "1G"; nothing when it is no such thing or 0.
std::optional<std::uint64_t> parse_bytes(const std::string& text);

}  // namespace sidecar::ctl
