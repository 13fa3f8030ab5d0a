// sidecar-demo: four sidecars as two nodes on this machine move real data from a producer to consumers, and
// everything that matters is checked. The same program, started again with a role, is who directs that, the
// producer and the consumers.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "perf/demo/director.h"
#include "perf/demo/report.h"
#include "perf/demo/roles.h"
#include "perf/demo/supervise.h"
#include "perf/process.h"

namespace sidecar::demo {
namespace {

constexpr std::chrono::seconds kTimeLimit{110};
constexpr const char* kUsage =
    "usage: sidecar-demo\n"
    "Starts four sidecars as two nodes on this machine (sidecard is taken from the folder of this program), "
    "streams at\n"
    "least 256 MiB of real data through them, checks every byte and where it lies, and cleans up. Takes no "
    "arguments.\n";

// Settings for sidecars that lie in the environment are not meant for the demo's; how much to log may be.
void forget_settings() {
  std::vector<std::string> names;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (text.starts_with("SIDECAR_") && !text.starts_with("SIDECAR_LOG="))
      names.emplace_back(text.substr(0, text.find('=')));
  }
  for (const std::string& name : names) unsetenv(name.c_str());
}

// Nothing else may get the numbers of the standard streams when they were closed.
void open_standard_streams() {
  for (int fd = 0; fd >= 0 && fd <= STDERR_FILENO;) {
    fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd > STDERR_FILENO) close(fd);
  }
}

int run(const std::vector<std::string>& arguments) {
  const std::string role = arguments.empty() ? "" : arguments[0];
  if (arguments.empty()) {
    open_standard_streams();
    forget_settings();
    return supervise({perf::program_path("sidecar-demo"), "direct"}, kTimeLimit);
  }
  if (role == "direct" && arguments.size() == 1) return direct();
  if (role == "produce" && arguments.size() == 3) {
    open_reports();
    return produce(arguments[1], arguments[2]);
  }
  if ((role == "consume" || role == "read") && arguments.size() == 4) {
    open_reports();
    return consume(
        {static_cast<Rank>(std::atoi(arguments[1].c_str())), arguments[2], arguments[3], role == "read"});
  }
  const bool asked = role == "--help" || role == "-h";
  std::fputs(kUsage, asked ? stdout : stderr);
  return asked ? EXIT_SUCCESS : 2;
}

}  // namespace
}  // namespace sidecar::demo

int main(int argc, char** argv) { return sidecar::demo::run({argv + 1, argv + argc}); }
