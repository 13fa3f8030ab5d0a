// The sidecard program as an operator meets it: start, settings that are wrong, signals, and what it leaves
// behind.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "control/sidecar.grpc.pb.h"
#include "core/check.h"
#include "core/fd.h"
#include "perf/folder.h"
#include "perf/process.h"

namespace sidecar {
namespace {

using testing::HasSubstr;
using testing::Not;

// "ready rank=0 grpc=... ..." as a map.
std::map<std::string, std::string> fields_of(const std::string& line) {
  std::map<std::string, std::string> fields;
  std::istringstream words(line);
  std::string word;
  while (words >> word) {
    const auto equals = word.find('=');
    fields[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
  }
  return fields;
}

class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    CHECK(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(fd_.get(), 1) == 0);
    CHECK(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    text_ = std::to_string(ntohs(address.sin_port));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Fd fd_;
  std::string text_;
};

// A sidecard, its first words on standard output and what else it says.
class Sidecard : public perf::Process {
 public:
  using perf::Process::Process;
  std::string first_line() { return read_line(kPatience).value_or(""); }
  // Its exit code, 128 + signal, or -1 when it is still there.
  int end() {
    const auto ending = wait(kPatience);
    return !ending ? -1 : ending->signal != 0 ? 128 + ending->signal : ending->code;
  }

 private:
  static constexpr std::chrono::seconds kPatience{20};
};

// Each test has a shared-memory directory of its own, which must be empty again at the end.
class SidecardTest : public testing::Test {
 protected:
  SidecardTest() { CHECK(std::filesystem::create_directory(directory_)); }
  ~SidecardTest() override { EXPECT_TRUE(std::filesystem::is_empty(directory_)) << directory_; }
  Sidecard start(const std::vector<std::string>& arguments, std::vector<std::string> environment = {}) {
    std::vector<std::string> command{SIDECARD_PROGRAM, "--grpc-port", "0",          "--data-port", "0",
                                     "--shm-dir",      directory_,    "--shm-size", "8M"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return Sidecard({.argv = std::move(command),
                     .environment = std::move(environment),
                     .log = folder_.path() + "/log" + std::to_string(starts_++),
                     .talk = true});
  }
  // Must fail at once, with that text on standard error and nothing on standard output.
  void expect_refused(const std::vector<std::string>& arguments, const std::string& text) {
    std::string all;
    for (const std::string& argument : arguments) all += argument + " ";
    Sidecard child = start(arguments);
    const std::string said = child.first_line();
    const int code = child.end();
    EXPECT_TRUE(code == 1 || code == 2) << all << "gave " << code;
    EXPECT_THAT(child.log_text(), HasSubstr(text)) << all;
    EXPECT_EQ(said, "") << all;
  }
  [[nodiscard]] bool has_arena() const { return !std::filesystem::is_empty(directory_); }

  perf::Folder folder_{"/dev/shm/sidecard-test."};
  const std::string directory_ = folder_.path() + "/arenas";
  int starts_ = 0;
};

TEST_F(SidecardTest, SaysReadyAndEndsCleanlyOnSigterm) {
  Sidecard child = start({"--rank", "3", "--node", "a"});
  auto fields = fields_of(child.first_line());
  EXPECT_TRUE(fields.contains("ready"));
  EXPECT_EQ(fields["rank"], "3");
  EXPECT_EQ(fields["node"], "a");
  EXPECT_THAT(fields["grpc"], HasSubstr("127.0.0.1:"));
  EXPECT_THAT(fields["data"], HasSubstr("127.0.0.1:"));
  EXPECT_EQ(fields["arena"], directory_ + "/sidecar-" + fields["instance"]);
  EXPECT_TRUE(has_arena());
  child.signal(SIGTERM);
  EXPECT_EQ(child.end(), 0);
  EXPECT_THAT(child.log_text(), HasSubstr("shm-size           8 MiB")) << "settings in effect are shown";
  EXPECT_THAT(child.log_text(), HasSubstr("draining: SIGTERM"));
}

TEST_F(SidecardTest, ServesGrpcAndDrainsOnRequest) {
  Sidecard child = start({"--rank", "2"});
  auto fields = fields_of(child.first_line());
  const auto channel = grpc::CreateChannel(fields["grpc"], grpc::InsecureChannelCredentials());
  const auto stub = v1::Admin::NewStub(channel);
  {
    grpc::ClientContext context;
    v1::StatsResponse stats;
    const grpc::Status status = stub->Stats(&context, v1::StatsRequest(), &stats);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(stats.rank(), 2);
    EXPECT_FALSE(stats.draining());
    EXPECT_GT(stats.send().bytes(), 0u);
    EXPECT_LE(stats.send().bytes() + stats.receive().bytes() + stats.reserve().bytes(),
              stats.arena().bytes());
    EXPECT_EQ(stats.send().used_bytes() + stats.receive().used_bytes(), 0u);
    EXPECT_EQ(stats.arena().path(), fields["arena"]);
  }
  grpc::ClientContext context;
  v1::DrainResponse drained;
  EXPECT_TRUE(stub->Drain(&context, v1::DrainRequest(), &drained).ok());
  EXPECT_EQ(child.end(), 0);
}

TEST_F(SidecardTest, ASecondSignalEndsItAtOnce) {
  Sidecard child = start({"--rank", "0"});
  ASSERT_NE(child.first_line(), "");
  child.signal(SIGTERM);
  child.signal(SIGINT);
  EXPECT_GT(child.end(), 128);
}

TEST_F(SidecardTest, ASignalDuringStartLeavesNothingBehind) {
  Sidecard child = start({"--rank", "0", "--shm-size", "512M"});
  for (int ms = 0; ms < 10'000 && !has_arena(); ++ms) usleep(1000);
  child.signal(SIGINT);
  EXPECT_EQ(child.end(), 0);
}

TEST_F(SidecardTest, AKilledOnesArenaIsRemovedByTheNext) {
  Sidecard killed = start({"--rank", "0"});
  const std::string arena = fields_of(killed.first_line())["arena"];
  killed.signal(SIGKILL);
  EXPECT_EQ(killed.end(), 128 + SIGKILL);
  EXPECT_TRUE(std::filesystem::exists(arena));
  Sidecard next = start({"--rank", "0"});
  ASSERT_NE(next.first_line(), "");
  EXPECT_FALSE(std::filesystem::exists(arena));
  next.signal(SIGTERM);
  EXPECT_EQ(next.end(), 0);
}

TEST_F(SidecardTest, UcxFindsItsSettingsInTheEnvironmentUnlessTheUserChoseOthers) {
  Sidecard child = start({"--rank", "0"}, {"UCX_HANDLE_ERRORS=bt"});
  ASSERT_NE(child.first_line(), "");
  const std::string process = "/proc/" + std::to_string(child.pid());
  const std::string environment = perf::read_file(process + "/environ");
  EXPECT_THAT(environment, HasSubstr("UCX_MEM_EVENTS=n"));
  EXPECT_THAT(environment, HasSubstr("UCX_HANDLE_ERRORS=bt"));
  EXPECT_EQ(perf::read_file(process + "/comm"), "sidecard\n");
  child.signal(SIGTERM);
  EXPECT_EQ(child.end(), 0);
}

TEST_F(SidecardTest, EachBadSettingEndsItWithAMessageThatSaysWhatToDo) {
  expect_refused({}, "--rank (or SIDECAR_RANK): is missing");
  expect_refused({"--rank", "0", "--frobnicate"}, "--frobnicate");
  expect_refused({"--rank", "7", "--peers", "0=a:1,1=b:1"}, "7 is not among the peers (ranks 0, 1)");
  expect_refused({"--rank", "0", "--peers", "0=a:1, 1=b:x"}, "--peers:1:8: 'x' is not a port");
  expect_refused({"--rank", "0", "--peers", "@/nowhere/peers"}, "/nowhere/peers");
  expect_refused({"--rank", "0", "--listen", "0.0.0.0"}, "--insecure");
  expect_refused({"--rank", "0", "--shm-dir", "/nowhere"}, "/nowhere is not a directory");
  expect_refused({"--rank", "0", "--shm-size", "4000T"}, "--shm-size");
  expect_refused({"--rank", "0", "--listen", "192.0.2.1", "--insecure"}, "rank 0: cannot listen");
  expect_refused({"--rank", "0", "--listen", "no-such-host.invalid", "--insecure"},
                 "rank 0: cannot listen for gRPC on no-such-host.invalid:0: the host is unknown");
  expect_refused({"--rank", "0", "--advertise", "no-such-host.invalid"}, "--advertise no-such-host.invalid");
}

TEST_F(SidecardTest, AnArenaThatDoesNotFitIsNamedWithBothSizes) {
  const auto space = std::filesystem::space(directory_);
  const std::uint64_t gibibytes = (space.capacity >> 30) + 100;
  expect_refused({"--rank", "0", "--shm-size", std::to_string(gibibytes) + "G"},
                 std::to_string(gibibytes) + " GiB does not fit " + directory_);
  expect_refused({"--rank", "0", "--arena", "host", "--shm-size", "64T"},
                 "an arena of 64 TiB does not fit this machine's memory");
}

// Without a driver, or with one that shows no GPU.
TEST_F(SidecardTest, WithoutAGpuAnArenaOfCudaIsRefusedInWordsAndEverythingElseWorks) {
  Sidecard refused = start({"--rank", "0", "--arena", "cuda"}, {"CUDA_VISIBLE_DEVICES="});
  EXPECT_EQ(refused.end(), 1);
  EXPECT_THAT(refused.log_text(), HasSubstr("rank 0: --arena cuda needs a GPU: "));
  Sidecard child = start({"--rank", "0", "--device-id", "0"}, {"CUDA_VISIBLE_DEVICES="});
  EXPECT_THAT(child.first_line(), HasSubstr("ready rank=0"));
  child.signal(SIGTERM);
  EXPECT_EQ(child.end(), 0);
  EXPECT_THAT(child.log_text(), HasSubstr("GPUs: none: "));
  EXPECT_THAT(child.log_text(), HasSubstr("--device-id 0 has no effect"));
}

TEST_F(SidecardTest, APortThatIsTakenIsNamedWithItsFlag) {
  const TakenPort taken;
  expect_refused({"--rank", "5", "--grpc-port", taken.text()},
                 "rank 5: cannot listen for gRPC on 127.0.0.1:" + taken.text() + ": the port is taken");
  expect_refused(
      {"--rank", "5", "--data-port", taken.text()},
      "rank 5: cannot listen for active messages on 127.0.0.1:" + taken.text() + ": the port is taken");
}

#ifdef SIDECAR_EXPECT_MIMALLOC
TEST_F(SidecardTest, RunsOnMimallocAndIsSmallWhenIdle) {
  Sidecard child = start({"--rank", "0"});
  ASSERT_NE(child.first_line(), "");
  const std::string status = perf::read_file("/proc/" + std::to_string(child.pid()) + "/status");
  const std::size_t at = status.find("RssAnon:");
  ASSERT_NE(at, std::string::npos);
  EXPECT_LE(std::stoul(status.substr(at + 8)), 64u * 1024) << "KiB of private memory";
  child.signal(SIGTERM);
  EXPECT_EQ(child.end(), 0);
  EXPECT_THAT(child.log_text(), HasSubstr("allocator mimalloc\n"));
}
#endif

}  // namespace
}  // namespace sidecar
