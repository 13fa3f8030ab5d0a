// What the demo's processes do. Each role is this program, started again; it returns the process's exit code.
#pragma once

#include <cstdint>
#include <string>

#include "sidecar/failure.h"

namespace sidecar::demo {

inline constexpr std::uint64_t kInputBytesMin = 256 << 20;
inline constexpr std::uint64_t kChunkBytes = 1 << 20;

inline constexpr Rank kProducerRank = 0;
inline constexpr Rank kSameNodeRank = 1;
inline constexpr Rank kOtherNodeRank = 2;
inline constexpr Rank kReadersRank = 3;

// Sends everything to kSameNodeRank and kOtherNodeRank at once, and the first tensor to kReadersRank as well.
// Writes the tensors' files into `folder`.
int produce(const std::string& address, const std::string& folder);

struct ConsumerOptions {
  Rank rank = kNoRank;
  std::string address;
  std::string arena;  // the file in which all bytes must lie
  bool reader =
      false;  // takes the first tensor only, and holds it until the director says that the other reader does
};
int consume(const ConsumerOptions& options);

}  // namespace sidecar::demo
