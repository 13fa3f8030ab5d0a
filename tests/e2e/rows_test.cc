// Rows of the contract of which the other files show only a part, and what is left on the machine afterwards.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

using ContractSend = BothPaths;
using ContractRecv = BothPaths;
using Leftovers = BothPaths;
SIDECAR_BOTH_PATHS(ContractSend);
SIDECAR_BOTH_PATHS(ContractRecv);
SIDECAR_BOTH_PATHS(Leftovers);

TEST_P(ContractSend, WhatIsNotContiguousIsCopiedOnceWithAWarning) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  std::vector<std::int32_t> matrix(100 * 60);
  for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::int32_t>(i);
  std::this_thread::sleep_for(milliseconds(1100));  // once a second at most it says so
  ::testing::internal::CaptureStderr();
  const auto plain = producer.send(Tensor{matrix.data(), Dtype::kI32, {100, 60}}, "plain", {{consumer()}});
  const std::string nothing = ::testing::internal::GetCapturedStderr();
  ::testing::internal::CaptureStderr();
  const auto strided =
      producer.send(Tensor{matrix.data(), Dtype::kI32, {60, 100}, {1, 60}}, "strided", {{consumer()}});
  const std::string warning = ::testing::internal::GetCapturedStderr();
  ASSERT_TRUE(plain);
  ASSERT_TRUE(strided);
  EXPECT_EQ(nothing.find("not contiguous"), std::string::npos) << nothing;
  EXPECT_NE(warning.find("not contiguous"), std::string::npos) << warning;
  const auto view = receiver.recv("strided");
  ASSERT_TRUE(view);
  EXPECT_EQ(view->shape(), (std::vector<std::uint64_t>{60, 100}));
  const auto* const got = reinterpret_cast<const std::int32_t*>(view->data());
  for (std::size_t i = 0; i < 6000; ++i) ASSERT_EQ(got[i], matrix[i % 100 * 60 + i / 100]);
  for (const char* id : {"plain", "strided"}) EXPECT_TRUE(receiver.mark_done(id));
}

// All at once: the sidecar says so before the datum comes.
TEST_P(ContractRecv, AThousandCallsOfFourProcessesWaitForOneChunkAndSeeOneMemory) {
  Client producer = cluster_.client(0);
  std::vector<Client> readers;
  std::vector<Future<View>> waiting;
  for (int r = 0; r < 4; ++r) {
    readers.push_back(cluster_.client(consumer()));
    for (int i = 0; i < 250; ++i) waiting.push_back(readers.back().recv_async("crowd"));
  }
  ASSERT_TRUE(eventually([&] { return cluster_.counter(consumer(), "waiting_recvs") == 1000; }));
  const auto bytes = contents("crowd", 0, 104'729);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "crowd", {{consumer()}}));
  {
    std::vector<View> views;
    for (auto& each : waiting) {
      auto view = each.get();
      ASSERT_TRUE(view) << to_string(view.error());
      views.push_back(std::move(*view));
    }
    for (const View& view : views) ASSERT_TRUE(matches(view.bytes(), "crowd", 0));
    EXPECT_EQ(holders_of(cluster_, consumer(), "ready"), 4u);
    const Rank owner = GetParam() == Path::kSameNode ? 0 : consumer();
    std::uint64_t runs = 0;
    for (const auto& region : cluster_.status(owner).memory) runs += region.runs;
    EXPECT_EQ(runs, 1u) << "held once";
  }
  EXPECT_TRUE(readers[0].mark_done("crowd"));
}

// System V segments made by these processes, and files of UCX's or of that cluster.
std::set<std::string> left_by(const std::set<pid_t>& pids, const std::string& directory) {
  std::set<std::string> left;
  std::istringstream segments(perf::read_file("/proc/sysvipc/shm"));
  for (std::string line; std::getline(segments, line);) {
    std::istringstream words(line);
    std::string key, id, permissions, size, creator;
    words >> key >> id >> permissions >> size >> creator;
    for (const pid_t pid : pids) {
      if (creator == std::to_string(pid)) left.insert("segment " + id + " of process " + creator);
    }
  }
  for (const char* folder : {"/dev/shm", "/tmp"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      bool ours = entry.path().string().starts_with(directory);
      for (const pid_t pid : pids)
        ours |= name.starts_with("ucx") && name.find(std::to_string(pid)) != std::string::npos;
      if (ours) left.insert(entry.path());
    }
  }
  return left;
}

TEST_P(Leftovers, NeitherFilesNorSegmentsNorProcessesAreLeft) {
  std::set<pid_t> pids;
  std::string directory;
  {
    Cluster cluster({.nodes = {"a", "a", "b"}, .arena = "32M"});
    directory = cluster.folder();
    for (const Rank rank : {0, 1, 2}) pids.insert(cluster.process(rank).pid());
    const std::string to = std::to_string(consumer());
    {
      Executor producer(cluster, 0);
      Executor reader(cluster, consumer());
      Executor doomed(cluster, consumer());
      for (Executor* each : {&producer, &reader, &doomed}) pids.insert(each->process().pid());
      ASSERT_EQ(producer.ask("send x " + to + " 0 1 3000000 arena"), "ok");
      ASSERT_EQ(doomed.ask("hold x 0 5000").substr(0, 15), "ok 3000000 good");
      ASSERT_EQ(reader.ask("recv x 0 5000").substr(0, 15), "ok 3000000 good");
      EXPECT_FALSE(left_by(pids, directory).empty()) << "it would be seen";
      doomed.process().kill();
      ASSERT_EQ(reader.ask("done x 0"), "ok");
    }
    cluster.restart(consumer());  // killed, and come back
    pids.insert(cluster.process(consumer()).pid());
    Executor producer(cluster, 0);
    pids.insert(producer.process().pid());
    ASSERT_EQ(producer.ask("send y " + to + " 0 1 3000000 arena"), "ok");
    Executor reader(cluster, consumer());
    pids.insert(reader.process().pid());
    ASSERT_EQ(reader.ask("done y 0"), "ok");
  }
  EXPECT_EQ(left_by(pids, directory), std::set<std::string>{});
  for (const pid_t pid : pids) EXPECT_FALSE(std::filesystem::exists("/proc/" + std::to_string(pid))) << pid;
}

}  // namespace
}  // namespace sidecar::e2e
