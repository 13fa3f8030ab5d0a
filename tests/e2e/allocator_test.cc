// The shipped programs really run on mimalloc, which is linked in such a way that it could also not take
// part.
#include <gtest/gtest.h>

#include <filesystem>

#include "perf/process.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {
namespace {

class Mimalloc : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Program, Mimalloc,
                         ::testing::Values("sidecard", "sidecarctl", "sidecar-demo", "sidecar-bench",
                                           "sidecar-example-forward"),
                         [](const auto& about) {
                           std::string name;
                           for (const char c : std::string(about.param)) name += c == '-' ? '_' : c;
                           return name;
                         });

TEST_P(Mimalloc, IsWhatTheProgramRunsOn) {
  const std::string program = perf::program_path(GetParam());
  if (!std::filesystem::exists(program)) GTEST_SKIP() << program << " was not built";
  const std::string log = ::testing::TempDir() + "allocator-" + GetParam() + "-" + std::to_string(getpid());
  perf::Process process(
      {.argv = {program, "--help"}, .environment = {"LD_PRELOAD=" ALLOCATOR_PROBE}, .log = log});
  ASSERT_TRUE(process.wait(milliseconds(20'000))) << "it does not end";
  EXPECT_NE(process.log_text().find("allocator-probe: mimalloc\n"), std::string::npos) << process.log_text();
  std::filesystem::remove(log);
}

}  // namespace
}  // namespace sidecar::e2e
