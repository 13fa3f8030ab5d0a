// The example and sidecarctl as a user runs them.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "client/npy.h"
#include "perf/process.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

struct Outcome {
  int code = -1;
  std::string text;  // standard output and error
};

class Programs : public ::testing::Test {
 protected:
  Programs() {
    std::string pattern = ::testing::TempDir() + "/sidecar-programs-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Programs() override {
    for (const std::string& file : files_) std::remove(file.c_str());
    ::rmdir(folder_.c_str());
  }

  std::string file(const std::string& name) { return files_.emplace_back(folder_ + "/" + name); }
  void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
  }

  perf::Process start(const std::string& program, std::vector<std::string> arguments,
                      const std::string& log) {
    arguments.insert(arguments.begin(), perf::program_path(program));
    return perf::Process({.argv = std::move(arguments), .log = log});
  }
  static int code_of(perf::Process& process) {
    const auto ending = process.wait(seconds(60));
    return ending ? ending->code : -1;
  }
  Outcome ctl(std::vector<std::string> arguments, Rank rank) {
    arguments.insert(arguments.end(), {"--address", cluster_.address(rank)});
    perf::Process process =
        start("sidecarctl", std::move(arguments), file("log" + std::to_string(files_.size())));
    const int code = code_of(process);
    return {code, process.log_text()};
  }

  std::string folder_;
  std::vector<std::string> files_;
  Cluster cluster_{{.nodes = {"a", "a", "b"}, .arena = "32M"}};
};

// Ranks 0 and 1 are a group: from the command line its data goes out once, whichever member asks.
TEST_F(Programs, ACommandSpeaksForAllOfItsGroup) {
  const std::string source = file("source");
  write(source, "for the whole group");
  perf::Process send({.argv = {perf::program_path("sidecarctl"), "send", source, "--id", "g", "--to", "2"},
                      .environment = {"SIDECAR_GROUP=1,0", "SIDECAR_RANK=1", "SIDECAR_CONCURRENT_COPY=1",
                                      "SIDECAR_ADDRESS=" + cluster_.address(1)},
                      .log = file("log")});
  EXPECT_EQ(code_of(send), 0) << send.log_text();
  const Outcome received = ctl({"recv", "g"}, 2);
  EXPECT_EQ(received.code, 0) << received.text;
  EXPECT_NE(received.text.find("for the whole group"), std::string::npos) << received.text;
  EXPECT_EQ(ctl({"done", "g"}, 2).code, 0);
}

TEST_F(Programs, TheExampleForwardsToBothKindsOfConsumers) {
  const auto run = [&](const std::string& mode, Rank rank, const std::string& id,
                       std::vector<std::string> more) {
    std::vector<std::string> arguments{
        mode, "--rank", std::to_string(rank), "--address", cluster_.address(rank), "--id", id};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return start("sidecar-example-forward", arguments, file(mode + std::to_string(rank)));
  };
  perf::Process same_node = run("consume", 1, "request", {});
  perf::Process other_node = run("consume", 2, "request", {});
  perf::Process producer = run("produce", 0, "request", {"--to", "1", "--to", "2"});
  EXPECT_EQ(code_of(producer), 0) << producer.log_text();
  EXPECT_EQ(code_of(same_node), 0) << same_node.log_text();
  EXPECT_EQ(code_of(other_node), 0) << other_node.log_text();
  EXPECT_NE(producer.log_text().find("the sum is"), std::string::npos);
  EXPECT_EQ(producer.log_text(), same_node.log_text());
  EXPECT_EQ(producer.log_text(), other_node.log_text());
}

TEST_F(Programs, AnyFileArrivesAsItIsAlsoLargerThanTheArena) {
  const std::string path = file("in");
  const auto bytes = contents("f", 0, 50'000'001);
  write(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  const std::string out = file("out");
  perf::Process receiver =
      start("sidecarctl", {"recv", "f", "-o", out, "--done", "--json", "--address", cluster_.address(2)},
            file("r"));
  const Outcome sent = ctl({"send", path, "--id", "f", "--to", "2", "--chunk-bytes", "1M", "--json"}, 0);
  ASSERT_EQ(sent.code, 0) << sent.text;
  const auto json = nlohmann::json::parse(sent.text);
  EXPECT_EQ(json["chunks"], 48);
  EXPECT_EQ(json["bytes"], 50'000'001);
  ASSERT_EQ(code_of(receiver), 0) << receiver.log_text();
  EXPECT_EQ(nlohmann::json::parse(receiver.log_text())["kind"], "object");
  EXPECT_TRUE(perf::read_file(out) == perf::read_file(path));
}

TEST_F(Programs, NpyFilesKeepTheirDtypeAndShape) {
  int number = 0;
  for (const npy::Header& header : {npy::Header{Dtype::kF16, {24, 10, 100}}, npy::Header{Dtype::kI64, {1000}},
                                    npy::Header{Dtype::kC128, {}}, npy::Header{Dtype::kU8, {0, 7}}}) {
    std::uint64_t size = dtype_bytes(header.dtype);
    for (const std::uint64_t extent : header.shape) size *= extent;
    const std::string id = "n" + std::to_string(++number);
    const std::string path = file(id + ".npy");
    const auto bytes = contents(id, 0, size);
    write(path, npy::format(header) + std::string(reinterpret_cast<const char*>(bytes.data()), size));
    const Outcome sent = ctl({"send", path, "--id", id, "--to", "1", "--chunk-bytes", "5000"}, 0);
    ASSERT_EQ(sent.code, 0) << sent.text;
    const std::string out = file(id + ".out");
    const Outcome received = ctl({"recv", id, "-o", out, "--done"}, 1);
    ASSERT_EQ(received.code, 0) << received.text;
    const std::string text = perf::read_file(out);
    const auto* const data = reinterpret_cast<const std::byte*>(text.data());
    const auto offset = npy::data_offset({data, text.size()});
    ASSERT_TRUE(offset);
    const auto read = npy::parse({data, *offset});
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->dtype, header.dtype);
    EXPECT_EQ(read->shape, header.shape);
    ASSERT_EQ(text.size() - *offset, size);
    EXPECT_TRUE(matches({data + *offset, size}, id, 0));
  }
}

TEST_F(Programs, AStreamIsClosedAtTheEndOfItsInput) {
  const std::string path = file("in");
  write(path, std::string(10'000, 'x'));
  const Outcome sent = ctl({"send", path, "--id", "s", "--to", "1", "--chunk-bytes", "4K", "--stream"}, 0);
  ASSERT_EQ(sent.code, 0) << sent.text;
  const std::string out = file("out");
  const Outcome received = ctl({"recv", "s", "-o", out}, 1);
  ASSERT_EQ(received.code, 0) << received.text;
  EXPECT_EQ(perf::read_file(out), std::string(10'000, 'x'));
  const auto rows = nlohmann::json::parse(ctl({"chunks", "--json"}, 1).text);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["id"], "s");
  EXPECT_EQ(rows[0]["num_chunks"], 3);
  EXPECT_EQ(ctl({"done", "s"}, 1).code, 0);
  EXPECT_EQ(nlohmann::json::parse(ctl({"chunks", "--json"}, 1).text).size(), 0u);
}

TEST_F(Programs, PeersTellsThePathOfEach) {
  const std::string path = file("in");
  write(path, std::string(100'000, 'x'));
  ASSERT_EQ(ctl({"send", path, "--id", "p", "--to", "1", "--to", "2"}, 0).code, 0);
  const auto rows = nlohmann::json::parse(ctl({"peers", "--json"}, 0).text);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["path"], "shared memory");
  EXPECT_EQ(rows[1]["path"], "network");
  EXPECT_FALSE(rows[1]["transports"].get<std::string>().empty());
  EXPECT_NE(ctl({"peers"}, 0).text.find("shared memory"), std::string::npos);
  const auto status = nlohmann::json::parse(ctl({"status", "--json"}, 2).text);
  EXPECT_EQ(status["rank"], 2);
  EXPECT_EQ(status["node"], "b");
  EXPECT_EQ(status["chunks"], 1);
  EXPECT_EQ(ctl({"done", "p", "--chunk", "0"}, 1).code, 0);
  EXPECT_EQ(ctl({"--rank", "2", "done", "p"}, 2).code, 0);  // settings may come before the command
}

TEST_F(Programs, MembersTellsWhoIsThere) {
  const auto rows = nlohmann::json::parse(ctl({"members", "--json"}, 1).text);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1]["rank"], 1);
  EXPECT_EQ(rows[1]["self"], true);
  EXPECT_EQ(rows[1]["node"], "a");
  EXPECT_EQ(rows[2]["address"], cluster_.address(2));
  EXPECT_TRUE(rows[2]["instance"].is_null()) << "a static membership knows addresses only";
  EXPECT_NE(ctl({"members"}, 0).text.find(cluster_.address(2)), std::string::npos);
}

TEST_F(Programs, RegisterPrintsWhatAnotherProcessNeedsToSayHello) {
  const Outcome outcome = ctl({"register", "--json"}, 1);
  ASSERT_EQ(outcome.code, 0) << outcome.text;
  const auto json = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(json["rank"], 1);
  EXPECT_EQ(json["sidecar_rank"], 1);
  EXPECT_EQ(json["pid"], ::getpid()) << "who runs the command";
  EXPECT_EQ(json["net_address"], cluster_.ready_word(1, "data"));
  EXPECT_EQ(json["local_address"], cluster_.ready_word(1, "local"));
  EXPECT_EQ(json["arena_path"], cluster_.ready_word(1, "arena"));
  EXPECT_EQ(json["ucx_version"], cluster_.status(1).ucx_version);
  EXPECT_EQ(json["ticket"].get<std::string>().size(), 32u);
  const auto status = nlohmann::json::parse(ctl({"status", "--json"}, 1).text);
  EXPECT_EQ(json["sidecar_instance"], status["instance"]);
  EXPECT_NE(json["instance"], nlohmann::json::parse(ctl({"register", "--json"}, 1).text)["instance"]);
  EXPECT_EQ(nlohmann::json::parse(ctl({"register", "--json", "--pid", "7"}, 1).text)["pid"], 7);

  const Outcome refused = ctl({"register", "--ucx-version", "0.9.9"}, 1);
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.text.find("0.9.9"), std::string::npos) << refused.text;
}

TEST_F(Programs, AShellCanReadWhatRegisterPrints) {
  const std::string command =
      "papers=$(" + perf::program_path("sidecarctl") +
      " register) && eval \"$papers\" && echo \"$rank $pid is $$, $net_address, $node\"";
  perf::Process shell(
      {.argv = {"/bin/sh", "-c", command},
       .environment = {"SIDECAR_GROUP=1,0", "SIDECAR_RANK=1", "SIDECAR_ADDRESS=" + cluster_.address(1)},
       .log = file("log")});
  const std::string pid = std::to_string(shell.pid());
  EXPECT_EQ(code_of(shell), 0);
  EXPECT_EQ(shell.log_text(), "1 " + pid + " is " + pid + ", " + cluster_.ready_word(0, "data") + ", a\n")
      << "a member of a group, which its leader's sidecar serves";
}

TEST_F(Programs, FailuresSayWhatAndForWhomAndExitWith1) {
  const std::string path = file("in");
  write(path, "x");
  const auto expect = [](const Outcome& outcome, const std::string& text) {
    EXPECT_EQ(outcome.code, 1);
    EXPECT_NE(outcome.text.find(text), std::string::npos) << outcome.text;
  };
  expect(ctl({"send", path, "--id", "x", "--to", "0"}, 0), "send x: InvalidArgument");
  expect(ctl({"send", path, "--id", "x", "--to", "7"}, 0), "rank 7");
  expect(ctl({"send", folder_ + "/nothing", "--id", "x", "--to", "1"}, 0), "No such file");
  expect(ctl({"recv", "never", "--timeout", "0.1"}, 1), "recv never: Timeout");
  const std::string broken = file("broken.npy");
  write(broken, npy::format({Dtype::kF32, {10}}) + "too short");
  expect(ctl({"send", broken, "--id", "x", "--to", "1"}, 0), "its header speaks of");
}

TEST_F(Programs, OnATerminalTheProgressLineIsGoneBeforeTheResult) {
  constexpr const char* kTerminal = "/usr/bin/script";
  if (::access(kTerminal, X_OK) != 0) GTEST_SKIP() << "no " << kTerminal << ", which makes a terminal";
  const std::string some = "head -c 1000000 /dev/zero; sleep 0.7; head -c 1000000 /dev/zero";
  const std::string command = "(" + some + ") | " + perf::program_path("sidecarctl") +
                              " send - --id p --to 1 --chunk-bytes 100000 --address " + cluster_.address(0);
  perf::Process process({.argv = {kTerminal, "-qec", command, "/dev/null"}, .log = file("log")});
  EXPECT_EQ(code_of(process), 0);
  EXPECT_NE(process.log_text().find("\r\033[Kp: 20 chunks"), std::string::npos) << process.log_text();
  EXPECT_EQ(ctl({"done", "p"}, 1).code, 0);
}

TEST_F(Programs, AReceiveThatFailsLeavesTheFileAsItWas) {
  const std::string out = file("out");
  write(out, "precious");
  EXPECT_EQ(ctl({"recv", "never", "-o", out, "--timeout", "0.1"}, 1).code, 1);
  EXPECT_EQ(perf::read_file(out), "precious");
  const std::string path = file("in");
  write(path, "new");
  ASSERT_EQ(ctl({"send", path, "--id", "n", "--to", "1"}, 0).code, 0);
  EXPECT_EQ(ctl({"recv", "n", "-o", out, "--done"}, 1).code, 0);
  EXPECT_EQ(perf::read_file(out), "new");
}

TEST_F(Programs, AFileThatDoesNotTellItsSizeIsSentWhole) {
  const std::string out = file("out");
  ASSERT_EQ(ctl({"send", "/proc/version", "--id", "v", "--to", "1"}, 0).code, 0);
  ASSERT_EQ(ctl({"recv", "v", "-o", out, "--done"}, 1).code, 0);
  EXPECT_EQ(perf::read_file(out), perf::read_file("/proc/version"));
}

TEST_F(Programs, AnAddressInTheEnvironmentIsEnough) {
  const std::string log = file("log");
  perf::Process process({.argv = {perf::program_path("sidecarctl"), "recv", "never", "--timeout", "0.1"},
                         .environment = {"SIDECAR_ADDRESS=" + cluster_.address(1)},
                         .log = log});
  EXPECT_EQ(code_of(process), 1);
  EXPECT_NE(process.log_text().find("recv never: Timeout"), std::string::npos) << process.log_text();
}

TEST_F(Programs, ARankThatHasNoDefaultPortIsRefused) {
  const auto run = [&](const std::string& rank) {
    perf::Process process = start("sidecarctl", {"status", "--rank", rank}, file("log" + rank));
    return Outcome{code_of(process), process.log_text()};
  };
  EXPECT_EQ(run("-1").code, 2);
  EXPECT_NE(run("70000").text.find("InvalidArgument: rank: only 0 to 55535"), std::string::npos);
}

TEST_F(Programs, WrongUsageExitsWith2) {
  const std::string path = file("in");
  write(path, "x");
  EXPECT_EQ(ctl({"send", path, "--id", "x", "--to", "one"}, 0).code, 2);
  EXPECT_EQ(ctl({"send", path, "--id", "x", "--to", "1", "--chunk-bytes", "0"}, 0).code, 2);
  EXPECT_EQ(ctl({"send", path, "--to", "1"}, 0).code, 2);
  EXPECT_EQ(ctl({"done", "x", "--chunk", "some"}, 0).code, 2);
  EXPECT_EQ(ctl({"frobnicate"}, 0).code, 2);
  EXPECT_EQ(ctl({}, 0).code, 2);
  EXPECT_EQ(ctl({"recv", "--help"}, 0).code, 0);
}

}  // namespace
}  // namespace sidecar::e2e
