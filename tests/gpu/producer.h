// A process with GPU memory of its own: this very program, started again with --gpu-producer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/cuda_api.h"
#include "perf/process.h"

namespace sidecar {

// What byte `i` of a tensor is, so that contents can be checked without keeping them.
std::vector<std::byte> gpu_pattern(std::uint64_t bytes, std::uint64_t seed);

// The producer's main(): serves make and slow until its input ends.
int gpu_producer();

class GpuProducer {
 public:
  GpuProducer();

  // Where `bytes` of gpu_pattern() lie now. Nothing: the GPU has no room, or the process has died.
  std::optional<DeviceSource> make(int device, std::uint64_t bytes, std::uint64_t seed);
  // Where `bytes` of `value` will lie once the GPU has overwritten them `rounds` times with others first;
  // with the event for that.
  std::optional<DeviceSource> slow(int device, std::uint64_t bytes, std::uint64_t rounds, unsigned value);
  void kill() { process_.kill(); }

 private:
  std::optional<DeviceSource> ask(const std::string& line);

  perf::Process process_;
};

}  // namespace sidecar
