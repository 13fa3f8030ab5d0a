#include "perf/demo/report.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "core/check.h"

namespace sidecar::demo {
namespace {

int reports = -1;

}  // namespace

void open_reports() {
  reports = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  CHECK(reports >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) == STDOUT_FILENO);
}

void report(const std::string& line) {
  std::string text = line;
  std::replace(text.begin(), text.end(), '\n', ' ');
  text += '\n';
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = write(reports, text.data() + sent, text.size() - sent);
    if (count < 0 && errno != EINTR) return;  // the director is gone, and so are we in a moment
    if (count > 0) sent += static_cast<std::size_t>(count);
  }
}

int report_failure(const std::string& what, const Failure& failure) {
  report("failed " + what + ": " + (failure.code == Errc::kInternal ? failure.message : to_string(failure)));
  return EXIT_FAILURE;
}

bool wait_for_director() {
  char byte = 0;
  ssize_t count = 0;
  do {
    count = read(STDIN_FILENO, &byte, 1);
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

Expected<Client> connect_to(Rank rank, const std::string& address) {
  ClientOptions options;
  options.rank = rank;
  options.address = address;
  options.deadline = std::chrono::seconds(60);  // the demo is over long before
  return Client::connect(options);
}

}  // namespace sidecar::demo
