// Raw UCX between the two ends: what our loop costs, and what the machine gives.
#include "perf/tool/raw_am.h"
#include "perf/tool/tests.h"

namespace sidecar::perf {
namespace {

constexpr std::uint64_t kMet = 1;  // messages that an end has received when the two have met

struct Connected {
  RawAm am;
  std::unique_ptr<Driver> driver;
  Ring from;
  explicit Connected(const Job& job)
      : am(job.local ? PlaneKind::kLocal : PlaneKind::kNet, job.size, job.outstanding),
        driver(make_driver(am, job.bare, job.poll)),
        from(job.outstanding, job.size) {}

  void send() { am.send(from.next()); }

  // `step` says whether all is done, and else whether it has done anything.
  void run(const Step& step) {
    driver->run([&] {
      am.check();
      return step();
    });
  }
  // A message each way, so that UCX has chosen its lanes on both sides.
  void meet(bool first) {
    bool sent = false;
    run([&] {
      if (!am.connected()) return Did::kNothing;
      if (!sent && (first || am.received() == kMet)) {
        send();
        sent = true;
        return Did::kSomething;
      }
      return sent && am.received() >= kMet && am.sending() == 0 ? Did::kAll : Did::kNothing;
    });
  }
  // Progress until the other end, which has all then, closes the connection: closing first could overtake the
  // last message.
  void stay_until_closed() {
    driver->run([&] { return am.lost() ? Did::kAll : Did::kNothing; });
  }
};

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
  connected->meet(false);
  return connected;
}

}  // namespace

void initiate_am_lat(const End&, const Job& job, const nlohmann::json& facts, Recorder& recorder) {
  const auto connected = connect(job, facts);
  RawAm& am = connected->am;
  std::vector<std::uint64_t> begun(std::max(job.outstanding, 1u));  // of what is on its way, in turn
  std::uint64_t sent = 0, back = 0;
  recorder.begin();
  connected->run([&] {
    if (am.sending() >= begun.size()) return Did::kNothing;
    std::uint64_t now = 0;  // asked for once: 8 bytes through shared memory take no longer than a few clocks
    for (; back < am.received() - kMet; ++back) {
      if (now == 0) now = monotonic_ns();
      recorder.add((now - begun[back % begun.size()]) / 2, now);
    }
    if (back == job.count) return Did::kAll;
    if (sent == job.count || sent - back == begun.size()) return now > 0 ? Did::kSomething : Did::kNothing;
    if (job.spacing_ns > 0) sleep_ns(job.spacing_ns);
    begun[sent++ % begun.size()] = now > 0 && job.spacing_ns == 0 ? now : monotonic_ns();
    connected->send();
    return Did::kSomething;
  });
  recorder.end(monotonic_ns());
}
void respond_am_lat(const End&, const Job& job, const Ready& ready) {
  const auto connected = accept(job, ready);
  RawAm& am = connected->am;
  std::uint64_t sent = 0;
  connected->run([&] {
    const std::uint64_t before = sent;
    for (; sent < am.received() - kMet && am.sending() == 0; ++sent) connected->send();
    return sent == job.count ? Did::kAll : sent > before ? Did::kSomething : Did::kNothing;
  });
  connected->stay_until_closed();
}

void initiate_am_bw(const End&, const Job& job, const nlohmann::json& facts, Recorder& recorder) {
  const auto connected = connect(job, facts);
  RawAm& am = connected->am;
  std::uint64_t sent = 0;
  recorder.begin();
  std::uint64_t before = monotonic_ns();
  connected->run([&] {
    // The answer says that all has arrived.
    if (sent == job.count) return am.sending() == 0 && am.received() > kMet ? Did::kAll : Did::kNothing;
    if (am.sending() >= job.outstanding) return Did::kNothing;
    connected->send();
    ++sent;
    const std::uint64_t now = monotonic_ns();
    recorder.add(now - before, now);
    before = now;
    return Did::kSomething;
  });
  recorder.end(monotonic_ns());
}
void respond_am_bw(const End&, const Job& job, const Ready& ready) {
  const auto connected = accept(job, ready);
  RawAm& am = connected->am;
  connected->run([&] { return am.received() < kMet + job.count ? Did::kNothing : Did::kAll; });
  connected->send();
  connected->stay_until_closed();
}

}  // namespace sidecar::perf
