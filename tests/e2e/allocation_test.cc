// A sidecard whose working set does not grow takes nothing from the heap on its loop's thread: counted in the
// shipped program by a preloaded library, over both paths. What UCX takes for itself is counted apart.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "tests/e2e/allocation_guard.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {
namespace {

class SteadyState : public ::testing::Test {
 protected:
  SteadyState() {
    for (Rank rank : {0, 1, 2}) counts_.push_back(open_counts(file_of(rank)));
  }
  ~SteadyState() override {
    for (Rank rank : {0, 1, 2}) std::filesystem::remove(file_of(rank));
  }
  static std::string prefix() { return "/tmp/allocation-guard-" + std::to_string(getpid()); }
  static Cluster* start() {
    return new Cluster({.nodes = {"a", "a", "b"},
                        .environment = {"ALLOCATION_GUARD=" + prefix(),
                                        std::string("LD_PRELOAD=") + ALLOCATION_GUARD_LIBRARY}});
  }
  [[nodiscard]] std::string file_of(Rank rank) const {
    return prefix() + "." + std::to_string(cluster_->process(rank).pid());
  }
  static AllocationCounts* open_counts(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(fd, 0) << path;
    void* const page = ::mmap(nullptr, sizeof(AllocationCounts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return static_cast<AllocationCounts*>(page);
  }
  // One datum of two chunks to both kinds of destination, with everything that happens in a chunk's life:
  // waited for before it comes and after, inline, eager, rendezvous, allocated, a stream, a late answer.
  void round(int number) {
    const std::string id = "round-" + std::to_string(number);
    std::vector<Future<View>> waiting;
    for (Client* at : {&near_, &far_}) waiting.push_back(at->recv_async(id, 0));
    const std::size_t size =
        std::vector<std::size_t>{64, 30'000, 300'000}[static_cast<std::size_t>(number % 3)];
    const Groups to{{1}, {2}};
    if (number % 2 == 0) {
      const Object object{data_.data(), size, 0};
      ASSERT_TRUE(producer_.send(object, id, to, 0, 0, {.stream = true}));
    } else {
      auto buffer = producer_.allocate({size}, Dtype::kU8);
      ASSERT_TRUE(buffer);
      ASSERT_TRUE(producer_.send(std::move(*buffer), id, to, 0, 0, {.stream = true}));
    }
    ASSERT_TRUE(producer_.close_stream(id, 1, to));
    for (auto& each : waiting) ASSERT_TRUE(each.get());
    for (Client* at : {&near_, &far_}) {
      ASSERT_EQ(at->recv(id, 0)->size_bytes(), size);
      ASSERT_TRUE(at->recv(id, 1)->end_of_stream());
      ASSERT_TRUE(at->mark_done(id));
      ASSERT_EQ(at->recv(id, 0).code(), Errc::kAlreadyDone);
    }
  }

  std::unique_ptr<Cluster> cluster_{start()};
  Client producer_ = cluster_->client(0);
  Client near_ = cluster_->client(1);
  Client far_ = cluster_->client(2);
  std::vector<AllocationCounts*> counts_;
  std::vector<std::byte> data_ = contents("steady", 0, 300'000);
};

TEST_F(SteadyState, NothingIsAllocatedOnTheLoopsThread) {
  // What is remembered of data that are done grows by doubling until a million: between 2,048 and 4,096 it
  // does not.
  for (int i = 0; i < 2'300; ++i) round(i);
  std::vector<std::uint64_t> by_new, by_malloc, steps;
  for (AllocationCounts* each : counts_) {
    EXPECT_GT(each->by_new, 0u) << "it does count";
    by_new.push_back(each->by_new);
    by_malloc.push_back(each->by_malloc);
    steps.push_back(each->steps);
    each->watching = 1;
  }
  for (int i = 2'300; i < 3'300; ++i) round(i);
  for (std::size_t r = 0; r < counts_.size(); ++r) {
    EXPECT_GT(counts_[r]->steps, steps[r] + 1'000) << "the loop ran";
    EXPECT_EQ(counts_[r]->by_new - by_new[r], 0u) << "rank " << r << ":\n"
                                                  << cluster_->log(static_cast<Rank>(r));
    EXPECT_EQ(counts_[r]->by_malloc - by_malloc[r], 0u) << "rank " << r << ":\n"
                                                        << cluster_->log(static_cast<Rank>(r));
    counts_[r]->watching = 0;
  }
}

}  // namespace
}  // namespace sidecar::e2e
