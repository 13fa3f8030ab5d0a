// Other processes' memory and ends, with real files and real processes.
#include "control/host.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <vector>

#include "core/arena.h"
#include "tests/support/test_loop.h"

namespace sidecar {
namespace {

class Recorder final : public Events {
 public:
  Result<HelloAck> on_hello(LinkId, const Hello&) override { return HelloAck(); }
  void on_link_up(LinkId, const HelloAck&) override {}
  void on_link_down(LinkId, const Error&) override {}
  void on_message(LinkId, const Message&, const Incoming&) override {}
  void on_bad_message(LinkId, const Message&, const Incoming&, const Error&) override {}
  void on_sent(Token, const Status&) override {}
  void on_received(Token, const Status&) override {}
  void on_resolved(Rank, const Result<PeerRecord>&) override {}
  void on_process_gone(Token token) override { gone.push_back(token); }
  std::vector<Token> gone;
};

class LoopHostTest : public testing::Test {
 protected:
  LoopHostTest() { host_.set_events(events_); }
  ~LoopHostTest() override { std::filesystem::remove_all(directory_); }
  static pid_t spawn_sleeper() {
    const pid_t pid = fork();
    if (pid == 0) {
      pause();
      _exit(0);
    }
    return pid;
  }
  static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  std::unique_ptr<Arena> make_arena(InstanceId instance) const {
    ArenaOptions options;
    options.bytes = 64 << 10;
    options.instance = instance;
    options.directory = directory_;
    options.huge_pages = false;
    return *Arena::create(options);
  }
  static ArenaInfo info_of(const Arena& arena) {
    return ArenaInfo{arena.instance(), arena.nonce(), arena.bytes(), Name(arena.path())};
  }

  std::string directory_ = [] {
    char path[] = "/dev/shm/sidecar-host-test-XXXXXX";
    CHECK(mkdtemp(path) != nullptr);
    return std::string(path);
  }();
  TestLoop loop_;
  Recorder events_;
  LoopHost host_{*loop_};
};

TEST_F(LoopHostTest, TellsWhenAProcessIsGone) {
  const pid_t pid = spawn_sleeper();
  ASSERT_TRUE(host_.watch_process(pid, 42));
  EXPECT_FALSE(loop_.run_until([&] { return !events_.gone.empty(); }, 50 * kMillisecond));
  end(pid);
  ASSERT_TRUE(loop_.run_until([&] { return !events_.gone.empty(); }));
  EXPECT_EQ(events_.gone, (std::vector<Token>{42}));
}

TEST_F(LoopHostTest, AProcessCanBeWatchedMoreThanOnce) {
  const pid_t pid = spawn_sleeper();
  ASSERT_TRUE(host_.watch_process(pid, 1));
  ASSERT_TRUE(host_.watch_process(pid, 2));
  end(pid);
  ASSERT_TRUE(loop_.run_until([&] { return events_.gone.size() == 2; }));
}

TEST_F(LoopHostTest, WhoIsWatchedNoMoreLeavesNoDescriptorAndIsNotHeardOf) {
  const pid_t pid = spawn_sleeper();
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  ASSERT_TRUE(host_.watch_process(pid, 1));
  ASSERT_TRUE(host_.watch_process(pid, 2));
  EXPECT_EQ(host_.watched_processes(), 2u);
  host_.unwatch_process(1);
  EXPECT_EQ(host_.watched_processes(), 1u);
  EXPECT_EQ(descriptors(), before + 1);
  end(pid);
  ASSERT_TRUE(loop_.run_until([&] { return !events_.gone.empty(); }));
  EXPECT_FALSE(loop_.run_until([&] { return events_.gone.size() > 1; }, 50 * kMillisecond));
  EXPECT_EQ(events_.gone, (std::vector<Token>{2}));
}

TEST_F(LoopHostTest, WhatIsNotThereCannotBeWatched) {
  const pid_t pid = spawn_sleeper();
  end(pid);
  EXPECT_FALSE(host_.watch_process(pid, 1));
  EXPECT_FALSE(host_.watch_process(0, 1));
  EXPECT_FALSE(host_.watch_process(-1, 1));
  EXPECT_FALSE(host_.watch_process(std::int64_t{1} << 40, 1));
}

TEST_F(LoopHostTest, EndsWhileItIsStillWatching) {
  const pid_t pid = spawn_sleeper();
  {
    LoopHost host(*loop_);
    host.set_events(events_);
    ASSERT_TRUE(host.watch_process(pid, 1));
  }
  end(pid);
  EXPECT_FALSE(loop_.run_until([&] { return !events_.gone.empty(); }, 50 * kMillisecond));
}

TEST_F(LoopHostTest, MapsAnotherArenaOnceAndSeesItsBytes) {
  const auto arena = make_arena(5);
  std::memcpy(arena->data() + 100, "seen", 4);
  const auto map = host_.map_arena(info_of(*arena));
  ASSERT_TRUE(map) << to_string(map.error());
  EXPECT_EQ(map->bytes, arena->bytes());
  EXPECT_EQ(std::memcmp(map->data + 100, "seen", 4), 0);
  EXPECT_EQ(host_.map_arena(info_of(*arena))->data, map->data);
  EXPECT_EQ(host_.mapped_arenas(), 1u);
  host_.unmap_arena(5);
  host_.unmap_arena(5);
  EXPECT_EQ(host_.mapped_arenas(), 0u);
}

TEST_F(LoopHostTest, AWrongNonceIsNotTheSameNode) {
  const auto arena = make_arena(5);
  ArenaInfo info = info_of(*arena);
  ++info.nonce;
  EXPECT_FALSE(host_.map_arena(info));
  EXPECT_EQ(host_.mapped_arenas(), 0u);
}

TEST_F(LoopHostTest, AForbiddenRanksArenaIsNotMapped) {
  const auto arena = make_arena(5);
  host_.forbid_sharing(3, 5);
  const auto map = host_.map_arena(info_of(*arena));
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, Errc::kUnauthorized);
  host_.forbid_sharing(3, 6);  // it was restarted: the old instance is nobody's any more
  EXPECT_TRUE(host_.map_arena(info_of(*arena)));
}

}  // namespace
}  // namespace sidecar
