// Raw UCX between the two ends: what our loop costs, and what the machine gives.
#include "perf/tool/raw_am.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

constexpr TimeNs kSilenceMax = 30 * kSecond;
constexpr std::uint64_t kMet = 1;  // messages that an end has received when the two have met

PlaneKind kind_of(const Job& job) { return job.local ? PlaneKind::kLocal : PlaneKind::kNet; }

// Turns until `done`; throws when the other end is silent for long.
template <class Done>
void turn_until(RawAm& am, Driver& driver, Done&& done) {
  for (std::uint64_t turns = 0, until = 0; !done(); ++turns) {
    am.check();
    driver.turn();
    if (turns % 4096 != 0) continue;
    const auto now = static_cast<std::uint64_t>(Loop::now_ns());
    if (until == 0) until = now + static_cast<std::uint64_t>(kSilenceMax);
    if (now > until) fail_measurement("the other end of the UCX connection is silent");
  }
}

struct Connected {
  RawAm am;
  std::unique_ptr<Driver> driver;
  std::vector<std::byte> bytes;
  explicit Connected(const Job& job)
      : am(kind_of(job), job.size),
        driver(make_driver(am, job.bare, job.poll)),
        bytes(job.size, std::byte{1}) {}
  // A message each way, so that UCX has chosen its lanes on both sides.
  void meet(bool first) {
    if (first) am.send(bytes);
    turn_until(am, *driver, [&] { return am.received() >= kMet; });
    if (!first) am.send(bytes);
    turn_until(am, *driver, [&] { return am.sending() == 0; });
  }
};

// The other end closes the connection once it has all: closing first could overtake the last message.
void stay_until_closed(Connected& connected) {
  for (const TimeNs until = Loop::now_ns() + kSilenceMax; !connected.am.lost() && Loop::now_ns() < until;)
    connected.driver->turn();
}

std::unique_ptr<Connected> connect(const Job& job, const nlohmann::json& facts) {
  auto connected = std::make_unique<Connected>(job);
  connected->am.connect(facts.at("host").get<std::string>(), facts.at("port").get<std::uint16_t>());
  connected->meet(true);
  return connected;
}

std::unique_ptr<Connected> accept(const Job& job, const Ready& ready) {
  auto connected = std::make_unique<Connected>(job);
  const std::uint16_t port = connected->am.listen(job.local ? "127.0.0.1" : "0.0.0.0");
  ready({{"port", port}});
  turn_until(connected->am, *connected->driver, [&] { return connected->am.connected(); });
  connected->meet(false);
  return connected;
}

}  // namespace

void initiate_am_lat(const End&, const Job& job, const nlohmann::json& facts, Recorder& recorder) {
  const auto connected = connect(job, facts);
  RawAm& am = connected->am;
  recorder.begin();
  for (std::uint64_t i = 0; i < job.count; ++i) {
    const std::uint64_t begin = monotonic_ns();
    am.send(connected->bytes);
    turn_until(am, *connected->driver, [&] { return am.received() > kMet + i; });
    const std::uint64_t end = monotonic_ns();
    recorder.add((end - begin) / 2, end);
    turn_until(am, *connected->driver, [&] { return am.sending() == 0; });
  }
  recorder.end(monotonic_ns());
}
void respond_am_lat(const End&, const Job& job, const Ready& ready) {
  const auto connected = accept(job, ready);
  RawAm& am = connected->am;
  for (std::uint64_t i = 0; i < job.count; ++i) {
    turn_until(am, *connected->driver, [&] { return am.received() > kMet + i; });
    turn_until(am, *connected->driver, [&] { return am.sending() == 0; });
    am.send(connected->bytes);
  }
  stay_until_closed(*connected);
}

void initiate_am_bw(const End&, const Job& job, const nlohmann::json& facts, Recorder& recorder) {
  const auto connected = connect(job, facts);
  RawAm& am = connected->am;
  recorder.begin();
  std::uint64_t before = monotonic_ns();
  for (std::uint64_t i = 0; i < job.count; ++i) {
    turn_until(am, *connected->driver, [&] { return am.sending() < job.outstanding; });
    am.send(connected->bytes);
    const std::uint64_t now = monotonic_ns();
    recorder.add(now - before, now);
    before = now;
  }
  // The answer says that all has arrived.
  turn_until(am, *connected->driver, [&] { return am.sending() == 0 && am.received() > kMet; });
  recorder.end(monotonic_ns());
}
void respond_am_bw(const End&, const Job& job, const Ready& ready) {
  const auto connected = accept(job, ready);
  RawAm& am = connected->am;
  turn_until(am, *connected->driver, [&] { return am.received() == kMet + job.count; });
  am.send(connected->bytes);
  stay_until_closed(*connected);
}

}  // namespace sidecar::perf
