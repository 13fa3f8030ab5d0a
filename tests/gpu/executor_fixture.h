// Executors with GPU memory: sidecards 0 and 1 on node a, 2 on node b, and memory of this process's own GPUs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>

#include "core/cuda_driver.h"
#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {

// One for all tests: a process starts CUDA once.
inline const Result<std::unique_ptr<CudaApi>>& own_cuda() {
  static const auto* const loaded = new Result<std::unique_ptr<CudaApi>>(load_cuda());
  return *loaded;
}
inline CudaApi& gpu() { return **own_cuda(); }

class GpuStream {
 public:
  explicit GpuStream(int device) : device_(device), stream_(gpu().create_stream(device).value()) {}
  ~GpuStream() { EXPECT_TRUE(gpu().destroy_stream(device_, stream_)); }
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;
  operator CudaStream() const { return stream_; }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] void* raw() const {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(stream_));  // NOLINT: CUDA's own type
  }
  [[nodiscard]] int device() const { return device_; }
  void finish() const { EXPECT_TRUE(gpu().synchronize(device_, stream_)); }

 private:
  int device_;
  CudaStream stream_;
};

class GpuMemory {
 public:
  GpuMemory(const GpuStream& stream, std::uint64_t bytes)
      : stream_(stream), bytes_(bytes), address_(gpu().allocate(stream.device(), bytes).value()) {}
  ~GpuMemory() {
    stream_.finish();
    EXPECT_TRUE(gpu().free(stream_.device(), address_));
  }
  GpuMemory(const GpuMemory&) = delete;
  GpuMemory& operator=(const GpuMemory&) = delete;

  [[nodiscard]] void* data() const {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address_));  // NOLINT: CUDA's own type
  }
  [[nodiscard]] Tensor tensor(std::uint64_t bytes) const {
    return {data(), Dtype::kU8, {bytes}, {}, true, stream_.raw()};
  }
  [[nodiscard]] Tensor tensor() const { return tensor(bytes_); }
  void put(const std::vector<std::byte>& content) const {
    EXPECT_TRUE(gpu().copy_to_device(stream_.device(), address_, content.data(), content.size(), stream_));
    stream_.finish();
  }
  // Asynchronous. Overwritten `rounds` times with others first.
  void fill(std::uint8_t value, int rounds = 0) const {
    for (int round = 0; round <= rounds; ++round) {
      const auto now = round == rounds ? value : static_cast<std::uint8_t>(~value);
      EXPECT_TRUE(gpu().fill(stream_.device(), address_, now, bytes_, stream_));
    }
  }
  [[nodiscard]] std::vector<std::byte> get() const {
    std::vector<std::byte> content(bytes_);
    EXPECT_TRUE(gpu().copy_to_host(stream_.device(), content.data(), address_, bytes_, stream_));
    stream_.finish();
    return content;
  }

 private:
  const GpuStream& stream_;
  std::uint64_t bytes_;
  CudaAddress address_;
};

class GpuExecutors : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kMiB = 1 << 20;

  void SetUp() override {
    if (!own_cuda()) GTEST_SKIP() << "no GPU: " << to_string(own_cuda().error());
    stream_.emplace(0);
  }
  void start(std::vector<std::string> flags = {}, std::vector<std::string> environment = {}) {
    cluster_.emplace(ClusterOptions{.nodes = {"a", "a", "b"},
                                    .arena = "160M",
                                    .flags = std::move(flags),
                                    .environment = std::move(environment)});
  }
  // As each rank's client is to be: on its sidecar's node.
  [[nodiscard]] Client client(Rank rank, ClientOptions options = {}) const {
    options.node = rank == 2 ? "b" : "a";
    return cluster_->client(rank, std::move(options));
  }
  void expect_there(Rank rank, const std::string& id, const std::vector<std::byte>& content) {
    Client consumer = client(rank);
    {
      const auto view = consumer.recv(id, 0, seconds(30));
      ASSERT_TRUE(view) << id << ": " << to_string(view.error());
      EXPECT_TRUE(std::ranges::equal(view->bytes(), content)) << id;
    }
    EXPECT_TRUE(consumer.mark_done(id));
  }

  std::optional<GpuStream> stream_;
  std::optional<Cluster> cluster_;
};

}  // namespace sidecar::e2e
