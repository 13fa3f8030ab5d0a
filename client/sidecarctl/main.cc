// sidecarctl: sends and receives files through a sidecar, and shows what it is doing.
#include <CLI/CLI.hpp>
#include <array>
#include <charconv>
#include <cstdio>

#include "client/registration.h"
#include "client/sidecarctl/commands.h"

namespace sidecar::ctl {
namespace {

void add_common(CLI::App* app, Settings* settings) {
  app->add_option("--rank", settings->rank, "the sidecar to talk to (default: $SIDECAR_RANK, or 0)")
      ->check(CLI::NonNegativeNumber);
  app->add_option("--address", settings->address, "its gRPC address (default: 127.0.0.1:10000+rank)");
  app->add_option("--tls-ca", settings->tls.ca,
                  "who signs the sidecars' certificates (default: $SIDECAR_TLS_CA)");
  app->add_option("--tls-cert", settings->tls.cert, "our certificate (default: $SIDECAR_TLS_CERT)");
  app->add_option("--tls-key", settings->tls.key, "its private key (default: $SIDECAR_TLS_KEY)");
  app->add_option("--timeout", settings->timeout_seconds, "seconds until a call is given up, 0: at once")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_flag("--json", settings->json, "print the result as JSON");
}

int run(int argc, char** argv) {
  CLI::App app("Sends and receives files through a sidecar, and shows what it is doing.", "sidecarctl");
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 the operation failed, 2 wrong usage.");
  Settings settings;
  add_common(&app, &settings);  // before the command or after it
  SendArguments send;
  RecvArguments recv;
  DoneArguments done;
  RegisterArguments registers;

  CLI::App* const send_app = app.add_subcommand("send", "send a file; .npy files keep their dtype and shape");
  send_app->add_option("file", send.file, "the file, or - for standard input (which is sent as a stream)")
      ->required();
  send_app->add_option("--id", send.id, "data id, 1 to 255 bytes")->required();
  send_app->add_option("--to", send.to, "ranks of one destination group (2,3); once for each group")
      ->required()
      ->allow_extra_args(false);
  send_app->add_option("--chunk-bytes", send.chunk_bytes, "size of a chunk: 4096, 64K, 2M, 1G")
      ->capture_default_str();
  send_app->add_flag("--stream", send.stream, "send as a stream: consumers learn its length at the end");

  CLI::App* const recv_app = app.add_subcommand("recv", "receive a datum whole and write it to a file");
  recv_app->add_option("id", recv.id, "data id")->required();
  recv_app->add_option("-o,--output", recv.output,
                       "file (default: standard output); tensors are written as .npy");
  recv_app->add_flag("--done", recv.done, "mark each chunk done once it is written");

  CLI::App* const done_app = app.add_subcommand("done", "free the memory of a received datum, for everybody");
  done_app->add_option("id", done.id, "data id")->required();
  done_app->add_option("--chunk", done.chunk, "one chunk's number, or all")->capture_default_str();

  CLI::App* const status_app = app.add_subcommand("status", "what the sidecar is and holds");
  CLI::App* const peers_app =
      app.add_subcommand("peers", "its links to other sidecars and the path each uses");
  CLI::App* const chunks_app = app.add_subcommand("chunks", "the chunks it holds, or is asked for");
  CLI::App* const drain_app = app.add_subcommand(
      "drain", "end the sidecar once what it sends is delivered and what it holds is marked done");
  CLI::App* const members_app =
      app.add_subcommand("members", "the sidecars of its cluster, as far as it knows");
  bool watches = false;
  members_app->add_flag("--watch", watches, "go on, and tell every change");
  CLI::App* const register_app = app.add_subcommand(
      "register",
      "register another process as a client, and print what its Hello must say: one name=value a line, for a "
      "shell; instances and the nonce in hexadecimal");
  register_app->add_option("--pid", registers.pid, "the process (default: the one that runs this command)")
      ->check(CLI::PositiveNumber);
  register_app->add_option("--ucx-version", registers.ucx_version,
                           "of the UCX that it uses, as ucp_get_version tells it (default: that of ours)");
  register_app->footer(
      "The process has a minute to connect. The registration lasts as long as its connection and needs no "
      "renewal.");
  for (CLI::App* const each : app.get_subcommands({})) add_common(each, &settings);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  if (*send_app) return run_send(settings, send);
  if (*recv_app) return run_recv(settings, recv);
  if (*done_app) return run_done(settings, done);
  if (*drain_app) return run_drain(settings);
  if (*status_app) return run_status(settings);
  if (*peers_app) return run_peers(settings);
  if (*register_app) return run_register(settings, registers);
  if (*members_app) return run_members(settings, watches);
  return *chunks_app ? run_chunks(settings) : kUsage;
}

// The environment's, with what the flags say of TLS.
Expected<ClientOptions> environment_of(const Settings& settings) {
  Expected<ClientOptions> options = ClientOptions::from_env();
  if (!options) return options;
  if (!settings.tls.ca.empty()) options->tls.ca = settings.tls.ca;
  if (!settings.tls.cert.empty()) options->tls.cert = settings.tls.cert;
  if (!settings.tls.key.empty()) options->tls.key = settings.tls.key;
  return options;
}

}  // namespace

Expected<ClientOptions> options_of(const Settings& settings) {
  Expected<ClientOptions> options = environment_of(settings);
  if (!options) return options;
  if (!settings.address.empty()) options->address = settings.address;
  if (settings.rank) {
    options->rank = *settings.rank;
    options->group.clear();
    if (settings.address.empty()) options->address.clear();
  } else if (!settings.address.empty() ||
             (options->rank == kNoRank && options->group.empty() && !options->address.empty())) {
    // An address says enough: the sidecar there knows its rank.
    const auto credentials = client_internal::credentials_of(options->tls);
    if (!credentials) return credentials.error();
    const auto status = client_internal::ask_status({options->address, *credentials}, kAnswerDeadline);
    if (!status) return status.error();
    options->rank = status->rank;
    options->group.clear();
  }
  return options;
}

int failed(const std::string& what, const Failure& failure) {
  std::fprintf(stderr, "sidecarctl %s: %s\n", what.c_str(), to_string(failure).c_str());
  return kFailed;
}

Expected<client_internal::Contact> contact_of(const Settings& settings) {
  const Expected<ClientOptions> options = environment_of(settings);
  if (!options) return options.error();
  const auto credentials = client_internal::credentials_of(options->tls);
  if (!credentials) return credentials.error();
  std::string address = settings.address;
  if (address.empty() && !settings.rank) address = options->address;
  if (address.empty()) {
    const auto usual = client_internal::default_address(settings.rank.value_or(std::max(options->rank, 0)));
    if (!usual) return usual.error();
    address = *usual;
  }
  return client_internal::Contact{address, *credentials};
}

Expected<Client> connect(const Settings& settings) {
  Expected<ClientOptions> options = options_of(settings);
  if (!options) return options.error();
  // One command is all of its group: it speaks as the member that copies.
  if (!options->group.empty()) options->rank = kNoRank;
  options->concurrent_copy = false;
  options->progress = Progress::kCaller;
  options->polling = Polling::kEvent;
  options->deadline = deadline_of(settings);
  options->connect_deadline = kAnswerDeadline;
  options->reconnect = false;  // one command, one answer
  return Client::connect(std::move(*options));
}

std::chrono::nanoseconds deadline_of(const Settings& settings) {
  constexpr double kLongest = 1e9;  // 31 years; more does not fit
  return std::chrono::nanoseconds(
      static_cast<std::int64_t>(std::min(settings.timeout_seconds, kLongest) * 1e9));
}

std::string shown(const std::string& id) {
  std::string out;
  for (const char c : id) {
    const auto byte = static_cast<unsigned char>(c);
    std::array<char, 8> escaped{};
    if (c == '\\') {
      out += "\\\\";
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
      out += escaped.data();
    }
  }
  return out;
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.2f %s", bytes, kUnits[unit]);
  return text.data();
}

std::optional<std::uint64_t> parse_bytes(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value == 0) return std::nullopt;
  const std::string unit(end, text.data() + text.size());
  unsigned shift = 0;
  if (unit == "K" || unit == "KiB")
    shift = 10;
  else if (unit == "M" || unit == "MiB")
    shift = 20;
  else if (unit == "G" || unit == "GiB")
    shift = 30;
  else if (!unit.empty())
    return std::nullopt;
  if (value > (~std::uint64_t{0} >> shift)) return std::nullopt;
  return value << shift;
}

}  // namespace sidecar::ctl

int main(int argc, char** argv) {
  try {
    return sidecar::ctl::run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, or a broken CLI definition
    std::fprintf(stderr, "sidecarctl: %s\n", error.what());
    return sidecar::ctl::kFailed;
  }
}
