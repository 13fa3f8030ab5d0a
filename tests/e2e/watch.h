// What a test sees of a sidecar from outside: counters, what it holds, what it maps.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "control/sidecar.grpc.pb.h"
#include "tests/e2e/cluster.h"

namespace sidecar::e2e {

template <class Condition>
bool eventually(Condition condition, milliseconds wait_max = seconds(10)) {
  const auto until = std::chrono::steady_clock::now() + wait_max;
  while (!condition() && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(milliseconds(2));
  return condition();
}

inline std::vector<v1::ChunkRow> chunk_rows(const Cluster& cluster, Rank rank) {
  const auto channel = grpc::CreateChannel(cluster.address(rank), grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  v1::ChunksResponse response;
  const grpc::Status status = v1::Admin::NewStub(channel)->Chunks(&context, v1::ChunksRequest(), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return {response.chunks().begin(), response.chunks().end()};
}

// Processes that look at chunks in that state.
inline std::uint32_t holders_of(const Cluster& cluster, Rank rank, const std::string& state) {
  std::uint32_t holders = 0;
  for (const v1::ChunkRow& row : chunk_rows(cluster, rank)) {
    if (row.state() == state) holders += row.holders();
  }
  return holders;
}

inline bool maps(pid_t pid, const std::string& path) {
  return perf::read_file("/proc/" + std::to_string(pid) + "/maps").find(path) != std::string::npos;
}

inline std::uint64_t private_kib(pid_t pid) {
  const std::string status = perf::read_file("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = status.find("RssAnon:");
  return at == std::string::npos ? 0 : std::stoul(status.substr(at + 8));
}

}  // namespace sidecar::e2e
