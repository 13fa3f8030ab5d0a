// The sidecar server: puts the parts together, runs them, takes them apart. Everything that is decided once
// per process is decided here; what the parts do is theirs.
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "am_protocol/transport.h"
#include "control/directory.h"
#include "control/drain.h"
#include "control/engine_backend.h"
#include "control/member_news.h"
#include "control/membership.h"
#include "control/options.h"
#include "control/server.h"
#include "control/startup.h"
#include "control/units.h"
#include "core/arena.h"
#include "core/cuda_copier.h"
#include "core/cuda_driver.h"
#include "core/engine.h"
#include "core/log.h"
#include "core/mailbox.h"
#include "fmt/format.h"

namespace sidecar {
namespace {

constexpr unsigned kTeardownSeconds = 10;

using Started =
    tl::expected<void, std::string>;  // the error says what failed, for which rank, and what to do

class Sidecard {
 public:
  explicit Sidecard(Options options);
  ~Sidecard();

  Started start();
  // Until SIGTERM or a drain, or another process has taken the rank, and then until what is under way is
  // over; or until it is clear that this sidecar may not join the others. The process's exit code.
  int run();

 private:
  Started check_network();
  Started find_gpus();
  Started make_arena();
  Started open_transport();
  void make_engine();
  Started open_server();
  void join();
  void on_joined(const Started& joined);
  void on_usurped();
  void on_signal(int number);
  bool step();
  [[nodiscard]] TimeNs next_deadline() const;

  const Options options_;
  Identity identity_;
  std::string numeric_advertise_;  // links are made without asking a resolver
  int exit_code_ = 0;

  // In the order of their making; each uses only those above it.
  Loop loop_;
  Mailbox mailbox_;
  Tickets tickets_;
  Leases leases_;
  Result<std::unique_ptr<CudaApi>> cuda_;  // or why there are no GPUs
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<CudaCopier> copier_;  // null: no GPUs
  LoopHost host_;
  std::unique_ptr<UcxTransport> transport_;
  std::unique_ptr<GrpcDirectory> directory_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Drain> drain_;
  std::unique_ptr<EngineBackend> backend_;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<MemberNews> news_;
};

Identity identity_of(const Options& options, std::function<void()> on_usurped) {
  Identity identity;
  identity.rank = options.rank;
  identity.instance = random_bits();
  identity.node = options.node;
  identity.advertise = options.advertise;
  identity.ucx_version = ucx_version();
  identity.eager_max = options.eager_max;
  identity.drain_timeout_ns = options.drain_timeout_ns;
  identity.lease = options.lease_ns;
  identity.local_peer_ranks = options.local_peer_ranks;
  identity.credentials = channel_credentials(options.tls);
  identity.members = make_members(options, identity.credentials, std::move(on_usurped));
  return identity;
}

Sidecard::Sidecard(Options options)
    : options_(std::move(options)),
      identity_(identity_of(options_,
                            [this] {
                              if (!mailbox_.post([this] { on_usurped(); }))
                                LOG_DEBUG("the rank was taken while this sidecar was ending");
                            })),
      loop_(LoopOptions{.policy = options_.poll, .spin_ns = options_.spin_us * TimeNs{1000}}),
      mailbox_(&loop_),
      tickets_(identity_.instance),
      leases_(options_.lease_ns),
      cuda_(fail(Errc::kUnavailable, "not looked for")),
      host_(loop_) {}

Sidecard::~Sidecard() {
  mailbox_.close();  // first: whoever waits for an answer from the loop stops waiting
}

Started Sidecard::check_network() {
  const struct {
    const char* purpose;
    const char* flag;
    std::int32_t port;
  } ports[] = {{"gRPC", "--grpc-port", options_.grpc_port},
               {"active messages", "--data-port", options_.data_port}};
  for (const auto& [purpose, flag, port] : ports) {
    const auto problem = port_problem(options_.listen, static_cast<std::uint16_t>(port));
    if (!problem) continue;
    return tl::unexpected(
        fmt::format("rank {}: cannot listen for {} on {}:{}: {}; choose another with {} or --listen",
                    options_.rank, purpose, options_.listen, port, *problem, flag));
  }
  numeric_advertise_ = numeric_host(options_.advertise);
  if (numeric_advertise_.empty()) {
    return tl::unexpected(fmt::format("rank {}: --advertise {} is not the name of any address", options_.rank,
                                      options_.advertise));
  }
  return {};
}

Started Sidecard::find_gpus() {
  cuda_ = load_cuda();
  if (!cuda_) {
    LOG_INFO("GPUs: none: {}", cuda_.error().what);
    if (options_.device_id >= 0) LOG_WARN("--device-id {} has no effect: no GPUs", options_.device_id);
    if (options_.arena != ArenaKind::kCuda) return {};
    return tl::unexpected(fmt::format("rank {}: --arena cuda needs a GPU: {}; --arena auto does without",
                                      options_.rank, cuda_.error().what));
  }
  const int count = (*cuda_)->devices();
  if (options_.device_id >= count) {
    return tl::unexpected(fmt::format("rank {}: --device-id {}: the GPUs here are 0 to {}", options_.rank,
                                      options_.device_id, count - 1));
  }
  std::string which;
  for (int device = 0; device < count; ++device) {
    const CudaDevice& facts = (*cuda_)->device(device);
    which += fmt::format("{}{} at {}", device == 0 ? "" : ", ", device, facts.pci);
    identity_.gpus.push_back(facts.uuid);
    if (facts.numa_node >= 0) which += fmt::format(" (NUMA node {})", facts.numa_node);
  }
  LOG_INFO("GPUs: {}", which);
  copier_ = std::make_unique<CudaCopier>(**cuda_, mailbox_);
  return {};
}

Started Sidecard::make_arena() {
  ArenaOptions wanted;
  wanted.kind = options_.arena;
  wanted.bytes = options_.arena_bytes;
  wanted.directory = options_.shm_dir;
  wanted.instance = identity_.instance;
  wanted.group = options_.shm_gid;
  wanted.cuda = cuda_ ? cuda_->get() : nullptr;
  wanted.device = options_.device_id;
  exit_on_signals(options_.shm_dir + "/" + arena_file_name(identity_.instance), 0);
  auto arena = Arena::create(wanted);
  if (!arena) {
    const Error& error = arena.error();
    const bool private_memory = options_.arena == ArenaKind::kHost || options_.arena == ArenaKind::kCuda;
    if (error.code == Errc::kNoSpace && private_memory) {
      return tl::unexpected(
          fmt::format("rank {}: an arena of {} does not fit this machine's memory ({}): "
                      "lower --shm-size",
                      options_.rank, size_text(options_.arena_bytes), to_string(error)));
    }
    if (error.code == Errc::kNoSpace) {
      return tl::unexpected(
          fmt::format("rank {}: an arena of {} does not fit {} ({}): lower --shm-size, make room, or name "
                      "another directory with --shm-dir",
                      options_.rank, size_text(options_.arena_bytes), options_.shm_dir, to_string(error)));
    }
    return tl::unexpected(
        fmt::format("rank {}: cannot make an arena in {}: {}; see --shm-dir, --shm-group and --arena",
                    options_.rank, options_.shm_dir, to_string(error)));
  }
  arena_ = *std::move(arena);
  identity_.arena = ArenaInfo{arena_->instance(), arena_->nonce(), arena_->bytes(), Name(arena_->path())};
  identity_.arena_kind = arena_->description();
  LOG_INFO("arena: {}", arena_->description());
  return {};
}

Started Sidecard::open_transport() {
  UcxOptions wanted;
  wanted.keep_environment = true;
  wanted.local_listen = "127.0.0.1:0";
  wanted.net_reached_at = numeric_advertise_;
  wanted.net_listen = HostPort{options_.listen, static_cast<std::uint16_t>(options_.data_port)}.text();
  auto transport = UcxTransport::create(wanted, loop_);
  if (!transport) {
    return tl::unexpected(
        fmt::format("rank {}: cannot start UCX on {}: {}; see --data-port, --listen and the UCX_ "
                    "variables in the environment",
                    options_.rank, wanted.net_listen, to_string(transport.error())));
  }
  transport_ = *std::move(transport);
  const std::string listening(transport_->net_address().view());
  const auto port = static_cast<std::uint16_t>(std::stoi(listening.substr(listening.rfind(':') + 1)));
  identity_.net_address = HostPort{numeric_advertise_, port}.text();
  identity_.local_address = transport_->local_address().view();
  LOG_INFO("{}", transport_->describe());
  return {};
}

void Sidecard::make_engine() {
  directory_ = std::make_unique<GrpcDirectory>(
      identity_, mailbox_, tickets_,
      [this](Rank rank, const Result<PeerRecord>& record) { engine_->on_resolved(rank, record); });
  EngineOptions wanted;
  wanted.rank = options_.rank;
  wanted.instance = identity_.instance;
  wanted.pid = getpid();
  wanted.node = Name(identity_.node);
  wanted.arena = arena_->span();
  wanted.arena_info = identity_.arena;
  wanted.send_share = (100 - options_.receive_percent) / 100.0;
  wanted.reserve_share = std::min(wanted.reserve_share, options_.receive_percent / 400.0);
  wanted.hash_key[0] = random_bits();
  wanted.hash_key[1] = random_bits();
  wanted.peer_timeout = options_.peer_timeout_ns;
  wanted.orphan_grace = options_.orphan_grace_ns;
  if (options_.client_bytes > 0) wanted.client_bytes_max = options_.client_bytes;
  wanted.eager_max = options_.eager_max;
  engine_ = std::make_unique<Engine>(wanted, *transport_, *directory_, host_, copier_.get());
  transport_->set_events(*engine_);
  if (copier_ != nullptr) copier_->set_events(*engine_);
  host_.set_events(*engine_);
  host_.set_arena(*arena_);
  const EngineStats stats = engine_->stats();
  identity_.send_quota_bytes = stats.send.region_bytes;
  identity_.receive_quota_bytes = stats.receive.region_bytes;
  drain_ = std::make_unique<Drain>(*engine_, Drain::Hooks{.on_begin = [this] { server_->set_serving(false); },
                                                          .on_end = [this] { loop_.stop(); }});
  backend_ = std::make_unique<EngineBackend>(identity_, loop_, *transport_, *engine_, tickets_, leases_,
                                             host_, *drain_);
}

Started Sidecard::open_server() {
  auto server = ControlServer::start(options_.listen, static_cast<std::uint16_t>(options_.grpc_port),
                                     identity_, mailbox_, *backend_, options_.tls);
  if (!server) return tl::unexpected(server.error());
  server_ = *std::move(server);
  return {};
}

Started Sidecard::start() {
  if (auto network = check_network(); !network)
    return network;  // before the arena, which takes a second per GiB
  if (auto gpus = find_gpus(); !gpus) return gpus;
  if (auto arena = make_arena(); !arena) return arena;
  if (auto transport = open_transport(); !transport) return transport;
  make_engine();
  loop_.set_hooks({.on_step = [this] { return step(); },
                   .next_deadline = [this] { return next_deadline(); },
                   .on_timer = [](TimeNs) {}});  // a step follows, and does what is due
  loop_.on_signals({SIGTERM, SIGINT, SIGHUP}, [this](int number) { on_signal(number); });
  if (auto server = open_server(); !server) return server;
  join();
  return {};
}

// Whether the others take this sidecar in may take a while; meanwhile the loop runs, and hears signals.
void Sidecard::join() {
  news_ = std::make_unique<MemberNews>(*identity_.members, mailbox_, [this](const MemberChange& change) {
    tell_engine(*engine_, options_.rank, change);
  });
  server_->set_serving(false);
  identity_.members->join({options_.rank, identity_.instance,
                           HostPort{options_.advertise, server_->port()}.text(), options_.node},
                          [this](const Started& joined) {
                            // Nothing else is in the mailbox yet that could fill it.
                            if (!mailbox_.post([this, joined] { on_joined(joined); }))
                              LOG_DEBUG("the membership answered while this sidecar was ending");
                          });
}

void Sidecard::on_joined(const Started& joined) {
  if (!joined) {
    std::fprintf(stderr, "sidecard: %s\n", joined.error().c_str());
    exit_code_ = 1;
    loop_.stop();
    return;
  }
  if (!drain_->begun()) server_->set_serving(true);
  std::printf("ready rank=%d grpc=%s data=%s instance=%016lx node=%s local=%s arena=%s\n", options_.rank,
              HostPort{options_.advertise, server_->port()}.text().c_str(), identity_.net_address.c_str(),
              identity_.instance, identity_.node.c_str(), identity_.local_address.c_str(),
              arena_->path().c_str());
  std::fflush(stdout);
}

// The others speak to the process that has our rank now. What we hold is still ours to finish.
void Sidecard::on_usurped() {
  exit_code_ = 1;
  drain_->begin("another process has this rank", options_.drain_timeout_ns, false, nullptr);
}

void Sidecard::on_signal(int number) {
  if (!drain_->begun()) {
    const char* const name = number == SIGINT ? "SIGINT" : "SIGTERM";
    return drain_->begin(name, options_.drain_timeout_ns, false, nullptr);
  }
  LOG_WARN("a second signal: ending at once");
  if (!arena_->path().empty()) unlink(arena_->path().c_str());
  _exit(128 + number);
}

bool Sidecard::step() {
  backend_->end_leases(Loop::now_ns());
  engine_->step();
  return drain_->step();
}

TimeNs Sidecard::next_deadline() const {
  return std::min({engine_->next_timer(), leases_.next_deadline(), drain_->next_deadline()});
}

int Sidecard::run() {
  loop_.run();
  // The loop hears no signals any more. What is left to do is bounded; should it not be, it ends all the
  // same.
  exit_on_signals(arena_->path(), 128 + SIGTERM);
  limit_teardown(kTeardownSeconds);
  mailbox_.close();
  news_.reset();  // or the membership's thread would wait for the mailbox, and we for the thread
  identity_.members->leave();
  LOG_INFO("ended");
  return exit_code_;
}

int run_sidecard(const Options& options) {
  std::fprintf(stderr, "sidecard %s, UCX %s, allocator %s\n%s", SIDECAR_VERSION, ucx_version().c_str(),
               allocator_name(), describe(options).c_str());
  Sidecard sidecard(options);
  if (const Started started = sidecard.start(); !started) {
    std::fprintf(stderr, "sidecard: %s\n", started.error().c_str());
    return 1;
  }
  return sidecard.run();
}

}  // namespace
}  // namespace sidecar

int main(int argc, char** argv) {
  const auto options = sidecar::parse_options(argc, argv);
  if (!options) {
    std::fputs(options.error().text.c_str(), options.error().code == 0 ? stdout : stderr);
    return options.error().code;
  }
  sidecar::ensure_environment(argv);
  sidecar::set_log_name(fmt::format("sidecard {}", options->rank));
  if (options->log_level_given) sidecar::set_log_level(options->log_level);
  return sidecar::run_sidecard(*options);
}
