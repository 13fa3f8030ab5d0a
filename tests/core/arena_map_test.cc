#include "core/arena_map.h"

#include <grp.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>

#include "tests/core/arena_fixture.h"

namespace sidecar {
namespace {

using ArenaMapTest = ArenaTest;

TEST_F(ArenaMapTest, IsMappedReadOnlyUnlessAskedOtherwise) {
  auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  auto read_only = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
  ASSERT_TRUE(read_only);
  EXPECT_EXIT(
      {
        ::signal(SIGSEGV, SIG_DFL);
        *const_cast<volatile std::byte*>(read_only->data()) = std::byte{1};
      },
      ::testing::KilledBySignal(SIGSEGV), "");
  auto writable = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce(), true);
  ASSERT_TRUE(writable);
  writable->writable_data()[17] = std::byte{42};
  EXPECT_EQ(read_only->data()[17], std::byte{42});
  EXPECT_EQ((*arena)->data()[17], std::byte{42});
}

TEST_F(ArenaMapTest, TheOwnerSeesThroughWhomItIsMappedUntilThatEnds) {
  auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  constexpr InstanceId kNeighbour = 0xfedcba9876543210;
  const auto directly = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
  ASSERT_TRUE(directly);
  EXPECT_FALSE((*arena)->mapped_through(kNeighbour));
  {
    const auto open = [&] {
      return ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce(), false, kNeighbour);
    };
    std::optional<ArenaMap> one = *open();
    std::optional<ArenaMap> two = *open();
    EXPECT_TRUE((*arena)->mapped_through(kNeighbour));
    EXPECT_FALSE((*arena)->mapped_through(kNeighbour + 4));
    one.reset();
    EXPECT_TRUE((*arena)->mapped_through(kNeighbour));
    const pid_t child = ::fork();  // it maps what we map
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    two.reset();
    EXPECT_TRUE((*arena)->mapped_through(kNeighbour));
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
  EXPECT_FALSE((*arena)->mapped_through(kNeighbour));
}

TEST_F(ArenaMapTest, TellsAnotherUserThatItMayNot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::seteuid(65534) != 0) ::_exit(2);
    const auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
    ::_exit(!map && map.error().code == Errc::kUnauthorized ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// As another user, of that group besides nobody's own: how opening ends, or 255 if it cannot be tried.
int code_as_nobody(const Arena& arena, gid_t group) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::setgroups(1, &group) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(255);
    const auto map = ArenaMap::open(arena.path(), kInstance, arena.nonce());
    ::_exit(map ? 0 : static_cast<int>(map.error().code));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

TEST_F(ArenaMapTest, IsOpenedOnlyIfItsOwnerIsRootOrUsOrSharesItWithAGroupOfOurs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  constexpr uid_t kOther = 4321;
  constexpr gid_t kShared = 5432;
  constexpr int kRefused = static_cast<int>(Errc::kUnauthorized);
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  const auto code = [&](uid_t user, mode_t mode, gid_t ours) {
    EXPECT_EQ(::chown((*arena)->path().c_str(), user, kShared), 0);
    EXPECT_EQ(::chmod((*arena)->path().c_str(), mode), 0);
    return code_as_nobody(**arena, ours);
  };
  EXPECT_EQ(code(65534, 0600, 1), 0);
  EXPECT_EQ(code(0, 0660, kShared), 0);
  EXPECT_EQ(code(0, 0644, 1), 0);
  EXPECT_EQ(code(kOther, 0660, kShared), 0);
  EXPECT_EQ(code(kOther, 0660, 1), kRefused);        // may not be opened
  EXPECT_EQ(code(kOther, 0664, 1), kRefused);        // may be opened, but we are not of its group
  EXPECT_EQ(code(kOther, 0644, kShared), kRefused);  // of its group, but nothing is shared with it
  // Root may open everything, and trusts it no more for that.
  const auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, Errc::kUnauthorized);
}

TEST_F(ArenaMapTest, RefusesAFileThatAnybodyMayWriteTo) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  ASSERT_EQ(::chmod((*arena)->path().c_str(), 0602), 0);
  const auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, Errc::kUnauthorized);
  ASSERT_EQ(::chmod((*arena)->path().c_str(), 0600), 0);
  EXPECT_TRUE(ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce()));
}

TEST_F(ArenaMapTest, RefusesAWrongNonceOrInstance) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  EXPECT_EQ(ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce() + 1).error().code, Errc::kProtocol);
  EXPECT_EQ(ArenaMap::open((*arena)->path(), kInstance + 1, (*arena)->nonce()).error().code, Errc::kProtocol);
  EXPECT_EQ(ArenaMap::open(path_of(99), 99, 1).error().code, Errc::kNotFound);
}

TEST_F(ArenaMapTest, RefusesAFileThatIsShorterThanItSays) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  for (const std::uint64_t bytes :
       {6 * kMiB - 4096, 2 * kMiB + 0, kMiB + 0, std::uint64_t{47}, std::uint64_t{0}}) {
    ASSERT_EQ(::truncate((*arena)->path().c_str(), static_cast<off_t>(bytes)), 0);
    const auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
    ASSERT_FALSE(map) << bytes;
    EXPECT_EQ(map.error().code, Errc::kProtocol) << bytes;
  }
}

TEST_F(ArenaMapTest, RefusesAHeaderThatLies) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  const ArenaHeader good{
      .instance = kInstance, .nonce = (*arena)->nonce(), .data_offset = 2 * kMiB, .data_bytes = 4 * kMiB};
  const auto refused = [&](const ArenaHeader& header) {
    edit(kInstance, 0, &header, sizeof header);
    const auto map = ArenaMap::open((*arena)->path(), kInstance, (*arena)->nonce());
    return !map && map.error().code == Errc::kProtocol;
  };
  EXPECT_FALSE(refused(good));
  ArenaHeader bad = good;
  bad.magic[0] = 's';
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.version = 2;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.data_bytes = 4 * kMiB + 1;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.data_bytes = ~0ull;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.data_bytes = 0;
  EXPECT_TRUE(refused(bad));
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{4097}, ~std::uint64_t{4095}, ~std::uint64_t{0}}) {
    bad = good;
    bad.data_offset = offset;
    EXPECT_TRUE(refused(bad)) << offset;
  }
}

TEST_F(ArenaMapTest, RefusesLinksAndWhatIsNoRegularFile) {
  const auto arena = Arena::create(options());
  ASSERT_TRUE(arena);
  const std::string link = directory_ + "/link";
  std::filesystem::create_symlink((*arena)->path(), link);
  EXPECT_EQ(ArenaMap::open(link, kInstance, (*arena)->nonce()).error().code, Errc::kProtocol);
  EXPECT_EQ(ArenaMap::open(directory_, kInstance, (*arena)->nonce()).error().code, Errc::kProtocol);
  const std::string pipe = directory_ + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(ArenaMap::open(pipe, kInstance, (*arena)->nonce()).error().code, Errc::kProtocol);
}

TEST_F(ArenaMapTest, StillReadsAfterItsOwnerWasKilledAndTheFileRemoved) {
  const pid_t owner = start_process([this] {
    auto arena = Arena::create(options());
    if (!arena) ::_exit(1);
    std::memset((*arena)->data(), 0x5a, (*arena)->bytes());
    std::ofstream(directory_ + "/nonce") << (*arena)->nonce();
    arena->release();
  });
  std::uint64_t nonce = 0;
  std::ifstream(directory_ + "/nonce") >> nonce;
  auto map = ArenaMap::open(path_of(kInstance), kInstance, nonce);
  ASSERT_TRUE(map) << to_string(map.error());
  kill_process(owner);
  EXPECT_EQ(remove_stale_arena_files(directory_), 1u);
  const ArenaMap moved = std::move(*map);
  EXPECT_EQ(std::count(moved.data(), moved.data() + moved.bytes(), std::byte{0x5a}),
            static_cast<std::ptrdiff_t>(4 * kMiB));
}

}  // namespace
}  // namespace sidecar
