#include "perf/demo/supervise.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "perf/process.h"

namespace sidecar::demo {
namespace {

using Clock = std::chrono::steady_clock;

// The first of the signals, or 0 when the time is up before.
int wait_for_signal(const sigset_t& signals, Clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - Clock::now()).count();
  if (left <= 0) return 0;
  const timespec wait{left / 1'000'000'000, left % 1'000'000'000};
  const int number = sigtimedwait(&signals, nullptr, &wait);
  return number > 0 ? number : wait_for_signal(signals, until);
}

}  // namespace

int supervise(std::vector<std::string> argv, std::chrono::seconds time_limit) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // orphans become our children, so that we can wait for them
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGCHLD, SIG_DFL);  // where it is ignored nobody is told how a child ended
  const auto until = Clock::now() + time_limit;
  perf::Process director({.argv = std::move(argv)});
  int number = SIGCHLD;
  while (number == SIGCHLD && director.running()) number = wait_for_signal(signals, until);
  director.kill();  // the kernel kills what it has started, and its folder's guard removes that
  const auto ending = director.wait({});
  while (wait(nullptr) > 0 || errno == EINTR) {
  }
  if (number != SIGCHLD) {
    std::fprintf(stderr, "\nsidecar-demo: %s; its processes are stopped and its files removed\n",
                 number > 0 ? "interrupted" : "FAILED: it takes too long");
    return number > 0 ? 128 + number : EXIT_FAILURE;
  }
  if (ending->signal == 0) return ending->code;
  std::fprintf(stderr, "\nsidecar-demo: FAILED: it ended with %s\n", to_string(ending).c_str());
  return EXIT_FAILURE;
}

}  // namespace sidecar::demo
