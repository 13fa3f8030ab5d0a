// Three sidecards: ranks 0 and 1 on node a, rank 2 on node b. Each test runs over both paths: from 0 to 1 by
// shared memory, from 0 to 2 over the network.
#pragma once

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"
#include "tests/e2e/contents.h"

namespace sidecar::e2e {

enum class Path { kSameNode, kOtherNode };

class BothPaths : public testing::TestWithParam<Path> {
 protected:
  explicit BothPaths(ClusterOptions options = {.nodes = {"a", "a", "b"}}) : cluster_(std::move(options)) {}
  [[nodiscard]] Rank consumer() const { return GetParam() == Path::kSameNode ? 1 : 2; }
  // Whose arena a consumer's view must lie in.
  [[nodiscard]] ino_t inode_of_data() const {
    return cluster_.arena_inode(GetParam() == Path::kSameNode ? 0 : 2);
  }

  Cluster cluster_;
};

inline std::string path_name(const testing::TestParamInfo<Path>& info) {
  return info.param == Path::kSameNode ? "SameNode" : "OtherNode";
}

#define SIDECAR_BOTH_PATHS(fixture) \
  INSTANTIATE_TEST_SUITE_P(Over, fixture, testing::Values(Path::kSameNode, Path::kOtherNode), path_name)

inline Tensor tensor_of(const std::vector<std::byte>& bytes) {
  return {bytes.data(), Dtype::kU8, {bytes.size()}};
}

}  // namespace sidecar::e2e
