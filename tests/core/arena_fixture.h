// A directory of shared memory and processes for the arena's tests.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/arena.h"

namespace sidecar {

inline constexpr std::uint64_t kMiB = 1 << 20;
inline constexpr InstanceId kInstance = 0x00c0ffee12345678;

// A directory of shared memory of its own for each test, gone afterwards.
class ArenaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/dev/shm/arena-test-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] ArenaOptions options(InstanceId instance = kInstance, std::uint64_t bytes = 4 * kMiB) const {
    ArenaOptions result;
    result.bytes = bytes;
    result.directory = directory_;
    result.instance = instance;
    result.huge_pages = false;  // quicker; they have tests of their own
    return result;
  }
  [[nodiscard]] std::string path_of(InstanceId instance) const {
    return directory_ + "/" + arena_file_name(instance);
  }
  [[nodiscard]] std::size_t files() const {
    const std::filesystem::directory_iterator all(directory_);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
  // A process that runs `body` and then waits to be killed; returns once it has written a byte.
  template <class Body>
  pid_t start_process(Body body) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(pipe[0]);
      body();
      const char done = 1;
      if (::write(pipe[1], &done, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(pipe[1]);
    char done = 0;
    EXPECT_EQ(::read(pipe[0], &done, 1), 1);
    ::close(pipe[0]);
    return pid;
  }
  static void kill_process(pid_t pid) {
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  }
  void edit(InstanceId instance, std::uint64_t at, const void* bytes, std::size_t size) const {
    std::fstream file(path_of(instance), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
    ASSERT_TRUE(file.good());
  }

  std::string directory_;
};

}  // namespace sidecar
