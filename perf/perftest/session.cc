#include "perf/perftest/session.h"

#include <cstring>
#include <utility>

namespace sidecar::perf {
namespace {

constexpr std::uint32_t kBarrierWord = 0xdeadbeef;
constexpr std::size_t kWireupBytesMax = 64 << 10;
// UCX's own numbers, which travel as bytes.
constexpr std::int8_t kOk = UCS_OK, kGoOn = UCS_INPROGRESS;

// Followed by the worker's address.
struct EndpointInfo {
  std::uint64_t address_bytes;
  std::uint64_t total_bytes;  // with this
  std::uint64_t unused;
  std::uint64_t key_bytes;
  std::uint64_t receive_buffer;  // for tests that write into the other's memory
};
static_assert(sizeof(EndpointInfo) == 40);

struct Word64 {
  std::uint64_t bytes;
};

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

PerftestSession::PerftestSession(int fd, const PerftestSessionOptions& options)
    : options_(options), loop_({.policy = options.policy}), socket_(loop_, fd) {
  unsigned release = 0;
  ucp_get_version(&major_, &minor_, &release);
  loop_.set_hooks({.on_step = [this] { return step_of_loop(); },
                   .next_deadline = [this] { return deadline_; },
                   .on_timer = [this](TimeNs now) { on_deadline(now); }});
}

PerftestSession::~PerftestSession() {
  if (worker_ != nullptr) loop_.remove_source(worker_.get());
}

Status PerftestSession::run() {
  Status status = hear_parameters();
  if (status) status = connect();
  if (status) status = warm_up();
  if (status) {
    step_ = "running the test";
    status = run_iterations(params_.iterations);
  }
  if (status) status = finish();
  return status;
}

Status PerftestSession::hear_parameters() {
  step_ = "waiting for the client's parameters";
  silence_max_ = options_.hello_max;
  const PerftestLayout* const layout = perftest_layout_of(major_, minor_);
  if (layout == nullptr) {
    return fail(Errc::kUnavailable,
                "the parameters of this UCX's perftest are not known here (UCX's version)", kNoRank, major_,
                minor_);
  }
  if (const Status status = hear(layout->bytes); !status) return status;
  auto params = parse_perftest_params(*layout, socket_.arrived());
  if (!params) return tl::unexpected(params.error());
  const std::size_t list_bytes = params->sizes_count * sizeof(std::uint64_t);
  if (const Status status = hear(layout->bytes + list_bytes); !status) return status;
  const auto list = socket_.arrived().subspan(layout->bytes, list_bytes);
  if (const Status status = parse_perftest_sizes(list, *params); !status) return status;
  socket_.take(layout->bytes + list_bytes);
  params_ = *std::move(params);
  silence_max_ = options_.silence_max;
  return {};
}

Status PerftestSession::connect() {
  step_ = "connecting to the client";
  auto worker = PerftestWorker::open(params_);
  if (!worker) return tl::unexpected(worker.error());
  worker_ = *std::move(worker);
  loop_.add_source(worker_.get());

  const auto address = worker_->address();
  if (!address) return tl::unexpected(address.error());
  const Word64 total{sizeof(EndpointInfo) + address->size()};
  const EndpointInfo ours{address->size(), total.bytes, 0, 0, 0};
  std::vector<std::byte> words;
  for (const auto part : {bytes_of(total), bytes_of(ours), std::span<const std::byte>(*address)}) {
    words.insert(words.end(), part.begin(), part.end());
  }
  if (const Status status = say(words); !status) return status;

  if (const Status status = hear(sizeof(Word64)); !status) return status;
  Word64 theirs_total;
  std::memcpy(&theirs_total, socket_.arrived().data(), sizeof theirs_total);
  socket_.take(sizeof theirs_total);
  if (theirs_total.bytes <= sizeof(EndpointInfo) || theirs_total.bytes > kWireupBytesMax) {
    return fail(Errc::kProtocol,
                "the client's UCX address has an impossible length: is it another UCX version?", kNoRank,
                theirs_total.bytes);
  }
  if (const Status status = hear(theirs_total.bytes); !status) return status;
  EndpointInfo theirs;
  std::memcpy(&theirs, socket_.arrived().data(), sizeof theirs);
  if (theirs.total_bytes != theirs_total.bytes || theirs.key_bytes != 0 ||
      theirs.address_bytes != theirs_total.bytes - sizeof theirs) {
    return fail(Errc::kProtocol,
                "the client's UCX address is not described as is usual: is it another version?");
  }
  if (const Status status = worker_->connect(socket_.arrived().subspan(sizeof theirs, theirs.address_bytes));
      !status)
    return status;
  socket_.take(theirs_total.bytes);

  std::int8_t answer = kOk;
  if (const Status status = agree(kOk, &answer); !status) return status;
  if (answer != kOk) {
    return fail(Errc::kUnavailable, "the client could not connect to us (UCX's status)", kNoRank,
                static_cast<std::uint64_t>(-answer));
  }
  return flush();
}

Status PerftestSession::warm_up() {
  step_ = "warming up";
  const TimeNs until = Loop::now_ns() + static_cast<TimeNs>(params_.warmup_seconds * kSecond);
  for (std::uint64_t done = 0, count = 1; done < params_.warmup_iterations; done += count, count *= 2) {
    if (const Status status = run_iterations(count); !status) return status;
    if (const Status status = barrier(); !status) return status;
    const std::int8_t ours = Loop::now_ns() > until ? kOk : kGoOn;
    std::int8_t theirs = kOk;
    if (const Status status = agree(ours, &theirs); !status) return status;
    if (theirs != kOk && theirs != kGoOn) {
      return fail(Errc::kUnavailable, "the client's warm-up failed (UCX's status)", kNoRank,
                  static_cast<std::uint64_t>(-theirs));
    }
    if (ours == kOk && theirs == kOk) break;
  }
  return {};
}

Status PerftestSession::run_iterations(std::uint64_t count) {
  // Counted from the session's beginning: messages may come before the word of the barrier that they follow.
  expected_ += count;
  if (const Status status = barrier(); !status) return status;
  if (params_.ping_pong) to_send_ = expected_;
  if (!params_.ping_pong) worker_->want(expected_);
  const auto over = [this] {
    return worker_->arrived() >= expected_ && worker_->sent() == to_send_ && worker_->sending() == 0;
  };
  if (const Status status = wait(over); !status) return status;
  if (!params_.ping_pong && perftest_acknowledges_streams(major_, minor_)) {
    worker_->send(PerftestWorker::Message::kEnd);
    if (const Status status = wait([this] { return worker_->sending() == 0; }); !status) return status;
  }
  if (const Status status = flush(); !status) return status;
  return barrier();
}

Status PerftestSession::barrier() {
  if (const Status status = say(bytes_of(kBarrierWord)); !status) return status;
  if (const Status status = hear(sizeof kBarrierWord); !status) return status;
  std::uint32_t word = 0;
  std::memcpy(&word, socket_.arrived().data(), sizeof word);
  socket_.take(sizeof word);
  if (word == kBarrierWord) return {};
  return fail(Errc::kProtocol, "the client says something else than the barrier's word", kNoRank, word);
}

// Each side's status, with its length.
Status PerftestSession::agree(std::int8_t ours, std::int8_t* theirs) {
  struct [[gnu::packed]] Words {
    std::uint64_t bytes = 1;
    std::int8_t status = kOk;
  } words;
  words.status = ours;
  if (const Status status = say(bytes_of(words)); !status) return status;
  if (const Status status = hear(sizeof words); !status) return status;
  std::memcpy(&words, socket_.arrived().data(), sizeof words);
  socket_.take(sizeof words);
  if (words.bytes != 1) {
    return fail(Errc::kProtocol, "the client says something else than its status", kNoRank, words.bytes);
  }
  *theirs = words.status;
  return {};
}

Status PerftestSession::finish() {
  step_ = "ending the test";
  for (int i = 0; i < 2; ++i) {
    if (const Status status = barrier(); !status) return status;
  }
  worker_->close();
  if (const Status status = wait([this] { return worker_->done(); }); !status) return status;
  if (const Status status = barrier(); !status) return status;
  // Whoever closes first makes the other one's UCX complain.
  return wait([this] { return socket_.ended(); });
}

Status PerftestSession::flush() {
  worker_->flush();
  return wait([this] { return worker_->done(); });
}

Status PerftestSession::say(std::span<const std::byte> bytes) {
  if (socket_.send(bytes)) return {};
  return fail(Errc::kUnavailable, "the client does not listen any more");
}

Status PerftestSession::hear(std::size_t bytes) {
  return wait([this, bytes] { return socket_.arrived().size() >= bytes; });
}

Status PerftestSession::wait(const std::function<bool()>& done) {
  done_ = &done;
  timed_out_ = false;
  activity_then_ = activity();
  deadline_ = Loop::now_ns() + silence_max_;
  loop_.kick();
  loop_.run();
  done_ = nullptr;
  deadline_ = kNever;
  if (worker_ != nullptr && !worker_->status()) return worker_->status();
  if (done()) return {};
  if (!timed_out_) return fail(Errc::kUnavailable, "the client closed the connection");
  return fail(Errc::kTimeout, "the client says nothing any more (seconds waited)", kNoRank,
              silence_max_ / kSecond);
}

bool PerftestSession::step_of_loop() {
  bool worked = false;
  if (worker_ != nullptr) {
    worked = worker_->receive();
    // Ping-pong: the server begins, and answers each answer.
    while (worker_->sent() < to_send_ && worker_->arrived() >= worker_->sent() &&
           worker_->sending() < params_.outstanding) {
      worker_->send();
      worker_->want(worker_->sent());
      worked = true;
    }
  }
  if (done_ == nullptr) return worked;
  if ((*done_)() || socket_.ended() || (worker_ != nullptr && !worker_->status())) loop_.stop();
  return worked;
}

// A deadline that any sign of life moves, without a look at the clock for each.
void PerftestSession::on_deadline(TimeNs now) {
  if (activity() != std::exchange(activity_then_, activity())) {
    deadline_ = now + silence_max_;
    return;
  }
  timed_out_ = true;
  deadline_ = kNever;
  loop_.stop();
}

std::uint64_t PerftestSession::activity() const {
  return socket_.heard() + (worker_ != nullptr ? worker_->arrived() + worker_->sent() : 0);
}

}  // namespace sidecar::perf
