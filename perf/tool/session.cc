#include "perf/tool/session.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "am_protocol/transport.h"
#include "perf/tool/take.h"

namespace sidecar::perf {
namespace {

constexpr int kVersion = 2;
constexpr std::chrono::seconds kAnswerMax{60};
constexpr std::chrono::seconds kRunMax{600};
constexpr std::chrono::hours kIdleMax{24};

nlohmann::json greeting(const End& own) {
  return {{"sidecar-perf", kVersion}, {"ucx", ucx_version()}, {"ranks", own.ranks()}};
}

std::vector<Rank> ranks_of(const nlohmann::json& greeting) {
  if (greeting.value("sidecar-perf", 0) != kVersion)
    fail_measurement("the other end is another version of sidecar-perf");
  if (greeting.at("ucx") != ucx_version())
    fail_measurement("the other end has UCX " + greeting.at("ucx").get<std::string>() + ", this one " +
                     ucx_version() + ": they do not understand each other");
  return greeting.at("ranks").get<std::vector<Rank>>();
}

// While we wait for data that the other end sends or takes: it may have gone, or given up. Then this process
// ends, since nothing else ends such a wait before its deadline.
class Watchdog {
 public:
  explicit Watchdog(const Control& control)
      : thread_([&control](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            const std::string why = control.ended(kLook);
            if (why.empty() || stop.stop_requested()) continue;
            std::fprintf(stderr, "sidecar-perf: %s\n", why.c_str());
            std::_Exit(1);
          }
        }) {}

 private:
  static constexpr std::chrono::milliseconds kLook{50};
  std::jthread thread_;
};

void respond(Control& control, const End& own, const Job& job) {
  const Watchdog watchdog(control);
  find_test(job.test).respond(own, job, [&](const nlohmann::json& facts) {
    nlohmann::json ready{{"ready", true}};
    if (!facts.is_null()) ready["facts"] = facts;
    control.say(ready);
  });
  control.say({{"done", true}});
}

void serve_one(Control control, const End& own) {
  control.say(greeting(own));
  ranks_of(control.hear(kAnswerMax));
  for (;;) {
    const Job job = control.hear(kIdleMax).get<Job>();
    if (job.test.empty()) return;  // farewell
    try {
      respond(control, own, job);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "sidecar-perf: %s: %s\n", job.test.c_str(), error.what());
      control.say({{"error", error.what()}});
    }
  }
}

}  // namespace

Session::Session(Control control, const End& own) : control_(std::move(control)), own_(own) {
  other_ranks_ = ranks_of(control_.hear(kAnswerMax));
  control_.say(greeting(own));
  name_ = "perf-" + std::to_string(monotonic_ns());
}

std::string Session::transports() const {
  return own_.size() > 0 && !other_ranks_.empty() ? own_.transports_to(other_ranks_.front()) : "";
}

Recorder Session::run(const TestKind& test, Job job, Recorder::Progress progress) {
  job.test = test.name;
  job.session = name_;
  job.run = name_ + "-" + std::to_string(runs_++);
  job.x_before = std::exchange(x_, job.x);
  job.from = own_.ranks();
  job.to = other_ranks_;
  control_.say(job);
  nlohmann::json facts = control_.hear(kAnswerMax).value("facts", nlohmann::json::object());
  facts["host"] = control_.other_host();
  Recorder recorder(std::move(progress), watch_ ? watch_(test) : Recorder::Meanwhile{});
  {
    const Watchdog watchdog(control_);
    test.initiate(own_, job, facts, recorder);
  }
  control_.hear(kRunMax);
  return recorder;
}

std::uint64_t Session::calibrate(const TestKind& test, Job job, double seconds) {
  constexpr double kLongEnough = 0.1;
  constexpr std::uint64_t kCountMax = 100'000'000;
  job.count = std::max<std::uint64_t>(8, 2 * job.outstanding);
  run(test, job);  // the first one's time is that of connecting
  for (;; job.count *= 4) {
    const double taken = run(test, job).seconds();
    if (taken < std::min(kLongEnough, seconds) && job.count < kCountMax) continue;
    const double fits = static_cast<double>(job.count) * seconds / std::max(taken, 1e-6);
    return static_cast<std::uint64_t>(std::clamp(fits, 4.0, static_cast<double>(kCountMax)));
  }
}

// Each initiator is served by a process of its own, which ends with it whatever it waits for. Neither UCX nor
// gRPC have been used before the fork.
void serve(const ControlListener& listener, const End& own, bool once) {
  do {
    Control control = listener.accept();
    const pid_t child = once ? 0 : fork();
    if (child == 0) {
      try {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_one(std::move(control), own);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "sidecar-perf: %s\n", error.what());
      }
      if (!once) std::_Exit(0);
    } else if (child > 0) {
      waitpid(child, nullptr, 0);
    } else {
      fail_measurement("cannot fork");
    }
  } while (!once);
}

}  // namespace sidecar::perf
