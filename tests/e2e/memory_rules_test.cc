// Rules about memory that several processes look at, between real processes: 2, 3, 4, 5 and 12.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/e2e/paths_fixture.h"
#include "tests/e2e/watch.h"

namespace sidecar::e2e {
namespace {

namespace fs = std::filesystem;

class MemoryRules : public BothPaths {
 protected:
  MemoryRules() : BothPaths({.nodes = {"a", "a", "b"}, .arena = "32M"}) {}
  [[nodiscard]] bool same_node() const { return GetParam() == Path::kSameNode; }
  [[nodiscard]] std::string to() const { return std::to_string(consumer()); }
  // The sidecar in whose arena a consumer's data lie.
  [[nodiscard]] Rank owner() const { return same_node() ? 0 : consumer(); }
};
using Rule02SameNode = MemoryRules;
using Rule03MarkDoneAndViews = MemoryRules;
using Rule05ViewsAreReadOnly = MemoryRules;
using Rule12Arenas = MemoryRules;
SIDECAR_BOTH_PATHS(Rule02SameNode);
SIDECAR_BOTH_PATHS(Rule03MarkDoneAndViews);
SIDECAR_BOTH_PATHS(Rule05ViewsAreReadOnly);
SIDECAR_BOTH_PATHS(Rule12Arenas);

TEST_P(Rule02SameNode, EqualNamesShareMemoryAndOthersUseTheNetwork) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const auto bytes = contents("x", 0, 300'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "x", {{consumer()}}));
  EXPECT_EQ(cluster_.peer(0, consumer()).path, same_node() ? "shared memory" : "network");
  EXPECT_EQ(cluster_.counter(consumer(), "bytes_mapped"), same_node() ? 300'000u : 0u);
  EXPECT_EQ(cluster_.counter(consumer(), "bytes_received"), same_node() ? 0u : 300'000u);
  EXPECT_TRUE(matches(receiver.recv("x").value().bytes(), "x", 0));
  EXPECT_TRUE(receiver.mark_done("x"));
}

// The names say "same node", and the proof fails: the file cannot be opened, or is not the one it should be.
class Rule02SameNodeUnproven : public ::testing::TestWithParam<bool> {
 protected:
  Cluster cluster_{{.nodes = {"a", "a"}, .arena = "32M"}};
};
INSTANTIATE_TEST_SUITE_P(With, Rule02SameNodeUnproven, ::testing::Bool(), [](const auto& about) {
  return std::string(about.param ? "AnotherFileInItsPlace" : "NoFile");
});

TEST_P(Rule02SameNodeUnproven, MeansNetwork) {
  for (const Rank rank : {0, 1}) {
    const std::string path = cluster_.status(rank).arena_path;
    const auto size = fs::file_size(path);
    const std::string beginning = perf::read_file("/proc/self/comm");  // anything but an arena's header
    fs::remove(path);
    if (!GetParam()) continue;
    std::ofstream(path, std::ios::binary) << beginning;
    fs::resize_file(path, size);
  }
  Client producer = cluster_.client(0);
  Client consumer = cluster_.client(1);
  const auto bytes = contents("x", 0, 300'000);
  const auto sent = producer.send(tensor_of(bytes), "x", {{1}});
  ASSERT_TRUE(sent) << to_string(sent.error());
  EXPECT_EQ(cluster_.peer(0, 1).path, "network");
  EXPECT_EQ(cluster_.counter(1, "bytes_mapped"), 0u);
  EXPECT_EQ(cluster_.counter(1, "bytes_received"), 300'000u);
  EXPECT_TRUE(matches(consumer.recv("x").value().bytes(), "x", 0)) << "the client cannot map it either";
  EXPECT_TRUE(consumer.mark_done("x"));
  for (const Rank rank : {0, 1}) fs::remove(cluster_.status(rank).arena_path);
}

TEST_P(Rule03MarkDoneAndViews, ChunksShowsWhoLooksBeforeAndAfterMarkDone) {
  Executor producer(cluster_, 0);
  Executor first(cluster_, consumer());
  Executor second(cluster_, consumer());
  ASSERT_EQ(producer.ask("send x " + to() + " 0 1 5000000 arena"), "ok");
  EXPECT_EQ(holders_of(cluster_, consumer(), "ready"), 0u);
  for (Executor* each : {&first, &second})
    ASSERT_EQ(each->ask("hold x 0 5000").substr(0, 15), "ok 5000000 good");
  ASSERT_EQ(first.ask("hold x 0 5000").substr(0, 15), "ok 5000000 good");
  EXPECT_EQ(holders_of(cluster_, consumer(), "ready"), 2u) << "processes, not calls";
  Client other = cluster_.client(consumer());
  ASSERT_TRUE(other.mark_done("x"));
  EXPECT_EQ(other.recv("x", 0, milliseconds(0)).code(), Errc::kAlreadyDone) << "hidden at once";
  EXPECT_EQ(holders_of(cluster_, consumer(), "held"), 2u);
  EXPECT_EQ(first.ask("check"), "ok 2");
  EXPECT_EQ(first.ask("drop"), "ok");
  EXPECT_TRUE(eventually([&] { return holders_of(cluster_, consumer(), "held") == 1; }));
  EXPECT_EQ(second.ask("check"), "ok 1");
  EXPECT_EQ(second.ask("drop"), "ok");
  EXPECT_TRUE(eventually([&] { return chunk_rows(cluster_, consumer()).empty(); }));
  EXPECT_TRUE(cluster_.becomes_empty(owner()));
}

TEST_P(Rule03MarkDoneAndViews, MarkDoneForfeitsTheCallersOwnViews) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const auto bytes = contents("x", 0, 300'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "x", {{consumer()}}));
  const auto view = receiver.recv("x");
  ASSERT_TRUE(view);
  ASSERT_TRUE(receiver.mark_done("x"));
  EXPECT_TRUE(cluster_.becomes_empty(owner())) << "though the view object is alive";
}

// Not even a reader that asks the kernel for it can write where others read.
TEST_P(Rule05ViewsAreReadOnly, AViewsMappingCannotBeMadeWritable) {
  Client producer = cluster_.client(0);
  Client receiver = cluster_.client(consumer());
  const auto bytes = contents("x", 0, 300'000);
  ASSERT_TRUE(producer.send(tensor_of(bytes), "x", {{consumer()}}));
  {
    const auto view = receiver.recv("x");
    ASSERT_TRUE(view);
    ASSERT_TRUE(view->is_shared());
    EXPECT_EQ(view->writable_data(), nullptr);
    const auto page = reinterpret_cast<std::uintptr_t>(view->data()) & ~std::uintptr_t{4095};
    EXPECT_EQ(mprotect(reinterpret_cast<void*>(page), 4096, PROT_READ | PROT_WRITE), -1);
    EXPECT_EQ(errno, EACCES);
  }
  EXPECT_TRUE(receiver.mark_done("x"));
}

TEST_P(Rule12Arenas, AFileIsItsOwnersAndHeldByIt) {
  for (const Rank rank : {0, consumer()}) {
    const fs::path path = cluster_.status(rank).arena_path;
    char name[32];
    std::snprintf(name, sizeof name, "sidecar-%016llx",
                  static_cast<unsigned long long>(cluster_.status(rank).instance));
    EXPECT_EQ(path.filename(), name);
    struct stat facts{};
    ASSERT_EQ(::stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600u);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(::flock(fd, LOCK_EX | LOCK_NB), -1) << "its owner holds it";
    ::close(fd);
  }
}

TEST_P(Rule12Arenas, AStartRemovesWhatNobodyHoldsAndNothingElse) {
  const fs::path directory = fs::path(cluster_.status(0).arena_path).parent_path();
  const fs::path stale = directory / "sidecar-00000000deadbeef", foreign = directory / "notes";
  std::ofstream(stale) << "left by a process that died long ago";
  std::ofstream(foreign) << "not an arena";
  const std::string killed = cluster_.status(consumer()).arena_path;
  const ino_t before = cluster_.arena_inode(0);
  cluster_.restart(consumer());
  EXPECT_FALSE(fs::exists(stale));
  EXPECT_FALSE(fs::exists(killed));
  EXPECT_TRUE(fs::exists(foreign));
  EXPECT_EQ(cluster_.arena_inode(0), before);
  fs::remove(foreign);
}

TEST_P(Rule12Arenas, APeersArenaIsMappedOnceThereIsSomethingInItAndAsLongAsItIsNeeded) {
  const std::string path = cluster_.status(0).arena_path;
  EXPECT_FALSE(maps(cluster_.process(consumer()).pid(), path)) << "nothing was sent yet";
  Client receiver = cluster_.client(consumer());
  {
    Client producer = cluster_.client(0);
    const auto bytes = contents("x", 0, 300'000);
    ASSERT_TRUE(producer.send(tensor_of(bytes), "x", {{consumer()}}));
  }
  EXPECT_EQ(maps(cluster_.process(consumer()).pid(), path), same_node());
  cluster_.restart(0);  // and the old one's file is gone
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(matches(receiver.recv("x", 0, seconds(5)).value().bytes(), "x", 0))
      << "delivered data outlives its producer";
  EXPECT_TRUE(receiver.mark_done("x"));
  EXPECT_TRUE(eventually([&] { return !maps(cluster_.process(consumer()).pid(), path); }))
      << "unmapped with the last slot";
}

}  // namespace
}  // namespace sidecar::e2e
