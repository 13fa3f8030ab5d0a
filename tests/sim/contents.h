// What the bytes of a chunk must be: a function of its id, its number and a salt (two sends of one chunk
// differ in it), so that whoever holds a view can tell at any time whether the memory is still that chunk's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/types.h"

namespace sidecar::sim {

struct ChunkName {
  std::string id;
  ChunkIndex chunk = 0;
  friend auto operator<=>(const ChunkName&, const ChunkName&) = default;
};

std::string name_of(const ChunkName& name);  // for messages: bytes that cannot be printed as hex
void fill(Bytes bytes, const ChunkName& name, std::uint64_t salt);
bool matches(ConstBytes bytes, const ChunkName& name, std::uint64_t salt);

// Every salt a chunk was sent with.
class Contents {
 public:
  std::uint64_t new_salt(const ChunkName& name) {
    salts_[name].push_back(++last_);
    return last_;
  }
  // Which of the sends of this chunk these bytes are of.
  [[nodiscard]] std::optional<std::uint64_t> identify(ConstBytes bytes, const ChunkName& name) const;

 private:
  std::uint64_t last_ = 0;
  std::map<ChunkName, std::vector<std::uint64_t>> salts_;
};

}  // namespace sidecar::sim
