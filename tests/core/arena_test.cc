#include "core/arena.h"

#include <grp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/arena_map.h"
#include "tests/core/arena_fixture.h"

namespace sidecar {
namespace {

TEST_F(ArenaTest, IsSharedWithWhoeverKnowsItsNonce) {
  auto arena = Arena::create(options());
  ASSERT_TRUE(arena) << to_string(arena.error());
  EXPECT_EQ((*arena)->kind(), ArenaKind::kShared);
  EXPECT_EQ((*arena)->path(), path_of(kInstance));
  EXPECT_EQ((*arena)->bytes(), 4 * kMiB);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*arena)->data()) % kHugePageBytes, 0u);
  std::memcpy((*arena)->data() + 4 * kMiB - 6, "hello", 6);

  auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
  ASSERT_TRUE(map) << to_string(map.error());
  EXPECT_EQ(map->bytes(), 4 * kMiB);
  EXPECT_STREQ(reinterpret_cast<const char*>(map->data() + 4 * kMiB - 6), "hello");
  EXPECT_EQ(map->writable_data(), nullptr);
  struct stat info{};
  ASSERT_EQ(::stat((*arena)->path().c_str(), &info), 0);
  EXPECT_EQ(map->inode(), info.st_ino);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(ArenaTest, IsOfTheGroupThatItIsSharedWithWhateverTheUmask) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a file to any group";
  ArenaOptions shared = options();
  shared.group = 5432;
  const mode_t before = ::umask(0777);
  const auto arena = Arena::create(shared);
  ::umask(before);
  ASSERT_TRUE(arena) << to_string(arena.error());
  struct stat info{};
  ASSERT_EQ(::stat((*arena)->path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u);
  EXPECT_EQ(info.st_gid, gid_t{5432});
  EXPECT_EQ(info.st_uid, ::geteuid());
}

TEST_F(ArenaTest, IsNotMadeWhenItsGroupIsNoneOfOurs) {
  ASSERT_EQ(::chmod(directory_.c_str(), 0777), 0);
  ArenaOptions shared = options();
  shared.group = 5432;
  const auto create = [&] {
    const auto arena = Arena::create(shared);
    const bool refused = !arena && arena.error().code == Errc::kUnauthorized && arena.error().a == 5432;
    return refused && files() == 0;
  };
  if (::geteuid() != 0) {
    EXPECT_TRUE(create());
    return;
  }
  EXPECT_EXIT(
      {
        if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
        ::_exit(create() ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(ArenaTest, RoundsItsSizeUpToPages) {
  auto arena = Arena::create(options(kInstance, 3 * kMiB + 1));
  ASSERT_TRUE(arena);
  EXPECT_EQ((*arena)->bytes(), 3 * kMiB + 4096);
  (*arena)->data()[3 * kMiB + 4095] = std::byte{1};
}

TEST_F(ArenaTest, RemovesItsFileWhenItGoes) {
  {
    ASSERT_TRUE(Arena::create(options()));
  }
  EXPECT_EQ(files(), 0u);
}

TEST_F(ArenaTest, NeverRemovesAFileThatSomebodyElsePutInItsPlace) {
  auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  ASSERT_EQ(::unlink(path_of(kInstance).c_str()), 0);
  std::ofstream(path_of(kInstance)) << "not yours";
  arena->reset();
  EXPECT_EQ(files(), 1u);
}

TEST_F(ArenaTest, RemovesStaleFilesAtStartAndKeepsHeldOnes) {
  const pid_t dead = start_process([this] {
    if (!Arena::create(options(1))) ::_exit(1);
    auto* const leaked = new std::unique_ptr<Arena>(std::move(*Arena::create(options(2))));
    if (!*leaked) ::_exit(1);
  });
  kill_process(dead);
  EXPECT_TRUE(std::filesystem::exists(path_of(2))) << "killed, so nobody cleaned up";
  const auto held = Arena::create(options(3));
  ASSERT_TRUE(held);
  EXPECT_FALSE(std::filesystem::exists(path_of(2)));
  const auto another = Arena::create(options(4));
  ASSERT_TRUE(another);
  EXPECT_TRUE(std::filesystem::exists(path_of(3)));
  EXPECT_NE((*held)->description().find("1 stale"), std::string::npos) << (*held)->description();
}

TEST_F(ArenaTest, LeavesForeignFilesAlone) {
  const std::vector<std::string> names{"sidecar-", "sidecar-00c0ffee1234567", "sidecar-00c0ffee12345678x",
                                       "sidecar-00C0FFEE12345678", "other-00c0ffee12345678"};
  for (const std::string& name : names) std::ofstream(directory_ + "/" + name) << "x";
  std::filesystem::create_directory(path_of(7));
  ASSERT_EQ(::mkfifo(path_of(8).c_str(), 0600), 0);
  std::filesystem::create_symlink(directory_ + "/" + names[0], path_of(9));
  EXPECT_EQ(remove_stale_arena_files(directory_), 0u);
  EXPECT_EQ(files(), names.size() + 3);
}

TEST_F(ArenaTest, SurvivesOthersThatRemoveStaleFilesWhileItStarts) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> cleaners;
  for (int i = 0; i < 2; ++i) {
    cleaners.emplace_back([&] {
      while (!stop) remove_stale_arena_files(directory_);
    });
  }
  for (InstanceId instance = 1; instance <= 300; ++instance) {
    auto file = create_arena_file(directory_, instance, {});
    ASSERT_TRUE(file) << to_string(file.error());
    std::this_thread::yield();
    ASSERT_TRUE(std::filesystem::exists(path_of(instance)));
    unlink_arena_file(*file);
  }
  stop = true;
  for (std::thread& cleaner : cleaners) cleaner.join();
  EXPECT_EQ(files(), 0u);
}

TEST_F(ArenaTest, LetsTwoSidecarsStartAtOnce) {
  constexpr int kProcesses = 4;
  std::vector<pid_t> pids;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (int round = 0; round < 20; ++round) {
        const auto arena = Arena::create(options(static_cast<InstanceId>(100 * i + round + 1), kMiB));
        if (!arena || !ArenaMap::open((*arena)->path(), (*arena)->instance(), (*arena)->nonce())) ::_exit(1);
      }
      ::_exit(0);
    }
    pids.push_back(pid);
  }
  for (const pid_t pid : pids) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(files(), 0u);
}

TEST_F(ArenaTest, RefusesASecondArenaOfOneInstance) {
  const auto first = Arena::create(options());
  ASSERT_TRUE(first);
  const auto second = Arena::create(options());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(path_of(kInstance)));
}

TEST_F(ArenaTest, RefusesMoreThanTheFileSystemHasAndTellsBothSizes) {
  struct statvfs system{};
  ASSERT_EQ(::statvfs(directory_.c_str(), &system), 0);
  if (system.f_blocks == 0) GTEST_SKIP() << "this shared-memory file system has no limit";
  const std::uint64_t free_bytes = system.f_bavail * system.f_frsize;
  const auto arena = Arena::create(options(kInstance, free_bytes + 64 * kMiB));
  ASSERT_FALSE(arena);
  EXPECT_EQ(arena.error().code, Errc::kNoSpace);
  EXPECT_GE(arena.error().a, free_bytes + 64 * kMiB);
  EXPECT_NEAR(static_cast<double>(arena.error().b), static_cast<double>(free_bytes), 1e9);
  EXPECT_EQ(files(), 0u);
}

TEST_F(ArenaTest, SaysWhatIsWrongWithTheDirectory) {
  ArenaOptions wrong = options();
  wrong.directory = directory_ + "/missing";
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kNotFound);
  std::ofstream(directory_ + "/file") << "x";
  wrong.directory = directory_ + "/file";
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kNotFound);
  wrong.directory = directory_ + "/" + std::string(250, 'x');
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kInvalidArgument);
  wrong = options(0);
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kInvalidArgument);
  wrong = options(1, 0);
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kInvalidArgument);
  wrong = options(1, ~0ull);
  EXPECT_EQ(Arena::create(wrong).error().code, Errc::kInvalidArgument);
}

TEST_F(ArenaTest, SaysThatTheDirectoryIsNotWritable) {
  // Root may write anywhere, so another user tries.
  ASSERT_EQ(::chmod(directory_.c_str(), 0555), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::geteuid() == 0 && ::seteuid(65534) != 0) ::_exit(2);
    const auto arena = Arena::create(options());
    ::_exit(!arena && arena.error().code == Errc::kUnauthorized ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
}

TEST_F(ArenaTest, EveryArenaHasANonceOfItsOwn) {
  const auto a = Arena::create(options(1));
  const auto b = Arena::create(options(2));
  ASSERT_TRUE(a && b);
  EXPECT_NE((*a)->nonce(), (*b)->nonce());
}

TEST_F(ArenaTest, IsBackedByHugePagesWhereTheSystemAgreesAndSaysSo) {
  ArenaOptions huge = options(kInstance, 8 * kMiB + 4096);
  huge.huge_pages = true;
  const auto arena = Arena::create(huge);
  ASSERT_TRUE(arena);
  EXPECT_NE((*arena)->description().find("huge pages"), std::string::npos) << (*arena)->description();
  EXPECT_NE((*arena)->description().find("per GiB"), std::string::npos) << (*arena)->description();
  EXPECT_EQ((*arena)->huge_bytes() % kHugePageBytes, 0u);
  EXPECT_LE((*arena)->huge_bytes(), 8 * kMiB);
  // Real everywhere, huge or not: no page is missing.
  std::vector<unsigned char> present((*arena)->bytes() / 4096);
  ASSERT_EQ(::mincore((*arena)->data(), (*arena)->bytes(), present.data()), 0);
  EXPECT_EQ(std::count(present.begin(), present.end(), 1), static_cast<std::ptrdiff_t>(present.size()));
  if ((*arena)->huge_bytes() == 0) GTEST_SKIP() << "no huge pages here: " << (*arena)->description();
}

TEST_F(ArenaTest, StartsEvenIfItsNumaNodeDoesNotExist) {
  ArenaOptions far = options();
  far.numa_node = 1000;
  const auto arena = Arena::create(far);
  ASSERT_TRUE(arena);
  EXPECT_NE((*arena)->description().find("not bound to NUMA node 1000"), std::string::npos)
      << (*arena)->description();
}

TEST_F(ArenaTest, OfKindHostIsPrivateAndHasNoFile) {
  ArenaOptions host = options();
  host.kind = ArenaKind::kHost;
  const auto arena = Arena::create(host);
  ASSERT_TRUE(arena);
  EXPECT_EQ((*arena)->kind(), ArenaKind::kHost);
  EXPECT_TRUE((*arena)->path().empty());
  EXPECT_EQ(files(), 0u);
  std::memset((*arena)->data(), 1, (*arena)->bytes());
}

}  // namespace
}  // namespace sidecar
